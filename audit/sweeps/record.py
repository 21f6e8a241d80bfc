"""A run as a recording, and back: everything that scoring it again needs, in one file.

The header of the recording holds the plan's head and what earlier runs of each endpoint showed, so
that changes are found again as well; probes and answers are the recording's own lines.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from audit.codec.record_json import members_of, record_of
from audit.errors import InvalidRequest
from audit.sweep_records import RecordedAnswer, SweepOutcome, SweepResult
from audit.sweeps.drift.records import RunTells
from audit.sweeps.plan import EndpointPlan, RunPlan
from audit.sweeps.plan_file import StoredPlan, plan_from_json, plan_to_json
from audit.sweeps.probe import canonical_text
from audit.sweeps.provider.recording import Recording, make_recording
from audit.sweeps.provider.recording_lines import RecordingHeader
from audit.sweeps.score import tells_of

History = Mapping[str, tuple[RunTells, ...]]
"""What earlier runs showed, by endpoint and in the order of the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A recording, read."""

    stored: StoredPlan
    history: History
    answers: tuple[RecordedAnswer, ...]
    digest: str
    is_complete: bool


def recording_of(
    stored: StoredPlan, history: History, answers: Sequence[RecordedAnswer]
) -> Recording:
    """Return the recording of a run. Raises: InvalidRequest as `make_recording` does."""
    bare = RunPlan(
        endpoints=tuple(
            EndpointPlan(endpoint=part.endpoint, probes=()) for part in stored.plan.endpoints
        )
    )
    head = {
        "plan": json.loads(plan_to_json(replace(stored, plan=bare))),
        "history": {
            name: [members_of(run, "history") for run in runs] for name, runs in history.items()
        },
    }
    return make_recording(
        RecordingHeader(
            run_id=stored.run_id,
            sweep_id=stored.sweep_id,
            slot_at=stored.slot_at,
            spec_json=canonical_text(head),
        ),
        {part.endpoint.name: part.probes for part in stored.plan.endpoints},
        answers,
    )


def read_run(recording: Recording) -> RecordedRun:
    """Return the run of a recording. Raises: InvalidRequest naming the member that is wrong."""
    head = json.loads(recording.header.spec_json)
    if not isinstance(head, dict) or not isinstance(head.get("history"), dict):
        raise InvalidRequest.of("header.spec", "must hold plan and history")
    stored = plan_from_json(canonical_text(head.get("plan")))
    plans = dict(recording.plans)
    parts = tuple(
        EndpointPlan(endpoint=part.endpoint, probes=plans.get(part.endpoint.name, ()))
        for part in stored.plan.endpoints
    )
    return RecordedRun(
        stored=replace(stored, plan=RunPlan(endpoints=parts)),
        history={name: _runs(name, runs) for name, runs in head["history"].items()},
        answers=recording.answers,
        digest=recording.digest,
        is_complete=recording.is_complete,
    )


def has_history(result: SweepResult) -> bool:
    """Return whether a run's readings may be held against later ones: its controls behaved."""
    return result.outcome not in (SweepOutcome.VOID, SweepOutcome.NOT_PERFORMED)


def history_of(results: Sequence[SweepResult]) -> History:
    """Return what the runs with these results showed, by endpoint."""
    found: dict[str, list[RunTells]] = {}
    for result in results:
        for finding in result.findings:
            found.setdefault(finding.endpoint, []).extend(tells_of(result.run_id, finding.readings))
    return {name: tuple(runs) for name, runs in sorted(found.items())}


def _runs(name: str, runs: object) -> tuple[RunTells, ...]:
    if not isinstance(runs, list):
        raise InvalidRequest.of(f"header.spec.history.{name}", "must be a list")
    return tuple(record_of(RunTells, run, f"header.spec.history.{name}") for run in runs)
