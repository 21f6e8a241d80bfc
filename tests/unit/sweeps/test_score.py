"""Scoring is a pure function of plan and answers, and a recording gives the same result again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.codec.sweep_json import result_to_json
from audit.errors import InvalidRequest
from audit.sweep_records import (
    AnswerStatus,
    EndpointRole,
    RawAnswer,
    RecordedAnswer,
    SweepOutcome,
    SweepResult,
)
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.policy import load_sweep_policy
from audit.sweeps.provider.recording import Recording, read_recording, write_recording
from audit.sweeps.record import history_of, read_run, recording_of
from audit.sweeps.score import Scorer, Watcher, by_endpoint
from tests.unit.sweeps.small_run import ParityDetector, answered, endpoint, stored_plan

SCORER = Scorer(
    detectors=(ParityDetector(),),
    comparers=(),
    policy=replace(load_sweep_policy(), must_see=("int4-g32",), max_blind_share=0.5),
    num_probes={"border-greedy/1": 160},
)
HONEST = endpoint("honest", EndpointRole.NEGATIVE_CONTROL)
CHEAP = endpoint("cheap", EndpointRole.POSITIVE_CONTROL)


def answers_of(
    stored: StoredPlan, letter: Callable[[str, int], str], num_asked: int = 40
) -> list[RecordedAnswer]:
    return [
        RecordedAnswer(
            endpoint=part.endpoint.name,
            position=position,
            raw=answered(
                letter(part.endpoint.name, position), f"2026-11-11T09:{position:02}:00.000000Z"
            ),
        )
        for part in stored.plan.endpoints
        for position in range(num_asked)
    ]


def score(stored: StoredPlan, answers: list[RecordedAnswer]) -> SweepResult:
    return SCORER.score(stored, by_endpoint(answers), {}, recording_digest="sha256:" + "0" * 64)


def by_name(name: str, position: int) -> str:
    return "A" if name in ("honest", "gateway") else "AB"[position % 2]


def test_a_substitute_is_found_and_an_honest_endpoint_is_not() -> None:
    stored = stored_plan([endpoint(), endpoint("diverted"), HONEST, CHEAP])
    result = score(stored, answers_of(stored, by_name))
    outcomes = {finding.endpoint: finding.outcome for finding in result.findings}
    assert outcomes["gateway"] is SweepOutcome.CONSISTENT
    assert outcomes["diverted"] is SweepOutcome.INCONSISTENT
    assert result.outcome is SweepOutcome.INCONSISTENT
    diverted = result.findings[1]
    assert diverted.is_discovery
    assert diverted.decided_after is not None and diverted.decided_after <= 6
    assert diverted.spending.num_requests == 40
    assert diverted.spending.prompt_tokens == 800
    assert result.finished_at == "2026-11-11T09:39:00.000000Z"


@pytest.mark.parametrize(
    "letter", [lambda name, position: "A", lambda name, position: "AB"[position % 2]]
)
def test_a_run_whose_controls_misbehave_is_void(letter: Callable[[str, int], str]) -> None:
    stored = stored_plan([endpoint(), HONEST, CHEAP])
    result = score(stored, answers_of(stored, letter))
    assert result.outcome is SweepOutcome.VOID
    assert result.findings[0].outcome is SweepOutcome.VOID


def test_failures_are_no_evidence() -> None:
    stored = stored_plan([endpoint()])
    down = [
        RecordedAnswer(
            endpoint="gateway",
            position=position,
            raw=RawAnswer(status=AnswerStatus.SERVER_ERROR, http_status=500, num_attempts=3),
        )
        for position in range(8)
    ]
    result = score(stored, down)
    assert result.findings[0].outcome is SweepOutcome.UNINFORMATIVE
    assert result.findings[0].log_e_nats == 0.0
    assert result.findings[0].spending.num_requests == 24


def test_a_recording_gives_the_same_result_bit_for_bit(tmp_path: Path) -> None:
    stored = stored_plan([endpoint(), endpoint("diverted"), HONEST, CHEAP])
    answers = answers_of(stored, by_name, num_asked=30)
    history = history_of([score(stored_plan([endpoint()]), answers_of(stored, by_name))])
    recording = recording_of(stored, {}, answers)
    result = SCORER.score(stored, by_endpoint(answers), {}, recording_digest=recording.digest)

    path = tmp_path / "run.jsonl.gz"
    write_recording(recording_of(stored, {}, list(reversed(answers))), path)
    read = read_run(read_recording(path.read_bytes()))
    assert read.stored == stored
    assert read.digest == recording.digest
    again = SCORER.score(
        read.stored, by_endpoint(read.answers), read.history, recording_digest=read.digest
    )
    assert result_to_json(again) == result_to_json(result)
    assert history["gateway"][0].num_answers == 40


def test_what_earlier_runs_showed_travels_with_the_recording(tmp_path: Path) -> None:
    stored = stored_plan([endpoint()])
    history = history_of([score(stored, answers_of(stored, by_name))])
    path = tmp_path / "run.jsonl.gz"
    write_recording(recording_of(stored, history, []), path)
    assert read_run(read_recording(path.read_bytes())).history == history


def test_a_recording_of_something_else_is_refused() -> None:
    stored = stored_plan([endpoint()])
    recording = recording_of(stored, {}, [])
    with pytest.raises(InvalidRequest, match="spec"):
        read_run(_with_spec(recording, '{"history":[]}'))


def _with_spec(recording: Recording, spec: str) -> Recording:
    return replace(recording, header=replace(recording.header, spec_json=spec))


def test_looking_stops_where_deciding_would() -> None:
    stored = stored_plan([endpoint("diverted")])
    (part,) = stored.plan.endpoints
    watcher = Watcher(scorer=SCORER, run_number=1, num_targets=1)
    all_answers = by_endpoint(answers_of(stored, by_name))["diverted"]
    first = next(
        n for n in range(1, 41) if watcher.is_decided(part, {k: all_answers[k] for k in range(n)})
    )
    result = score(stored, answers_of(stored, by_name, num_asked=first))
    assert result.findings[0].outcome is SweepOutcome.INCONSISTENT
    assert result.findings[0].decided_after == first
