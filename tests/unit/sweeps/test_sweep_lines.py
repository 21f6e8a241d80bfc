"""What the command line says of sweeps: tables for people, JSON lines for programs."""

import json
import math
from dataclasses import replace

import pytest

from audit.cli import sweep_lines
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line
from audit.cli.sweep_as_json import finding_line
from audit.codec.wire_sweep import SweepRunView, run_from_wire, run_to_wire
from audit.sweep_records import (
    ChangeKind,
    EndpointRole,
    Slot,
    SlotState,
    Sweep,
    SweepOutcome,
    SweepState,
)
from tests.unit.sweeps.wire_examples import (
    A_CONTROL,
    A_FINDING,
    A_READING,
    A_SPEC,
    TENANT,
    a_result,
    a_time,
)

Capture = pytest.CaptureFixture[str]

A_SWEEP = Sweep(
    sweep_id="sweep-1", tenant=TENANT, spec=A_SPEC, state=SweepState.PAUSED, created_at=a_time(0)
)
A_VIEW = SweepRunView(
    slot=Slot(
        run_id="run-1",
        sweep_id="sweep-1",
        tenant=TENANT,
        slot_at=a_time(0),
        start_at=a_time(1),
        is_manual=True,
        state=SlotState.DONE,
        attempt=1,
        finished_at=a_time(2),
        log_index=17,
    ),
    result=a_result("run-1", "sweep-1"),
    envelope=b'{"payload":""}',
    log_index=17,
)


def told(capsys: Capture) -> str:
    """Return what was printed, without the places where lines were broken."""
    return " ".join(capsys.readouterr().out.split())


def lines(capsys: Capture) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_sweeps_as_a_table(capsys: Capture) -> None:
    sweep_lines.print_sweeps([A_SWEEP], as_json=False)
    text = told(capsys)
    for part in ("sweep-1", "two hosts", "host-a, local", "17 */6 * * *", "PAUSED"):
        assert part in text


def test_sweeps_as_lines(capsys: Capture) -> None:
    sweep_lines.print_sweeps([A_SWEEP, replace(A_SWEEP, sweep_id="sweep-2")], as_json=True)
    first, second = lines(capsys)
    assert (first["sweep_id"], second["sweep_id"]) == ("sweep-1", "sweep-2")
    assert first["state"] == "PAUSED"
    assert first["spec"]["endpoints"][0]["key_ref"] == "env:A_KEY"  # type: ignore[index]


def test_nothing_yet_says_what_to_do(capsys: Capture) -> None:
    sweep_lines.print_sweeps([], as_json=False)
    sweep_lines.print_runs([], as_json=False)
    text = told(capsys)
    assert "`sweep create` one first" in text
    assert "ask for one with `sweep run`" in text
    sweep_lines.print_sweeps([], as_json=True)
    sweep_lines.print_runs([], as_json=True)
    assert capsys.readouterr().out == ""


def test_a_run_as_a_table_tells_all_that_decides(capsys: Capture) -> None:
    sweep_lines.print_run(A_VIEW, as_json=False)
    text = told(capsys)
    for part in (
        "DONE, entry 17 of the log",
        "inconsistent: 1 of 1 target was found to differ from its claim.",
        "0.31 to 1.00",
        "from 5.0%",
        "12,396",
        "0.0021 USD",
        "honest control",
        "host-a: inconsistent after 3 requests: The answers are inconsistent with the claim.",
        "it is among those that stand out over all endpoints",
        "likeliest: int4-g32",
        "border-greedy/1: 5.0 % of diverted requests would mostly have been seen.",
        "preflight/1, max_tokens (does not explain the rest): 4 tokens were asked for and 9",
        "preflight/1: too_little: 2 of 32 answers came back.",
        "step since run run-3 (run-2 to run-4) under border-greedy/1",
        "local: consistent: Nothing was found.",
    ):
        assert part in text, part
    assert f"{5.25 / math.log(10):.2f}" in text


def test_a_run_as_a_line_holds_findings_and_the_envelope(capsys: Capture) -> None:
    sweep_lines.print_run(A_VIEW, as_json=True)
    (line,) = lines(capsys)
    assert (line["outcome"], line["log_index"]) == ("inconsistent", 17)
    assert line["envelope"] == '{"payload":""}'
    finding = line["findings"][0]  # type: ignore[index]
    assert finding["readings"][0]["log_e_nats"] == [0.5, 2.5, 5.25]
    assert finding["changes"][0]["kind"] == "step"
    assert line["opening"]["seed"] == "00ff"  # type: ignore[index]


def test_a_listed_run_has_its_outcome_without_findings(capsys: Capture) -> None:
    listed = run_from_wire(run_to_wire(A_VIEW, with_result=False))
    pending = SweepRunView(
        slot=Slot(
            run_id="run-2",
            sweep_id="sweep-1",
            tenant=TENANT,
            slot_at=a_time(3),
            start_at=a_time(3),
        )
    )
    sweep_lines.print_runs([pending, listed], as_json=True)
    first, second = lines(capsys)
    assert (first["state"], first["outcome"], first["statement"]) == ("PENDING", None, None)
    assert (second["outcome"], "findings" in second) == ("inconsistent", False)
    sweep_lines.print_runs([pending, listed], as_json=False)
    text = told(capsys)
    assert "hand" in text
    assert "schedule" in text
    assert "2026-01-31 12:00:00Z" in text
    assert "inconsistent" in text


def test_a_run_that_did_not_take_place_says_why(capsys: Capture) -> None:
    result = a_result(
        "run-1",
        "sweep-1",
        outcome=SweepOutcome.NOT_PERFORMED,
        statement="No scheduler was there.",
        findings=(),
    )
    view = replace(A_VIEW, result=result, envelope=None, log_index=None)
    sweep_lines.print_run(view, as_json=False)
    text = told(capsys)
    assert "not signed" in text
    assert "not_performed: No scheduler was there." in text


def test_endless_evidence_is_still_json(capsys: Capture) -> None:
    reading = replace(A_READING, log_e_nats_N=(-math.inf, math.inf))
    line = finding_line(replace(A_FINDING, readings=(reading,)))
    print_line(line)
    (found,) = lines(capsys)
    assert found["readings"][0]["log_e_nats"] == ["-Infinity", "Infinity"]  # type: ignore[index]


def test_an_endpoint_cannot_steer_the_terminal(capsys: Capture) -> None:
    hostile = replace(
        A_FINDING,
        endpoint="[red]a[/red]\x1b[2J",
        statement="served by \x1b]0;owned\x07 [link=x]y[/link]",
        explanation="\x1b[31mhonest",
    )
    sweep_lines.print_result(a_result("run-1", "sweep-1", findings=(hostile,)))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]a[/red]" in "".join(text.split())
    assert "[link=x]y[/link]" in text


def test_no_change_is_not_told(capsys: Capture) -> None:
    (change,) = A_FINDING.changes
    sweep_lines.print_changes("host-a", [replace(change, kind=ChangeKind.NONE)])
    assert capsys.readouterr().out == ""


def test_what_nobody_could_have_seen_is_told(capsys: Capture) -> None:
    sweep_lines.print_result(a_result("run-1", "sweep-1", findings=(A_CONTROL,)))
    text = told(capsys)
    assert "nothing" in text
    assert "?" in text


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], ExitCode.PASS),
        (["consistent"], ExitCode.PASS),
        (["consistent", "uninformative"], ExitCode.INCONCLUSIVE),
        (["void"], ExitCode.INCONCLUSIVE),
        (["not_performed"], ExitCode.INCONCLUSIVE),
        (["not_applicable"], ExitCode.INCONCLUSIVE),
        (["uninformative", "inconsistent"], ExitCode.FAIL),
        (["misconfigured"], ExitCode.FAIL),
        (["changed"], ExitCode.FAIL),
        (["policy_different"], ExitCode.FAIL),
    ],
)
def test_the_exit_code_is_of_the_gravest(outcomes: list[str], code: ExitCode) -> None:
    assert sweep_lines.exit_code(map(SweepOutcome, outcomes)) is code


def test_every_outcome_and_role_can_be_told(capsys: Capture) -> None:
    for outcome in SweepOutcome:
        for role in EndpointRole:
            finding = replace(A_FINDING, outcome=outcome, role=role)
            sweep_lines.print_result(a_result("r", "s", outcome=outcome, findings=(finding,)))
            assert outcome.value in capsys.readouterr().out
