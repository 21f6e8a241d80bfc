"""Sweeps, runs and findings as JSON lines for programs.

Field names of a line are a promise to scripts; add, never rename.
"""

import math
from dataclasses import asdict
from typing import Any

from audit.cli.lines import Line
from audit.codec.wire_sweep import SweepRunView
from audit.sweep_records import EndpointFinding, Sweep, SweepOutcome, SweepResult


def sweep_line(sweep: Sweep) -> Line:
    """Return the line of one sweep."""
    line: Line = {**asdict(sweep), "state": sweep.state.value}
    return line


def run_line(view: SweepRunView) -> Line:
    """Return the line of one run, with findings where the view holds a result."""
    slot, result = view.slot, view.result
    outcome, statement = conclusion_of(view)
    line: Line = {
        "run_id": slot.run_id,
        "sweep_id": slot.sweep_id,
        "slot_at": slot.slot_at,
        "start_at": slot.start_at,
        "is_manual": slot.is_manual,
        "state": slot.state.value,
        "attempt": slot.attempt,
        "finished_at": slot.finished_at,
        "outcome": None if outcome is None else outcome.value,
        "statement": statement,
        "log_index": view.log_index,
        "envelope": None if view.envelope is None else view.envelope.decode("utf-8"),
    }
    return line if result is None else line | _content(result)


def result_line(result: SweepResult) -> Line:
    """Return the line of a result that no service holds."""
    return {
        "run_id": result.run_id,
        "sweep_id": result.sweep_id,
        "slot_at": result.slot_at,
        "outcome": result.outcome.value,
        "statement": result.statement,
        **_content(result),
    }


def _content(result: SweepResult) -> Line:
    return {
        "commitment": result.commitment,
        "opening": None if result.opening is None else asdict(result.opening),
        "recording_digest": result.recording_digest,
        "policy_id": result.policy_id,
        "bundle_id": result.bundle_id,
        "spec_digest": result.spec_digest,
        "findings": [finding_line(finding) for finding in result.findings],
    }


def finding_line(finding: EndpointFinding) -> Line:
    """Return what a run concludes about one endpoint; numbers beyond all bounds are text."""
    line: Line = _written(asdict(finding))
    for reading in line["readings"]:
        reading["log_e_nats"] = reading.pop("log_e_nats_N")
    return line


def conclusion_of(view: SweepRunView) -> tuple[SweepOutcome | None, str | None]:
    """Return outcome and statement of a run, from its result or from a list; None before."""
    if view.result is None:
        return view.outcome, view.statement
    return view.result.outcome, view.result.statement


def _written(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _written(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    return value
