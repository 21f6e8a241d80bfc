"""Parts of the made-up report: standings, the log's identity, limits, chosen exchanges."""

import hashlib
from collections.abc import Callable, Sequence

from audit.reports.records import (
    AttackRange,
    CheckpointLine,
    ChosenExchange,
    CountLine,
    CountTable,
    EvidencePoint,
    FigureRange,
    KeyEventLine,
    Limits,
    Listing,
    LogIdentity,
    ProviderStanding,
    SourceUse,
    TimestampLine,
    VerdictLine,
    WitnessLine,
)
from tests.unit.reports.sample_verdicts import (
    FAILED_AUDIT,
    KEY_ID,
    PASSED_AUDIT,
    UNKNOWN_AUDIT,
    digest,
    tokens_content,
)


def counts_of(label: str, lines: Sequence[VerdictLine]) -> CountLine:
    outcomes = [line.verdict for line in lines]
    return CountLine(
        label=label,
        num_passed=outcomes.count("PASSED"),
        num_failed=outcomes.count("FAILED"),
        num_inconclusive=outcomes.count("INCONCLUSIVE"),
        num_tokens=sum(line.num_tokens for line in lines),
    )


def table_of(lines: Sequence[VerdictLine], label: Callable[[VerdictLine], str]) -> CountTable:
    labels = sorted({label(line) for line in lines})
    rows = tuple(
        counts_of(text, [line for line in lines if label(line) == text]) for text in labels
    )
    return CountTable(lines=rows, others=None, num_labels=len(labels))


def standing_of(lines: Sequence[VerdictLine]) -> ProviderStanding:
    last = lines[-1]
    failed = [line for line in lines if line.stream_verdict == "FAILED"]
    bins = [lines[start : start + 4] for start in range(0, len(lines), 4)]
    evidence = last.stream_log10_e_value or 0.0
    return ProviderStanding(
        stream_id=last.stream_id or "",
        provider_name=last.provider_name,
        provider_uri=last.provider_uri,
        model=last.claimed_model,
        verdict=last.stream_verdict or "INCONCLUSIVE",
        statement="The evidence against an honest provider sufficed; at least 12.0% of the "
        "exchanges were substituted."
        if failed
        else f"Over {len(lines)} exchanges nothing speaks against an honest provider.",
        num_verdicts=len(lines),
        num_exchanges=last.stream_num_exchanges or 0,
        num_tokens=sum(line.num_tokens for line in lines),
        log10_e_value=evidence,
        log10_threshold=4.0,
        failed_at_exchange=failed[0].stream_num_exchanges if failed else None,
        failed_at_index=failed[0].log_index if failed else None,
        failed_at=failed[0].verified_at if failed else None,
        first_failed_exchange_at=next(
            (line.verified_at for line in lines if line.verdict == "FAILED"), None
        ),
        substituted_share_low=0.12 if failed else 0.0,
        noise_logits=0.52 if failed else 0.024,
        noise_low_logits=0.37 if failed else 0.019,
        noise_high_logits=None if failed else 0.031,
        noise_confidence=0.95,
        last_index=last.log_index,
        points=tuple(
            EvidencePoint(
                first_index=part[0].log_index,
                last_index=part[-1].log_index,
                first_verified_at=part[0].verified_at,
                last_verified_at=part[-1].verified_at,
                num_verdicts=len(part),
                num_failed=sum(line.verdict == "FAILED" for line in part),
                num_inconclusive=sum(line.verdict == "INCONCLUSIVE" for line in part),
                log10_e_value=part[-1].stream_log10_e_value or 0.0,
                max_log10_e_value=max(line.stream_log10_e_value or 0.0 for line in part),
                num_exchanges=part[-1].stream_num_exchanges or 0,
            )
            for part in bins
        ),
    )


def log_identity_of(end_index: int) -> LogIdentity:
    def checkpoint(size: int) -> CheckpointLine:
        root = hashlib.sha256(f"root {size}".encode()).digest()
        origin = "audit.contoso.example/verdicts"
        body = f"{origin}\n{size}\nq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=\n"
        note = f"{body}\n— {origin} 4Xn1Zg==\n"
        return CheckpointLine(size=size, root=root.hex(), note=note)

    return LogIdentity(
        origin="audit.contoso.example/verdicts",
        vkey="audit.contoso.example/verdicts+8cc1ad2e+AQ3vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
        trust_root_digest=digest("trust root"),
        first=checkpoint(40),
        last=checkpoint(end_index),
        consistency=tuple(hashlib.sha256(f"node {i}".encode()).hexdigest() for i in range(7)),
        witnesses=(
            WitnessLine(name="witness.first.example/w1", cosigned_at="2026-11-12T06:00:04Z"),
            WitnessLine(name="witness.second.example/w2", cosigned_at=None),
        ),
        quorum="at least one of the two witnesses",
        is_quorum_met=True,
        timestamps=(
            TimestampLine(
                size=end_index, authority="tsa.example", response_digest=digest("time-stamp")
            ),
        ),
    )


def chosen_of(lines: Sequence[VerdictLine]) -> tuple[ChosenExchange, ...]:
    by_id = {line.audit_id: line for line in lines}
    media_type = "application/vnd.inference-audit.tokens.v1+json"
    shown = tuple(
        ChosenExchange(
            audit_id=audit_id,
            line=by_id[audit_id],
            media_type=media_type,
            tokens=tokens_content(
                by_id[audit_id].num_tokens or 200,
                (by_id[audit_id].num_tokens or 200) - by_id[audit_id].num_matches,
                seed,
            ),
            problem=None,
        )
        for seed, audit_id in enumerate((FAILED_AUDIT, PASSED_AUDIT))
        if audit_id in by_id and by_id[audit_id].num_tokens
    )
    absent = ChosenExchange(
        audit_id=UNKNOWN_AUDIT,
        line=None,
        media_type=None,
        tokens=None,
        problem="no verdict of this id is in the window",
    )
    return (*shown, absent)


def source_of(source_id: str, lines: Sequence[VerdictLine], log_index: int) -> SourceUse:
    return SourceUse(
        source_id=source_id,
        digest=source_id,
        log_index=log_index,
        entered_at="2026-10-30T09:00:00Z",
        num_verdicts=len(lines),
        first_verdict_index=lines[0].log_index if lines else None,
        last_verdict_index=lines[-1].log_index if lines else None,
        statement='{"maxFalseAlarmRate":0.0001}',
    )


def limits_of(lines: Sequence[VerdictLine]) -> Limits:
    def attack(name: str, label: str, low: float, mean: float, high: float) -> AttackRange:
        return AttackRange(
            attack=name,
            label=label,
            num_verdicts=len(lines),
            low_power=low,
            mean_power=mean,
            high_power=high,
            low_tokens_needed=120,
            high_tokens_needed=None if mean < 0.2 else 480,
        )

    return Limits(
        figures=(
            FigureRange(
                name="sensitivity_noise_logits",
                label="Smallest noise that would have been failed",
                unit="logits",
                low=0.11,
                median=0.18,
                high=0.4,
                num_stated=len(lines),
                num_unseen=3,
            ),
            FigureRange(
                name="sensitivity_substituted_share",
                label="Smallest share of substituted tokens that would have been failed",
                unit="share",
                low=0.02,
                median=0.03,
                high=0.09,
                num_stated=len(lines),
                num_unseen=0,
            ),
        ),
        attacks=(
            attack("int4", "Weights quantised to 4 bits", 0.81, 0.93, 0.99),
            attack("smaller", "A smaller model of the same family", 0.99, 1.0, 1.0),
            attack("kv8", "Key-value cache quantised to 8 bits", 0.05, 0.12, 0.31),
            attack("prompt", "A changed system prompt", 0.62, 0.78, 0.9),
        ),
        statements=(
            "An exchange that was never handed over for audit cannot be judged.",
            "A provider that recognises audited traffic and serves only it honestly is not seen.",
        ),
    )


def key_events_of() -> Listing[KeyEventLine]:
    retired = hashlib.sha256(b"old key").hexdigest()
    return Listing(
        total=2,
        items=(
            KeyEventLine(
                log_index=2,
                key_id=KEY_ID,
                event="introduced",
                occurred_at="2026-10-30T08:00:00Z",
                note=None,
            ),
            KeyEventLine(
                log_index=3,
                key_id=retired,
                event="retired",
                occurred_at="2026-10-30T08:05:00Z",
                note="rotated on schedule",
            ),
        ),
    )
