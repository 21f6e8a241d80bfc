"""A statement becomes an entry: canonical JSON, envelope, digest and leaf."""

import base64
import hashlib
import json

import rfc8785
from securesystemslib.dsse import Envelope

from audit.ledger.envelope import sign_payload
from audit.ledger.hashedrekord import leaf_body
from audit.ledger.signers import Signer
from audit.ledger.statement import JsonMembers
from audit.ledger.verify import PAYLOAD_TYPE
from audit.log_records import ChainLink, EntryKind, SealedEntry

#: RFC 6962 §2.1: leaves are hashed apart from inner nodes.
_LEAF_PREFIX = b"\x00"


def seal(
    statement: JsonMembers,
    signer: Signer,
    *,
    kind: EntryKind,
    chain: ChainLink,
    entry_key: str,
    audit_id: str | None,
) -> SealedEntry:
    """Return the signed entry of a statement whose predicate repeats `chain`.

    Raises: ConfigurationError where the signer fails; rfc8785.CanonicalizationError where a number
    is not finite or a text is not valid Unicode, which only a defect of ours can cause.
    """
    payload = rfc8785.dumps(statement)
    envelope = sign_payload(payload, signer)
    signature = base64.b64decode(json.loads(envelope)["signatures"][0]["sig"])
    signed = Envelope(payload, PAYLOAD_TYPE, {}).pae()
    body = leaf_body(signed, signature, signer.public_key_pem)
    return SealedEntry(
        kind=kind,
        tenant=chain.tenant,
        tenant_sequence=chain.sequence,
        entry_key=entry_key,
        audit_id=audit_id,
        entry_digest=f"sha256:{hashlib.sha256(signed).hexdigest()}",
        envelope=envelope,
        leaf_body=body,
        leaf_hash=hashlib.sha256(_LEAF_PREFIX + body).digest(),
    )
