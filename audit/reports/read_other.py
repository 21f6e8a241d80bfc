"""Signed entries that are no verdicts to lines of the report."""

from audit.reports import members as m
from audit.reports.opening import Opened
from audit.reports.records import (
    ErasureLine,
    KeyEventLine,
    MeterLine,
    ReportLine,
    SweepLine,
    SweepRunLine,
)


def read_key_event(opened: Opened) -> KeyEventLine:
    """Return what happened to a key. Raises: VerificationError."""
    predicate = opened.predicate
    below = m.optional_integer(predicate, "belowIndex")
    compromised_at = m.optional_text(predicate, "compromisedAt")
    notes = (
        m.optional_text(predicate, "reason"),
        None if below is None else f"counts below index {below}",
        None if compromised_at is None else f"compromised at {compromised_at}",
    )
    return KeyEventLine(
        log_index=opened.log_index,
        key_id=m.text(m.child(predicate, "key"), "id"),
        event=m.text(predicate, "action"),
        occurred_at=opened.signed_at,
        note="; ".join(note for note in notes if note) or None,
    )


def read_erasure(opened: Opened) -> ErasureLine:
    """Return what was erased; how much of it was seen is added later. Raises: VerificationError."""
    erasure = m.child(opened.predicate, "erasure")
    return ErasureLine(
        log_index=opened.log_index,
        tenant=m.text(erasure, "tenant"),
        before=m.text(erasure, "before"),
        below_index=m.integer(erasure, "belowIndex"),
        erased_at=opened.signed_at,
        num_stated=m.optional_integer(erasure, "numEntries"),
        num_seen=0,
    )


def read_report(opened: Opened) -> ReportLine:
    """Return an earlier report."""
    return ReportLine(
        log_index=opened.log_index,
        manifest_digest=opened.subject_digest,
        reported_at=opened.signed_at,
    )


def read_sweep(opened: Opened) -> SweepLine:
    """Return what a sweep bound itself to. Raises: VerificationError."""
    predicate = opened.predicate
    sampling = m.child(predicate, "sampling")
    return SweepLine(
        log_index=opened.log_index,
        sweep_id=m.text(predicate, "sweepId"),
        committed_at=opened.signed_at,
        commitment=opened.subject_digest,
        planned_fraction=m.optional_number(sampling, "fraction"),
        population=m.optional_integer(sampling, "population"),
    )


def read_meter(opened: Opened) -> MeterLine:
    """Return what was found about an account's meter. Raises: VerificationError."""
    predicate = opened.predicate
    account = m.child(predicate, "account")
    return MeterLine(
        log_index=opened.log_index,
        finding_id=opened.subject_digest,
        provider=m.text(account, "provider"),
        account=m.text(account, "account"),
        model=m.text(account, "model"),
        effort=m.text(account, "effort"),
        domain=m.text(account, "domain"),
        meter=m.text(predicate, "meter"),
        direction=m.optional_text(predicate, "direction"),
        statement=m.text(predicate, "statement"),
        tier=m.optional_text(predicate, "tier"),
        evidence_controller=m.optional_text(predicate, "evidenceController"),
        num_requests=m.integer(predicate, "numRequests"),
        num_violations=m.integer(predicate, "numViolations"),
        log10_e_over=m.number(predicate, "log10EValueOver"),
        log10_e_under=m.number(predicate, "log10EValueUnder"),
        found_at=opened.signed_at,
    )


def read_sweep_runs(opened: Opened) -> tuple[SweepRunLine, ...]:
    """Return what a run concluded about each endpoint. Raises: VerificationError."""
    predicate = opened.predicate
    found = m.children(predicate, "endpoints")
    return tuple(_read_run(opened, predicate, one) for one in found or ({},))


def _read_run(opened: Opened, predicate: m.Members, found: m.Members) -> SweepRunLine:
    run, is_named = m.child(predicate, "run"), bool(found)
    commitment = m.optional_text(predicate, "commitment")
    return SweepRunLine(
        log_index=opened.log_index,
        run_id=m.text(run, "runId"),
        sweep_id=m.text(run, "sweepId"),
        slot_at=m.text(run, "slotAt"),
        run_outcome=m.text(predicate, "outcome"),
        endpoint=m.text(found, "endpoint") if is_named else "",
        role=m.text(found, "role") if is_named else "",
        outcome=m.text(found if is_named else predicate, "outcome"),
        statement=m.text(found if is_named else predicate, "statement"),
        log10_e_value=m.optional_number(found, "log10EValue"),
        log10_threshold=m.optional_number(found, "log10Threshold"),
        decided_after_requests=m.optional_integer(found, "decidedAfterRequests"),
        num_requests=m.optional_integer(m.child(found, "spending"), "numRequests") or 0,
        share_low=m.optional_number(found, "shareLow"),
        share_high=m.optional_number(found, "shareHigh"),
        explanation=m.optional_text(found, "explanation"),
        commitment=None if commitment is None else commitment.removeprefix("sha256:"),
    )
