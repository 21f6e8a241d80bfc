"""The trust root: which log, which witnesses and which verdict keys an auditor relies on.

One JSON file of ours, and a rendering of the same facts that Sigstore's verifiers read. Keys are
never taken out: an old one keeps the bounds within which it counted. `audit.ledger.verify` reads
the same file with code of its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from cryptography import x509

from audit.errors import ConfigurationError, VerificationError
from audit.ledger.keys import key_id_of, load_public_key
from audit.ledger.statement_parts import is_utc_time
from audit.ledger.verify import TRUST_ROOT_TYPE
from audit.ledger.witness_policy import parse_policy

_MEMBERS = {"mediaType", "policy", "verdictKeys", "timestampAuthorities"}
_KEY_MEMBERS = {
    "keyId",
    "publicKeyPem",
    "verifierId",
    "fromIndex",
    "belowIndex",
    "compromisedAt",
}


class TrustRootError(VerificationError):
    """A trust root cannot be relied on; the text says what to mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictKey:
    """A verdict key with the indexes at which it counts: from `from_index` to below `below_index`.

    `below_index` is None for a key in use. Where `compromised_at` (RFC 3339) is set, a witness must
    have seen an entry before that time.
    """

    key_id: str
    public_key_pem: str
    verifier_id: str
    from_index: int
    below_index: int | None = None
    compromised_at: str | None = None

    def counts_at(self, index: int) -> bool:
        """Return whether an entry at this index may be signed by the key."""
        return self.from_index <= index and (self.below_index is None or index < self.below_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """What an auditor relies on; `policy` is the text of a C2SP tlog-policy."""

    policy: str
    verdict_keys: tuple[VerdictKey, ...]
    timestamp_authorities: tuple[str, ...] = ()
    """One PEM text for each RFC 3161 authority: its certificates, the root last."""


def dump_trust_root(root: TrustRoot) -> bytes:
    """Return the file of a trust root, which loads. Raises: TrustRootError."""
    document = {
        "mediaType": TRUST_ROOT_TYPE,
        "policy": root.policy,
        "verdictKeys": [
            {
                "keyId": key.key_id,
                "publicKeyPem": key.public_key_pem,
                "verifierId": key.verifier_id,
                "fromIndex": key.from_index,
                "belowIndex": key.below_index,
                "compromisedAt": key.compromised_at,
            }
            for key in root.verdict_keys
        ],
        "timestampAuthorities": list(root.timestamp_authorities),
    }
    data = (json.dumps(document, indent=2) + "\n").encode("ascii")
    load_trust_root(data)
    return data


def load_trust_root(data: bytes) -> TrustRoot:
    """Return a trust root from its file; nothing in it is passed over. Raises: TrustRootError."""
    try:
        document = json.loads(data, object_pairs_hook=_without_duplicates)
        # Half of a surrogate pair can be written in JSON, yet is no text.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise TrustRootError(
            f"the trust root is not strict JSON ({error}): fetch it anew"
        ) from error
    members = _exactly(document, _MEMBERS, "the trust root")
    if members["mediaType"] != TRUST_ROOT_TYPE:
        _refuse(f"its mediaType is {members['mediaType']!r}, not {TRUST_ROOT_TYPE!r}")
    policy = _text(members["policy"], "policy")
    _require_policy(policy)
    keys = tuple(_key(value) for value in _array(members["verdictKeys"], "verdictKeys"))
    _require_consistent(keys)
    authorities = _array(members["timestampAuthorities"], "timestampAuthorities")
    chains = tuple(_text(chain, "a timestamp authority") for chain in authorities)
    for chain in chains:
        certificates_of(chain)
    return TrustRoot(policy=policy, verdict_keys=keys, timestamp_authorities=chains)


def certificates_of(chain: str) -> list[x509.Certificate]:
    """Return the certificates of a timestamp authority. Raises: TrustRootError."""
    try:
        return x509.load_pem_x509_certificates(chain.encode("utf-8"))
    except ValueError as error:
        raise TrustRootError(
            "the trust root has a timestamp authority without PEM certificates: put its chain "
            "there, the root last"
        ) from error


def _key(value: object) -> VerdictKey:
    members = _exactly(value, _KEY_MEMBERS, "a verdict key")
    key_id = _text(members["keyId"], "keyId")
    pem = _text(members["publicKeyPem"], "publicKeyPem")
    try:
        public_key = load_public_key(pem.encode("utf-8"), f"the key {key_id!r} of the trust root")
    except ConfigurationError as error:
        raise TrustRootError(str(error)) from error
    if key_id_of(public_key) != key_id:
        _refuse(f"the key {key_id!r} has the id {key_id_of(public_key)!r}")
    below, compromised_at = members["belowIndex"], members["compromisedAt"]
    key = VerdictKey(
        key_id=key_id,
        public_key_pem=pem,
        verifier_id=_text(members["verifierId"], "verifierId"),
        from_index=_index(members["fromIndex"], "fromIndex"),
        below_index=None if below is None else _index(below, "belowIndex"),
        compromised_at=None if compromised_at is None else _time(compromised_at),
    )
    return key


def _require_consistent(keys: tuple[VerdictKey, ...]) -> None:
    if len({key.key_id for key in keys}) != len(keys):
        _refuse("a key is in it twice: its bounds would overlap or contradict each other")
    for key in keys:
        if key.below_index is not None and key.below_index < key.from_index:
            _refuse(f"the key {key.key_id!r} ends at {key.below_index}, before {key.from_index}")
        if key.compromised_at is not None and key.below_index is None:
            _refuse(f"the key {key.key_id!r} is compromised, yet counts without end")


def _require_policy(text: str) -> None:
    try:
        policy = parse_policy(text)
    except VerificationError as error:
        raise TrustRootError(f"the trust root's policy cannot be used: {error}") from error
    if not policy.logs:
        _refuse("its policy names no log: add a `log <vkey>` line")


def _exactly(value: object, names: set[str], what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"{what} is not a JSON object")
    for missing in sorted(names - value.keys()):
        _refuse(f"{what} lacks the member {missing!r}")
    for unknown in sorted(value.keys() - names):
        _refuse(f"{what} has the unknown member {unknown!r}: a newer version may read it")
    return value


def _array(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        _refuse(f"{name} is not an array")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        _refuse(f"{name} is not a text")
    return value


def _index(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        _refuse(f"{name} is not an index: a whole number from 0")
    return value


def _time(value: object) -> str:
    text = _text(value, "compromisedAt")
    if not is_utc_time(text):
        _refuse(f"compromisedAt is {text!r}, not a time such as 2026-01-02T03:04:05Z")
    return text


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return members


def _refuse(problem: str) -> NoReturn:
    raise TrustRootError(f"the trust root is wrong: {problem}; fetch it anew from its publisher")
