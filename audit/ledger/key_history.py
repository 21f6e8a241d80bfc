"""Which verdict key counts where: read from the log's own key events.

The first key introduces itself; from then on each event must be signed by a key that counts at its
index. A key counts from the entry that introduces it to the one that retires it, both included, and
after a revocation below the index that it names. What a revoked key had introduced before stays
introduced: whoever runs the log sees each key event, and revokes that key too.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from audit.errors import ConfigurationError, VerificationError
from audit.ledger.entries import KeyAction
from audit.ledger.keys import key_id_of, load_public_key
from audit.ledger.trust_root import VerdictKey
from audit.ledger.verify import verify_envelope
from audit.log_records import LogEntry

_KEY_EVENT = "https://inference-audit.dev/key-event/v0.1"


class KeyHistoryError(VerificationError):
    """The log's key events contradict each other; the text names the entry."""


def verdict_keys_of(events: Iterable[LogEntry]) -> tuple[VerdictKey, ...]:
    """Return the verdict keys of a log from all its key events, in the order of the log.

    Raises: KeyHistoryError.
    """
    keys: dict[str, VerdictKey] = {}
    for entry in events:
        predicate = _opened(entry, keys)
        key_id = predicate["key"]["id"]
        action = KeyAction(predicate["action"].lower())
        if action is KeyAction.INTRODUCED:
            if key_id in keys:
                raise _error(entry, f"it introduces the key {key_id} again")
            keys[key_id] = _introduced(entry, predicate)
        elif key_id not in keys:
            raise _error(entry, f"the key {key_id} was never introduced")
        elif action is KeyAction.RETIRED:
            keys[key_id] = _bounded(keys[key_id], entry.log_index + 1, None)
        else:
            # An index that was yet to come would let the key go on after its own revocation.
            below = min(predicate.get("belowIndex", entry.log_index), entry.log_index)
            keys[key_id] = _bounded(keys[key_id], below, predicate.get("compromisedAt"))
    return tuple(sorted(keys.values(), key=lambda key: key.from_index))


def _introduced(entry: LogEntry, predicate: dict[str, Any]) -> VerdictKey:
    return VerdictKey(
        key_id=predicate["key"]["id"],
        public_key_pem=predicate["key"]["publicKeyPem"],
        verifier_id=predicate["key"]["verifierId"],
        from_index=entry.log_index,
    )


def _bounded(key: VerdictKey, below: int, compromised_at: str | None) -> VerdictKey:
    if key.below_index is not None:
        below = min(below, key.below_index)
    return replace(
        key,
        below_index=max(below, key.from_index),
        compromised_at=compromised_at or key.compromised_at,
    )


def _opened(entry: LogEntry, keys: dict[str, VerdictKey]) -> dict[str, Any]:
    if entry.envelope is None:
        raise _error(entry, "its content is gone")
    key_id, introduced = _claimed(entry, entry.envelope)
    signer = keys.get(key_id)
    if keys and (signer is None or not signer.counts_at(entry.log_index)):
        raise _error(entry, f"it is signed by {key_id!r}, which does not count there")
    # The first event vouches for itself: whoever takes over a log's trust root trusts that key.
    pem = introduced if signer is None else signer.public_key_pem
    try:
        statement: Any = verify_envelope(entry.envelope, pem.encode("utf-8"))
        if statement["predicateType"] != _KEY_EVENT:
            raise _error(entry, "it is no key event")
        predicate: dict[str, Any] = statement["predicate"]
        if signer is None and predicate["key"]["id"] != key_id:
            raise _error(entry, "the first key is introduced by another one")
        _require_id(entry, predicate)
        return predicate
    except (VerificationError, KeyError, TypeError) as error:
        if isinstance(error, KeyHistoryError):
            raise
        raise _error(entry, str(error)) from error


def _claimed(entry: LogEntry, envelope: bytes) -> tuple[str, str]:
    """Return the key id and the public key that an envelope states; nothing is verified."""
    try:
        outer: Any = json.loads(envelope)
        payload: Any = json.loads(base64.b64decode(outer["payload"]))
        return str(outer["signatures"][0]["keyid"]), str(
            payload["predicate"]["key"]["publicKeyPem"]
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _error(entry, f"it is no key event ({error!r})") from error


def _require_id(entry: LogEntry, predicate: dict[str, Any]) -> None:
    pem = predicate["key"]["publicKeyPem"].encode("utf-8")
    try:
        key_id = key_id_of(load_public_key(pem, "its key"))
    except ConfigurationError as error:
        raise _error(entry, str(error)) from error
    if key_id != predicate["key"]["id"]:
        raise _error(entry, f"its key has the id {key_id}, not the one that it states")


def _error(entry: LogEntry, problem: str) -> KeyHistoryError:
    return KeyHistoryError(
        f"entry {entry.log_index} of the log cannot be followed: {problem}; make no trust root "
        "from this log before that is explained"
    )
