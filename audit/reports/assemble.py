"""Puts what was gathered and spooled together into a Report."""

import hashlib
import json
import uuid
from dataclasses import asdict, replace

from audit.reports import sums
from audit.reports.gathered import Gathered
from audit.reports.limits import family_wise_error, limits, sampling
from audit.reports.records import (
    REPORT_FORM,
    ChosenExchange,
    DamagedEntry,
    ErasureLine,
    Listing,
    LogIdentity,
    Report,
    ReportScope,
    Totals,
)
from audit.reports.source import EntrySource
from audit.reports.spool import Spool
from audit.reports.standings import standings
from audit.reports.tallies import listing_of

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://inference-audit.dev/report")

#: Evidence per token of some 100,000 tokens; larger files are named, not shown.
MAX_TOKENS_BYTES = 4_194_304


def assemble(
    source: EntrySource,
    scope: ReportScope,
    identity: LogIdentity,
    gathered: Gathered,
    spool: Spool,
    *,
    control_mapping: str | None,
) -> Report:
    """Return the report on a log that was read to its end."""
    erased, gone, counts = sums.gone(spool, gathered.erasures)
    _require_stated_erasures(gathered, counts)
    totals = _totals(gathered, spool)
    found = standings(spool)
    for witness in identity.witnesses:
        if witness.cosigned_at is not None:
            gathered.latest.see(witness.cosigned_at)
    sweeps = gathered.sweeps.listing()
    return Report(
        form=REPORT_FORM,
        report_id=_report_id(scope, identity),
        as_of=gathered.latest.text or source.checkpoint.issued_at,
        scope=scope,
        log=identity,
        totals=totals,
        reasons=sums.reasons(spool),
        by_provider=sums.by_label(spool, "provider_name"),
        by_model=sums.by_label(spool, "claimed_model"),
        by_day=sums.by_day(spool),
        standings=found,
        missing=sums.missing(spool),
        erased=erased,
        gone=gone,
        damaged=gathered.damaged.listing(),
        discounted=gathered.discounted.listing(),
        discounted_digest=f"sha256:{gathered.discounted_hash.hexdigest()}",
        gaps=gathered.gaps.listing(),
        policies=gathered.policies.listing(),
        calibrations=gathered.calibrations.listing(),
        key_uses=gathered.keys.listing(),
        key_events=gathered.key_events.listing(),
        erasures=_erasures(gathered, counts),
        reports=gathered.reports.listing(),
        sweeps=sweeps,
        meters=gathered.meters.listing(),
        sweep_runs=gathered.sweep_runs.listing(),
        runners=gathered.runners.listing(),
        sampling=sampling(sweeps, totals),
        error=family_wise_error(spool, gathered.power, found.total),
        limits=limits(scope, identity, totals, sums.figure_ranges(spool), gathered.power.attacks()),
        exchanges=tuple(_exchange(source, spool, audit_id) for audit_id in scope.exchanges),
        control_mapping=control_mapping,
    )


def _totals(gathered: Gathered, spool: Spool) -> Totals:
    counts = sums.totals(spool)
    return Totals(
        num_entries=gathered.num_entries,
        num_foreign=gathered.num_foreign,
        num_intents=gathered.num_intents,
        num_verdicts=counts.num_verdicts,
        num_passed=counts.num_passed,
        num_failed=counts.num_failed,
        num_inconclusive=counts.num_inconclusive,
        num_tokens=counts.num_tokens,
        num_outside=gathered.num_outside,
        num_without_intent=gathered.num_without_intent,
        num_other_entries=gathered.num_other_entries,
        num_discounted_verdicts=gathered.num_discounted_verdicts,
    )


def _report_id(scope: ReportScope, identity: LogIdentity) -> str:
    named = [identity.origin, identity.last.size, identity.last.root, asdict(scope)]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(named, sort_keys=True, separators=(",", ":"))))


def _erasures(gathered: Gathered, counts: dict[int, int]) -> Listing[ErasureLine]:
    seen = (
        replace(erasure, num_seen=counts.get(erasure.log_index, 0)) for erasure in gathered.erasures
    )
    return listing_of(seen, lambda erasure: (erasure.log_index,))


def _require_stated_erasures(gathered: Gathered, counts: dict[int, int]) -> None:
    """List where more is gone of a tenant than all its erasures say they erased."""
    by_tenant: dict[str, list[ErasureLine]] = {}
    for erasure in gathered.erasures:
        by_tenant.setdefault(erasure.tenant, []).append(erasure)
    for tenant, erasures in sorted(by_tenant.items()):
        num_stated = sum(erasure.num_stated or 0 for erasure in erasures)
        num_seen = sum(counts.get(erasure.log_index, 0) for erasure in erasures)
        if num_seen > num_stated:
            gathered.damaged.add(
                DamagedEntry(
                    log_index=erasures[-1].log_index,
                    entry_digest="",
                    problem=f"the erasures of tenant {tenant!r} state {num_stated} erased entries, "
                    f"but {num_seen} are gone",
                )
            )


def _exchange(source: EntrySource, spool: Spool, audit_id: str) -> ChosenExchange:
    line = spool.find_line(audit_id)
    if line is None:
        return _unseen(audit_id, "no verdict of this audit is in the report's scope")
    if line.tokens_digest is None:
        return replace(_unseen(audit_id, "the verdict names no evidence per token"), line=line)
    artifact = source.artifact(line.tokens_digest)
    problem = None
    if artifact is None:
        problem = "the evidence per token is not kept any more"
    elif f"sha256:{hashlib.sha256(artifact.content).hexdigest()}" != line.tokens_digest:
        problem = "the evidence per token is not what the verdict names"
    elif len(artifact.content) > MAX_TOKENS_BYTES:
        problem = f"the evidence per token is larger than {MAX_TOKENS_BYTES} bytes"
    if problem is not None or artifact is None:
        return replace(_unseen(audit_id, problem or ""), line=line)
    return ChosenExchange(
        audit_id=audit_id,
        line=line,
        media_type=artifact.media_type,
        tokens=artifact.content,
        problem=None,
    )


def _unseen(audit_id: str, problem: str) -> ChosenExchange:
    return ChosenExchange(
        audit_id=audit_id, line=None, media_type=None, tokens=None, problem=problem
    )
