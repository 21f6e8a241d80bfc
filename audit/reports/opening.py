"""Opens one entry of the log: nothing is believed that the right key did not sign.

The steps, in order; a failure at any of them is a VerificationError that says what is wrong:

1. The leaf is a `hashedrekord` entry with a key of the trust root.
2. The envelope is strict JSON with one signature over an in-toto payload.
3. Its bytes have the digest that the leaf names, and the leaf is just the one that they give.
4. The signature verifies.
5. The payload is one of our statements, about one subject, with its place in its tenant's chain,
   by the verifier that the key speaks for.

Whether the key counts at this index is no failure but a doubt: the entry is just what the log says.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, replace

from audit.errors import VerificationError
from audit.ledger.hashedrekord import leaf_body
from audit.ledger.verify import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    is_signed,
    pae,
)
from audit.log_records import EntryKind
from audit.reports import members as m
from audit.reports.keyring import KeyRing
from audit.reports.members import Members
from audit.reports.source import SourceEntry

_TYPE = "https://inference-audit.dev/{}/v0.1"
_KINDS = {
    _TYPE.format("inference-verdict"): EntryKind.VERDICT,
    _TYPE.format("audit-intent"): EntryKind.INTENT,
    _TYPE.format("audit-policy"): EntryKind.POLICY,
    _TYPE.format("audit-calibration"): EntryKind.CALIBRATION,
    _TYPE.format("key-event"): EntryKind.KEY_EVENT,
    _TYPE.format("sweep-commitment"): EntryKind.SWEEP_COMMITMENT,
    _TYPE.format("audit-report"): EntryKind.REPORT,
    _TYPE.format("erasure"): EntryKind.ERASURE,
    _TYPE.format("billing-finding"): EntryKind.BILLING,
    _TYPE.format("sweep-result"): EntryKind.SWEEP_RESULT,
}
_TIMES = {EntryKind.VERDICT: "verifiedAt", EntryKind.INTENT: "announcedAt"}
_OTHER_TIME = "loggedAt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A verified entry."""

    log_index: int
    kind: EntryKind
    entry_digest: str
    subject_digest: str
    tenant: str
    sequence: int
    previous_digest: str | None
    signed_at: str
    """The time that the statement gives for itself."""
    key_id: str
    predicate: Members
    doubt: str | None = None
    """Why the entry does not count for its key, sound as it is; None where it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a leaf says; the key and the signature are not yet held against anything."""

    entry_digest: str
    signature: bytes
    key_id: str


def read_leaf(body: bytes) -> Leaf:
    """Return what a leaf says. Raises: VerificationError where it is no `hashedrekord` entry."""
    record = m.child(m.child(m.parse_object(body, "its leaf"), "spec"), "hashedRekordV002")
    signature = m.child(record, "signature")
    key = m.child(m.child(signature, "verifier"), "publicKey")
    return Leaf(
        entry_digest=f"sha256:{_decoded(m.child(record, 'data'), 'digest').hex()}",
        signature=_decoded(signature, "content"),
        key_id=hashlib.sha256(_decoded(key, "rawBytes")).hexdigest(),
    )


def open_entry(entry: SourceEntry, leaf: Leaf, keys: KeyRing) -> Opened:
    """Return a verified entry. Raises: VerificationError (see the module)."""
    # 1. The leaf's key.
    key = keys.find(leaf.key_id)

    # 2. The envelope.
    envelope = entry.envelope or b""
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise VerificationError(f"its envelope is larger than {MAX_ENVELOPE_BYTES} bytes")
    outer = m.parse_object(envelope, "its envelope")
    if outer.get("payloadType") != PAYLOAD_TYPE:
        raise VerificationError(f"its payload type is {outer.get('payloadType')!r}")
    signatures = m.children(outer, "signatures")
    if len(signatures) != 1:
        raise VerificationError("its envelope has not exactly one signature")
    payload, signature = _decoded(outer, "payload"), _decoded(signatures[0], "sig")

    # 3. Leaf and envelope belong together.
    signed = pae(PAYLOAD_TYPE, payload)
    if f"sha256:{hashlib.sha256(signed).hexdigest()}" != leaf.entry_digest:
        raise VerificationError("its envelope is not the one that its leaf names")
    if leaf_body(signed, signature, key.pem) != entry.leaf_body:
        raise VerificationError("its leaf is not that of its envelope")

    # 4. The signature.
    if not is_signed(key.public_key, signature, signed):
        raise VerificationError(f"its signature is not that of the key {key.key_id}")

    # 5. The statement.
    opened = _read(m.parse_object(payload, "its payload"), entry.log_index, leaf)
    verifier = m.text(m.child(opened.predicate, "verifier"), "id")
    if verifier != key.verifier_id:
        raise VerificationError(f"its key does not speak for {verifier!r}")
    if opened.tenant != entry.stated_tenant:
        raise VerificationError(
            f"the log files it under tenant {entry.stated_tenant!r}, but it was signed for "
            f"{opened.tenant!r}"
        )
    doubt = keys.doubt(key, entry.log_index)
    return opened if doubt is None else replace(opened, doubt=doubt)


def _read(statement: Members, log_index: int, leaf: Leaf) -> Opened:
    kind = _KINDS.get(str(statement.get("predicateType")))
    if statement.get("_type") != STATEMENT_TYPE or kind is None:
        raise VerificationError(f"it states {statement.get('predicateType')!r}, which is not ours")
    subjects = m.children(statement, "subject")
    if len(subjects) != 1:
        raise VerificationError("it is not about exactly one subject")
    predicate = m.child(statement, "predicate")
    chain = m.child(predicate, "chain")
    return Opened(
        log_index=log_index,
        kind=kind,
        entry_digest=leaf.entry_digest,
        subject_digest=m.digest(subjects[0]),
        tenant=m.text(chain, "tenant"),
        sequence=m.integer(chain, "sequence"),
        previous_digest=m.optional_digest(chain, "previous"),
        signed_at=m.time(predicate, _TIMES.get(kind, _OTHER_TIME)),
        key_id=leaf.key_id,
        predicate=predicate,
    )


def _decoded(members: Members, name: str) -> bytes:
    stated = m.text(members, name)
    try:
        return base64.b64decode(stated, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"{name} is not base64 ({error})") from error
