"""A statement becomes an entry: canonical JSON, envelope, digest and leaf."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import rfc8785

from audit.ledger.canonical import canonical
from audit.ledger.envelope import sign
from audit.ledger.hashedrekord import leaf_body
from audit.ledger.signers import Signer
from audit.ledger.statement import JsonMembers
from audit.ledger.statement_parts import chain_members
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
    return _sealed(rfc8785.dumps(statement), signer, kind, chain, entry_key, audit_id)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement in canonical JSON around the gap for its place in the tenant's chain.

    The costly part of sealing is done before the sequencer's turn: what is left to do in order is
    to fill the gap, sign and hash.
    """

    before: bytes
    after: bytes

    @classmethod
    def of(cls, build: Callable[[ChainLink], JsonMembers], tenant: str) -> "Prepared":
        """Return the statement that `build` gives for any place of a tenant.

        Raises: rfc8785.CanonicalizationError, as `seal`; ValueError unless the statement repeats
        its place exactly once.
        """
        # Quotes inside texts are escaped, so this can only be the member itself.
        nowhere = ChainLink(tenant=tenant, sequence=0, previous_digest=None)
        before, after = canonical(build(nowhere)).split(_chain_member(nowhere))
        return cls(before, after)

    def seal(
        self,
        signer: Signer,
        *,
        kind: EntryKind,
        chain: ChainLink,
        entry_key: str,
        audit_id: str | None,
    ) -> SealedEntry:
        """Return what `seal` returns for the statement at this place."""
        payload = self.before + _chain_member(chain) + self.after
        return _sealed(payload, signer, kind, chain, entry_key, audit_id)


def _chain_member(chain: ChainLink) -> bytes:
    return b'"chain":' + canonical(chain_members(chain))


def _sealed(
    payload: bytes,
    signer: Signer,
    kind: EntryKind,
    chain: ChainLink,
    entry_key: str,
    audit_id: str | None,
) -> SealedEntry:
    made = sign(payload, signer)
    body = leaf_body(made.signed, made.signature, signer.public_key_pem)
    return SealedEntry(
        kind=kind,
        tenant=chain.tenant,
        tenant_sequence=chain.sequence,
        entry_key=entry_key,
        audit_id=audit_id,
        entry_digest=f"sha256:{hashlib.sha256(made.signed).hexdigest()}",
        envelope=made.envelope,
        leaf_body=body,
        leaf_hash=hashlib.sha256(_LEAF_PREFIX + body).digest(),
    )
