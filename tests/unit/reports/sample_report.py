"""A realistic report for the renderers' tests, with damage and a failing provider.

Made without a log: the figures hang together, the digests and proofs are only of the right shape.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from audit.reports.controls import CONTROL_MAPPING
from audit.reports.records import (
    REPORT_FORM,
    ContentState,
    DamagedEntry,
    DiscountedEntry,
    ErasureLine,
    FamilyWiseError,
    GoneContent,
    KeyUse,
    Listing,
    MeterLine,
    MissingVerdict,
    ReasonCount,
    Report,
    ReportLine,
    ReportScope,
    RunnerUse,
    Sampling,
    SequenceGap,
    SweepLine,
    SweepRunLine,
    Totals,
    VerdictLine,
)
from tests.unit.reports.sample_parts import (
    chosen_of,
    counts_of,
    key_events_of,
    limits_of,
    log_identity_of,
    source_of,
    standing_of,
    table_of,
)
from tests.unit.reports.sample_verdicts import (
    CALIBRATION_ID,
    CHEAT,
    FAILED_AUDIT,
    HONEST,
    KEY_ID,
    NUM_LINES,
    OTHER,
    PASSED_AUDIT,
    POLICY_ID,
    UNKNOWN_AUDIT,
    Endpoint,
    digest,
    make_verdicts,
    moment,
)


@dataclass(frozen=True)
class Sample:
    """A report with the lines behind it."""

    report: Report
    verdicts: tuple[VerdictLine, ...]

    @property
    def lines(self) -> Callable[[], Iterator[VerdictLine]]:
        """Start a fresh pass over the lines."""
        return lambda: iter(self.verdicts)


def make_sample(
    endpoints: Sequence[Endpoint] = (HONEST, OTHER, CHEAT), number: int = NUM_LINES
) -> Sample:
    """Return a report with gaps, damage and a failing provider, as an auditor would meet it."""
    verdicts = make_verdicts(endpoints, number)
    return Sample(_report(verdicts, endpoints), verdicts)


def make_clean_sample() -> Sample:
    """Return a report in which everything passed and nothing is missing."""
    verdicts = tuple(
        replace(line, verdict="PASSED", reasons=(), stream_verdict="PASSED")
        for line in make_verdicts((HONEST, OTHER), 60)
    )
    report = _report(verdicts, (HONEST, OTHER))
    nothing = replace(
        report,
        missing=Listing(total=0, items=()),
        gone=Listing(total=0, items=()),
        damaged=Listing(total=0, items=()),
        discounted=Listing(total=0, items=()),
        gaps=Listing(total=0, items=()),
    )
    return Sample(nothing, verdicts)


def make_empty_sample() -> Sample:
    """Return a report about a window without verdicts."""
    report = _report((), ())
    empty: Listing[MissingVerdict] = Listing(total=0, items=())
    return Sample(replace(report, missing=empty, exchanges=(), as_of=moment(0)), ())


def _totals(lines: Sequence[VerdictLine], num_entries: int) -> Totals:
    counts = counts_of("all", lines)
    return Totals(
        num_entries=num_entries,
        num_foreign=0,
        num_intents=len(lines) + 3,
        num_verdicts=len(lines),
        num_passed=counts.num_passed,
        num_failed=counts.num_failed,
        num_inconclusive=counts.num_inconclusive,
        num_tokens=counts.num_tokens,
        num_outside=0,
        num_without_intent=0,
        num_other_entries=num_entries - 2 * len(lines) - 3,
        num_discounted_verdicts=1,
    )


def _missing(lines: Sequence[VerdictLine], end_index: int) -> Listing[MissingVerdict]:
    items = tuple(
        MissingVerdict(
            log_index=end_index - 4 + i,
            audit_id=f"audit-missing-{i}",
            tenant="contoso",
            entry_digest=digest(f"missing {i}"),
            exchange_digest=digest(f"missing exchange {i}"),
            announced_at=moment(max(len(lines) - 2, 0)),
        )
        for i in range(2)
    )
    return Listing(total=3, items=items)


def _report(lines: Sequence[VerdictLine], endpoints: Sequence[Endpoint]) -> Report:
    end_index = 40 + 2 * len(lines) + 5
    streams = [
        [line for line in lines if line.provider_name == endpoint.provider]
        for endpoint in endpoints
    ]
    standings = tuple(standing_of(part) for part in streams if part)
    inconclusive = [line for line in lines if line.verdict == "INCONCLUSIVE"]
    reasons = sorted({line.reasons[0] for line in inconclusive if line.reasons})
    erased = GoneContent(
        log_index=43,
        entry_digest=digest("erased"),
        state=ContentState.ERASED,
        stated_key="verdict:audit-0001",
        stated_tenant="contoso",
        erasure_index=end_index - 1,
    )
    return Report(
        form=REPORT_FORM,
        report_id="6f1dd2a6-2f0f-5f2b-9a55-6b2f4a1d0c11",
        as_of=lines[-1].verified_at if lines else moment(0),
        scope=ReportScope(
            tenant="contoso",
            since="2026-11-01T00:00:00Z",
            until="2026-12-01T00:00:00Z",
            first_index=40,
            end_index=end_index,
            exchanges=(FAILED_AUDIT, PASSED_AUDIT, UNKNOWN_AUDIT),
        ),
        log=log_identity_of(end_index),
        totals=_totals(lines, end_index - 40),
        reasons=tuple(
            ReasonCount(
                verdict="INCONCLUSIVE",
                reason=reason,
                num_verdicts=sum(reason in line.reasons for line in inconclusive),
            )
            for reason in reasons
        ),
        by_provider=table_of(lines, lambda line: line.provider_name or ""),
        by_model=table_of(lines, lambda line: line.claimed_model or ""),
        by_day=table_of(lines, lambda line: line.verified_at[:10]),
        standings=Listing(total=len(standings), items=standings),
        missing=_missing(lines, end_index),
        erased=Listing(total=1, items=(erased,)),
        gone=Listing(
            total=1,
            items=(replace(erased, log_index=49, state=ContentState.MISSING, erasure_index=None),),
        ),
        damaged=Listing(
            total=1,
            items=(
                DamagedEntry(
                    log_index=55,
                    entry_digest=digest("damaged"),
                    problem="the signature does not verify under the key that the leaf names",
                ),
            ),
        ),
        discounted=Listing(
            total=1,
            items=(
                DiscountedEntry(
                    log_index=52,
                    entry_digest=digest("discounted"),
                    kind="verdict",
                    key_id="cd" * 32,
                    problem=f"its key {'cd' * 32} does not count at this index",
                ),
            ),
        ),
        discounted_digest="sha256:" + hashlib.sha256(b"52\n").hexdigest(),
        gaps=Listing(
            total=1,
            items=(
                SequenceGap(
                    tenant="contoso",
                    after_sequence=34,
                    next_sequence=36,
                    at_index=56,
                    num_unexplained=1,
                    problem="number 35 is not in the log",
                ),
            ),
        ),
        policies=Listing(total=1, items=(source_of(POLICY_ID, lines, 0),)),
        calibrations=Listing(
            total=2,
            items=(
                source_of(CALIBRATION_ID, lines, 1),
                replace(
                    source_of(digest("calibration not logged"), lines, 1),
                    log_index=None,
                    digest=None,
                    entered_at=None,
                ),
            ),
        ),
        key_uses=Listing(
            total=1,
            items=(
                KeyUse(
                    key_id=KEY_ID,
                    num_entries=2 * len(lines),
                    first_index=40,
                    last_index=end_index - 1,
                ),
            ),
        ),
        key_events=key_events_of(),
        erasures=Listing(
            total=1,
            items=(
                ErasureLine(
                    log_index=end_index - 1,
                    tenant="contoso",
                    before="2026-11-01T02:00:00Z",
                    below_index=44,
                    erased_at="2026-11-11T10:00:00Z",
                    num_stated=1,
                    num_seen=1,
                ),
            ),
        ),
        reports=Listing(
            total=1,
            items=(
                ReportLine(
                    log_index=39,
                    manifest_digest=digest("october"),
                    reported_at="2026-11-01T00:10:00Z",
                ),
            ),
        ),
        sweeps=Listing(
            total=1,
            items=(
                SweepLine(
                    log_index=38,
                    sweep_id="november",
                    committed_at="2026-11-01T00:00:00Z",
                    commitment=hashlib.sha256(b"seed").hexdigest(),
                    planned_fraction=0.02,
                    population=None,
                ),
            ),
        ),
        sweep_runs=Listing(
            total=1,
            items=(
                SweepRunLine(
                    log_index=58,
                    run_id="run-1",
                    sweep_id="november",
                    slot_at="2026-11-11T09:00:00Z",
                    run_outcome="inconsistent",
                    endpoint="gateway",
                    role="target",
                    outcome="inconsistent",
                    statement="Differs from the claimed model after 9 requests.",
                    log10_e_value=2.5,
                    log10_threshold=2.1,
                    decided_after_requests=9,
                    num_requests=12,
                    share_low=0.1,
                    share_high=1.0,
                    explanation="int4-g32",
                    commitment=hashlib.sha256(b"opening").hexdigest(),
                ),
            ),
        ),
        meters=Listing(
            total=1,
            items=(
                MeterLine(
                    log_index=57,
                    finding_id=digest("finding"),
                    provider="https://gateway.example/v1",
                    account="team-a",
                    model="o1-preview",
                    effort="",
                    domain="planning",
                    meter="DISAGREES",
                    direction="over",
                    statement="The meter disagrees with the reference: more tokens were billed.",
                    tier="reference_sampling",
                    evidence_controller="auditor",
                    num_requests=120,
                    num_violations=1,
                    log10_e_over=3.25,
                    log10_e_under=-1.5,
                    found_at="2026-11-11T10:00:00Z",
                ),
            ),
        ),
        runners=Listing(
            total=1,
            items=(
                RunnerUse(
                    version="0.4.0",
                    device="cuda:0 (H200)",
                    num_threads=8,
                    libraries=(("torch", "2.9.0"), ("transformers", "5.1.0")),
                    num_verdicts=len(lines),
                ),
            ),
        ),
        sampling=Sampling(
            population=None,
            num_intents=len(lines) + 3,
            num_verdicts=len(lines),
            achieved_fraction=None,
            statement="The log does not know how many exchanges there were to choose from.",
        ),
        error=FamilyWiseError(
            num_tested=len(lines),
            expected_false_alarms=len(lines) * 1e-4,
            any_false_alarm_bound=min(1.0, len(lines) * 1e-4),
            num_providers=len(standings),
            provider_false_alarm_bound=len(standings) * 1e-4,
            statement="If every provider were honest, 0.042 of the 420 tested exchanges would be "
            "expected to be FAILED by chance, and the chance of at least one is at most 0.042.",
        ),
        limits=limits_of(lines),
        exchanges=chosen_of(lines),
        control_mapping=CONTROL_MAPPING,
    )
