"""The statements of everything in the log that is no verdict.

Intents make verdicts that were never logged visible; policies, calibrations, key events and reports
stand in the same order as the verdicts that rest on them. Each has a predicate type of its own.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import rfc8785

from audit.errors import InvalidRequest
from audit.ledger.keys import key_id_of, load_public_key
from audit.ledger.statement import statement_of
from audit.ledger.statement_parts import (
    VERIFIER_ID,
    JsonMembers,
    JsonValue,
    chain_members,
    claim_members,
    is_utc_time,
    sha256_of,
    stated,
    verifier_members,
)
from audit.log_records import ChainLink, Erasure
from audit.records import Job

_TYPE = "https://inference-audit.dev/{}/v0.1"


class KeyAction(StrEnum):
    """What happens to a verdict key."""

    INTRODUCED = "introduced"
    """Its signatures count from this entry on."""
    RETIRED = "retired"
    """Its signatures count up to this entry; nothing is wrong with them."""
    REVOKED = "revoked"
    """Its signatures count below an index only; somebody else may have had the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """Something that happens to a verdict key."""

    action: KeyAction
    key_id: str
    public_key_pem: bytes
    verifier_id: str = VERIFIER_ID
    """For whom the key speaks."""
    below_index: int | None = None
    """Of a revocation: entries from here on do not count. None is the event's own index."""
    compromised_at: str | None = None
    """RFC 3339 UTC: entries below count only if a witness saw them before that time."""
    reason: str | None = None


def intent_statement(
    job: Job,
    *,
    policy_id: str | None,
    calibration_id: str | None,
    announced_at: str,
    verifier_version: str,
    chain: ChainLink,
) -> JsonMembers:
    """Return the statement that an audit is about to run. Raises: InvalidRequest."""
    members: JsonMembers = {
        "claim": claim_members(job.request),
        "auditId": job.audit_id,
        "requestId": job.request.request_id,
        "policy": stated({"id": policy_id}) or None,
        "calibration": stated({"id": calibration_id}) or None,
        "announcedAt": announced_at,
    }
    digest = sha256_of(job.request_digest, "request_digest")
    return _statement("audit-intent", "exchange", digest, members, verifier_version, chain)


def policy_statement(
    policy_id: str, content: bytes, *, logged_at: str, verifier_version: str, chain: ChainLink
) -> JsonMembers:
    """Return the statement of a policy with its text. Raises: InvalidRequest unless UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest.of("policy", "must be UTF-8 text: save it as such") from error
    members: JsonMembers = {"policy": {"id": policy_id, "text": text}, "loggedAt": logged_at}
    return _statement(
        "audit-policy", "policy", _digest_of(content), members, verifier_version, chain
    )


def calibration_statement(
    calibration_id: str,
    content: bytes,
    *,
    logged_at: str,
    verifier_version: str,
    chain: ChainLink,
) -> JsonMembers:
    """Return the statement of a calibration, which is named by its file's digest alone."""
    members: JsonMembers = {
        "calibration": {"id": calibration_id, "numBytes": len(content)},
        "loggedAt": logged_at,
    }
    return _statement(
        "audit-calibration", "calibration", _digest_of(content), members, verifier_version, chain
    )


def key_event_statement(
    event: KeyEvent, *, logged_at: str, verifier_version: str, chain: ChainLink
) -> JsonMembers:
    """Return the statement of what happens to a verdict key; its subject is the key id.

    Raises: InvalidRequest for an event that contradicts itself: once logged it could not be undone.
    """
    _require_sound(event)
    key: JsonMembers = {
        "id": event.key_id,
        "publicKeyPem": event.public_key_pem.decode("ascii"),
        "verifierId": event.verifier_id,
    }
    members: JsonMembers = {
        "action": event.action.value.upper(),
        "key": key,
        "belowIndex": event.below_index,
        "compromisedAt": event.compromised_at,
        "reason": event.reason,
        "loggedAt": logged_at,
    }
    digest = sha256_of(f"sha256:{event.key_id}", "key_id")
    return _statement("key-event", "key", digest, members, verifier_version, chain)


def sweep_commitment_statement(
    sweep_id: str, commitment: str, *, logged_at: str, verifier_version: str, chain: ChainLink
) -> JsonMembers:
    """Return the statement of what a sweep is bound to; `commitment` is `sha256:<hex>`.

    Raises: InvalidRequest for another form.
    """
    members: JsonMembers = {"sweepId": sweep_id, "loggedAt": logged_at}
    digest = sha256_of(commitment, "commitment")
    return _statement("sweep-commitment", "commitment", digest, members, verifier_version, chain)


def report_statement(
    manifest: bytes, *, logged_at: str, verifier_version: str, chain: ChainLink
) -> JsonMembers:
    """Return the statement of a report, which is named by its manifest's digest alone."""
    members: JsonMembers = {"loggedAt": logged_at}
    digest = _digest_of(manifest)
    return _statement("audit-report", "manifest", digest, members, verifier_version, chain)


def erasure_statement(
    erasure: Erasure,
    *,
    num_entries: int,
    logged_at: str,
    verifier_version: str,
    chain: ChainLink,
) -> JsonMembers:
    """Return the statement that content was erased; its subject is the digest of its bounds."""
    bounds: JsonMembers = {
        "tenant": erasure.tenant,
        "before": erasure.before,
        "belowIndex": erasure.below_index,
    }
    members: JsonMembers = {
        "erasure": {**bounds, "numEntries": num_entries},
        "loggedAt": logged_at,
    }
    digest = _digest_of(rfc8785.dumps(bounds))
    return _statement("erasure", "erasure", digest, members, verifier_version, chain)


def _require_sound(event: KeyEvent) -> None:
    bounds = (event.below_index, event.compromised_at)
    if event.action is not KeyAction.REVOKED and bounds != (None, None):
        raise InvalidRequest.of("action", "only a revocation has an index or a time of compromise")
    if event.below_index is not None and event.below_index < 0:
        raise InvalidRequest.of("below_index", "must be an index of the log: 0 or more")
    if event.compromised_at is not None and not is_utc_time(event.compromised_at):
        raise InvalidRequest.of("compromised_at", "must be a time such as 2026-01-02T03:04:05Z")
    public_key = load_public_key(event.public_key_pem, "the key of the event")
    if key_id_of(public_key) != event.key_id:
        raise InvalidRequest.of("key_id", f"the public key has the id {key_id_of(public_key)}")


def _statement(
    name: str,
    subject: str,
    digest: JsonMembers,
    members: JsonMembers,
    verifier_version: str,
    chain: ChainLink,
) -> JsonMembers:
    predicate: dict[str, JsonValue] = {
        **members,
        "verifier": verifier_members(verifier_version),
        "chain": chain_members(chain),
    }
    return statement_of(_TYPE.format(name), subject, digest, stated(predicate))


def _digest_of(content: bytes) -> JsonMembers:
    return {"sha256": hashlib.sha256(content).hexdigest()}
