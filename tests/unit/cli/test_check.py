"""`check`: what its lines hold, what it does without a calibration, and how it is stopped."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.bad_traffic import HONEST_FILE
from tests.integration.processes import COMMAND, environment
from tests.integration.traffic import CHEAT, write_lines
from tests.support.example_model import MODEL, TRAFFIC
from tests.unit.cli.command import JUDGED, run

#: Promised to scripts for good.
PROMISED = {
    "index",
    "request_id",
    "verdict",
    "reasons",
    "profile",
    "num_tokens",
    "num_matches",
    "mean_clipped_margin",
}
PROMISED_ARRAYS = {"signed_margin", "top_two_gap", "matched"}
HONEST_TRAFFIC = ("--traffic", HONEST_FILE)


def test_several_files_may_follow_one_option_or_repeat_it() -> None:
    after = run("check", "--json", *JUDGED, *HONEST_TRAFFIC, HONEST_FILE)
    repeated = run("check", "--json", *JUDGED, *HONEST_TRAFFIC, *HONEST_TRAFFIC)
    assert (after.code, repeated.code) == (0, 0)
    assert [line["index"] for line in after.lines] == [0, 1]
    assert after.lines == repeated.lines


def test_a_line_holds_what_scripts_were_promised() -> None:
    done = run("check", "--json", *JUDGED, *HONEST_TRAFFIC)
    (line,) = done.lines
    assert set(line) >= PROMISED
    assert not PROMISED_ARRAYS & set(line)
    assert (done.code, line["index"], line["verdict"], line["reasons"]) == (0, 0, "PASS", [])
    assert line["profile"] == "vllm-cpu-splitmix64"
    assert line["num_tokens"] == 174
    assert 0.98 * 174 <= line["num_matches"] <= 174
    assert 0.0 <= line["mean_clipped_margin"] < line["threshold"]
    assert line["could_have_seen"]["statement"]


def test_the_token_arrays_have_an_entry_for_each_token() -> None:
    (line,) = run("check", "--json", "--tokens", *JUDGED, *HONEST_TRAFFIC).lines
    assert set(line) >= PROMISED | PROMISED_ARRAYS
    assert {len(line[name]) for name in PROMISED_ARRAYS} == {line["num_tokens"]}
    assert sum(line["matched"]) == line["num_matches"]
    for margin, matched in zip(line["signed_margin"], line["matched"], strict=True):
        assert (margin > 0) == matched or margin == 0
    assert all(gap >= 0 for gap in line["top_two_gap"])


def test_the_token_arrays_are_empty_where_nothing_was_replayed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n", encoding="utf-8")
    (line,) = run("check", "--json", "--tokens", *JUDGED, "--traffic", bad).lines
    assert set(line) >= PROMISED | PROMISED_ARRAYS
    assert all(line[name] == [] for name in PROMISED_ARRAYS)
    assert (line["num_tokens"], line["mean_clipped_margin"]) == (0, None)


def test_a_request_id_of_the_line_is_kept_and_others_are_stable(tmp_path: Path) -> None:
    named = json.loads(HONEST_FILE.read_text(encoding="utf-8")) | {"request_id": "mine-1"}
    path = tmp_path / "named.jsonl"
    path.write_text(json.dumps(named) + "\n", encoding="utf-8")
    traffic = (*HONEST_TRAFFIC, "--traffic", path, *HONEST_TRAFFIC)
    first, second, third = run("check", "--json", *JUDGED, *traffic).lines
    assert second["request_id"] == "mine-1"
    assert first["request_id"] == third["request_id"] != ""


def test_without_a_calibration_nothing_is_judged() -> None:
    done = run("check", "--json", "--model", MODEL, *HONEST_TRAFFIC)
    (line,) = done.lines
    assert done.code == 2
    assert (line["verdict"], line["reasons"]) == ("INCONCLUSIVE", ["uncalibrated"])
    assert "inference-audit calibrate" in line["details"][0]
    assert line["num_matches"] > 0


def test_the_precision_can_be_overridden_and_is_stated() -> None:
    (line,) = run("check", "--json", "--dtype", "float32", *JUDGED, *HONEST_TRAFFIC).lines
    assert line["precision"] == "float32"
    (line,) = run("check", "--json", *JUDGED, *HONEST_TRAFFIC).lines
    assert line["precision"] == "bfloat16"


def test_people_get_a_table_and_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = run("check", *JUDGED, *HONEST_TRAFFIC)
    assert done.code == 0
    assert "1 exchanges: 1 PASS, 0 FAIL, 0 INCONCLUSIVE" in done.stdout
    assert "honest.jsonl:1" in done.stdout


def started_check() -> "subprocess.Popen[str]":
    """Start a check of many exchanges and wait for its first line."""
    process = subprocess.Popen(
        [COMMAND, "check", "--json", *JUDGED, "--traffic", str(CHEAT), "--traffic", str(CHEAT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["index"] == 0
    return process


def test_ctrl_c_exits_130_without_a_traceback() -> None:
    with started_check() as process:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert all(json.loads(line) for line in stdout.splitlines())


def test_a_closed_stdout_ends_it_without_a_traceback_or_a_verdict_code() -> None:
    with started_check() as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        stderr = process.stderr.read()
        code = process.wait(timeout=60)
    assert stderr == ""
    assert code == 141


@pytest.fixture(scope="module")
def hotter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = TRAFFIC / "cheat-temperature-1.1.jsonl"
    return write_lines(tmp_path_factory.mktemp("hotter") / "hotter.jsonl", (source, 1))


def test_a_fail_is_explained_on_request(hotter: Path) -> None:
    (line,) = run("check", "--json", *JUDGED, "--traffic", hotter, "--diagnose").lines
    first = line["diagnosis"][0]
    assert line["verdict"] == "FAIL" and first["name"] == "temperature"
    assert first["disposition"] == "misconfigured"
    assert first["estimate"] == pytest.approx(1.1, abs=0.03)
    assert "unknown" in {explanation["name"] for explanation in line["diagnosis"]}
    told = run("check", *JUDGED, "--traffic", hotter, "--diagnose").stdout
    assert "instead of 1 (100% likely)" in " ".join(told.split())


def test_an_honest_answer_is_never_explained() -> None:
    done = run("check", "--json", *JUDGED, *HONEST_TRAFFIC, "--diagnose")
    assert done.lines and all(line["diagnosis"] == [] for line in done.lines)


def test_a_sibling_needs_a_diagnosis(hotter: Path) -> None:
    done = run("check", *JUDGED, "--traffic", hotter, "--sibling", f"same={MODEL}")
    assert done.code == 64 and "add --diagnose" in done.stderr
