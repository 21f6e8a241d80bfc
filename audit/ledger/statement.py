"""Job and Verdict to an in-toto Statement v1: what is signed, in the words of the predicate.

`audit.ledger.seal` signs the result; `audit.ledger.verify` checks it. The predicate is monotonic:
consumers ask for PASSED, of the exchange or of its provider, so a dropped field never turns a
refusal into an acceptance. No prompt and no output token is in it; the exchange is named by its
digest alone.
"""

from collections.abc import Mapping, Sequence

from audit.ledger.statement_parts import JsonMembers as JsonMembers
from audit.ledger.statement_parts import (
    JsonValue,
    chain_members,
    claim_members,
    evidence_members,
    intent_members,
    judgement_members,
    sha256_of,
    stated,
    verifier_members,
)
from audit.ledger.verify import PREDICATE_TYPE, STATEMENT_TYPE
from audit.log_records import Artifact, ChainLink, Receipt
from audit.records import Job, Verdict

_LARGEST_EXACT_INTEGER = 2**53 - 1


def build_statement(
    job: Job,
    verdict: Verdict,
    *,
    verified_at: str,
    verifier_version: str,
    chain: ChainLink,
    intent: Receipt | None,
    evidence: Sequence[Artifact] = (),
) -> JsonMembers:
    """Return the in-toto Statement of one verdict; `verified_at` is RFC 3339 in UTC with `Z`.

    Raises: InvalidRequest when the job's digest of the exchange is not `sha256:<hex>`.
    """
    predicate = stated(
        {
            **judgement_members(verdict),
            "claim": claim_members(job.request),
            "auditId": job.audit_id,
            "requestId": job.request.request_id,
            "exchangeObservedAt": job.request.exchange.timing.started_at,
            "verifiedAt": verified_at,
            "verifier": verifier_members(verifier_version),
            "intent": intent_members(intent),
            "evidence": evidence_members(evidence),
            "chain": chain_members(chain),
        }
    )
    return statement_of(
        PREDICATE_TYPE, "exchange", sha256_of(job.request_digest, "request_digest"), predicate
    )


def statement_of(
    predicate_type: str, subject: str, digest: JsonMembers, predicate: JsonMembers
) -> JsonMembers:
    """Return an in-toto Statement v1 about one subject, fit for canonical JSON."""
    statement: JsonMembers = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject, "digest": digest}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return {name: _exact(value) for name, value in statement.items()}


def _exact(value: JsonValue) -> JsonValue:
    """Return the value with integers that a double cannot hold as strings.

    A whole float becomes an integer: canonical JSON writes both alike, and integers faster.
    """
    # Most values are texts, and asking them first whether they are mappings is slow.
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return str(value) if abs(value) > _LARGEST_EXACT_INTEGER else value
    if isinstance(value, float):
        is_whole = value.is_integer() and abs(value) <= _LARGEST_EXACT_INTEGER
        return int(value) if is_whole else value
    if isinstance(value, dict | Mapping):
        return {name: _exact(item) for name, item in value.items()}
    return [_exact(item) for item in value]
