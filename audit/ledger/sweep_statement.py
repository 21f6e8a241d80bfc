"""The result of a sweep's run as a signed statement, its commitment opened.

E-values are decimal logarithms, money is exact decimal text. No prompt, no answer and no key is in
it: the recording that it rests on is named by its digest, and gives the same result again.
"""

import hashlib
import math

import rfc8785

from audit.billing_records import Money
from audit.ledger.statement import statement_of
from audit.ledger.statement_parts import (
    JsonMembers,
    chain_members,
    stated,
    verifier_members,
)
from audit.log_records import ChainLink
from audit.sweep_records import (
    ChangeFinding,
    EndpointFinding,
    Opening,
    Reading,
    Spending,
    SweepResult,
    Visible,
)

PREDICATE_TYPE = "https://inference-audit.dev/sweep-result/v0.1"

METHOD_NAME = "substitution-sweep"
METHOD_VERSION = "0.1"


def sweep_result_statement(
    result: SweepResult, *, logged_at: str, verifier_version: str, chain: ChainLink
) -> JsonMembers:
    """Return the in-toto Statement of what one run of a sweep concluded.

    Its subject is the run by digest: SHA-256 over the RFC 8785 JSON of its four names.
    """
    predicate = stated(
        {
            "outcome": result.outcome.value,
            "statement": result.statement,
            "run": run_members(result),
            "startedAt": result.started_at,
            "finishedAt": result.finished_at,
            "commitment": result.commitment,
            "opening": None if result.opening is None else opening_members(result.opening),
            "recording": result.recording_digest,
            "policy": result.policy_id or None,
            "bundle": result.bundle_id or None,
            "specification": result.spec_digest or None,
            "endpoints": [_finding(finding) for finding in result.findings],
            "loggedAt": logged_at,
            "method": {"name": METHOD_NAME, "version": METHOD_VERSION},
            "verifier": verifier_members(verifier_version),
            "chain": chain_members(chain),
        }
    )
    subject: JsonMembers = {
        "sha256": hashlib.sha256(rfc8785.dumps(run_members(result))).hexdigest()
    }
    return statement_of(PREDICATE_TYPE, "run", subject, predicate)


def run_members(result: SweepResult) -> dict[str, str]:
    """Return what names a run."""
    return {
        "tenant": result.tenant,
        "sweepId": result.sweep_id,
        "runId": result.run_id,
        "slotAt": result.slot_at,
    }


def opening_members(opening: Opening) -> JsonMembers:
    """Return what the commitment was made to."""
    return {
        "seed": opening.seed,
        "salt": opening.salt,
        "plan": opening.plan_digest,
        "policy": opening.policy_id,
        "bundle": opening.bundle_id,
        "code": opening.code_version,
    }


def _finding(finding: EndpointFinding) -> JsonMembers:
    return stated(
        {
            "endpoint": finding.endpoint,
            "role": finding.role.value,
            "outcome": finding.outcome.value,
            "statement": finding.statement,
            "log10EValue": _log10(finding.log_e_nats),
            "log10Threshold": _log10(finding.threshold_nats),
            "decidedAfterRequests": finding.decided_after,
            "shareLow": finding.share_low,
            "shareHigh": finding.share_high,
            "stickyLog10EValue": _log10(finding.sticky_log_e_nats),
            "isDiscovery": finding.is_discovery,
            "explanation": finding.explanation,
            "detectors": [_reading(reading) for reading in finding.readings],
            "changes": [_change(change) for change in finding.changes] or None,
            "spending": _spending(finding.spending),
        }
    )


def _reading(reading: Reading) -> JsonMembers:
    return stated(
        {
            "detector": reading.detector,
            "tier": reading.tier,
            "status": reading.status.value,
            "reason": reading.reason or None,
            "numSent": reading.num_sent,
            "numUsed": reading.num_used,
            "log10EValue": _log10(reading.log_e_nats_N[-1]) if reading.log_e_nats_N else None,
            "log10EValuePeak": _log10(max(reading.log_e_nats_N)) if reading.log_e_nats_N else None,
            "numTells": reading.tells.count("1") if reading.tells else None,
            "honestTellRate": reading.honest_tell_rate,
            "misconfigurations": [
                {"check": m.check, "isDecisive": m.is_decisive, "detail": m.detail}
                for m in reading.misconfigurations
            ]
            or None,
            "couldHaveSeen": None if reading.visible is None else _visible(reading.visible),
            "notes": list(reading.notes) or None,
        }
    )


def _visible(visible: Visible) -> JsonMembers:
    return stated(
        {
            "power": visible.power,
            "smallestShare": visible.smallest_share,
            "requestsNeeded": dict(visible.needed) or None,
            "statement": visible.statement or None,
        }
    )


def _change(change: ChangeFinding) -> JsonMembers:
    return stated(
        {
            "detector": change.detector,
            "kind": change.kind.value,
            "log10EValue": _log10(change.log_e_nats),
            "log10Threshold": _log10(change.threshold_nats),
            "epoch": change.epoch,
            "sinceRun": change.since_run,
            "sinceLow": change.since_low,
            "sinceHigh": change.since_high,
            "statement": change.statement or None,
        }
    )


def _spending(spending: Spending) -> JsonMembers:
    return stated(
        {
            "numRequests": spending.num_requests,
            "numAnswered": spending.num_answered,
            "promptTokens": spending.prompt_tokens,
            "outputTokens": spending.output_tokens,
            "cost": None if spending.cost is None else _money(spending.cost),
        }
    )


def _money(money: Money) -> JsonMembers:
    return {"amount": money.amount, "currency": money.currency}


def _log10(nats: float) -> float | None:
    """Return a decimal logarithm; None for what is not finite, which JSON cannot say."""
    return nats / math.log(10) if math.isfinite(nats) else None
