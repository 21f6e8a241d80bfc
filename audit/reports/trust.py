"""The trust root as reports need it: the witness policy and the verdict keys, ready for use."""

from dataclasses import dataclass

from audit.ledger.keys import load_public_key
from audit.ledger.trust_root import VerdictKey, load_trust_root
from audit.ledger.witness_policy import WitnessPolicy, parse_policy
from audit.reports import members as m
from audit.reports.keyring import TrustedKey


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a reader trusts."""

    policy: WitnessPolicy
    keys: tuple[TrustedKey, ...]
    authorities: tuple[str, ...]
    """PEM chains of RFC 3161 authorities."""


def read_trust(content: bytes) -> Trust:
    """Return a trust root's policy and keys. Raises: VerificationError."""
    root = load_trust_root(content)
    return Trust(
        policy=parse_policy(root.policy),
        keys=tuple(map(_key, root.verdict_keys)),
        authorities=root.timestamp_authorities,
    )


def _key(key: VerdictKey) -> TrustedKey:
    pem, compromised_at = key.public_key_pem.encode("utf-8"), key.compromised_at
    return TrustedKey(
        key_id=key.key_id,
        pem=pem,
        public_key=load_public_key(pem, f"the key {key.key_id}"),
        verifier_id=key.verifier_id,
        from_index=key.from_index,
        below_index=key.below_index,
        compromised_at=None
        if compromised_at is None
        else m.parse_time(compromised_at, "compromisedAt"),
    )
