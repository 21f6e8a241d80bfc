"""`calibrate`: what it writes is accepted by `check`, and it learns nothing from cheats."""

from pathlib import Path

import pytest

from audit.cli.exits import ExitCode
from tests.integration.processes import Finished
from tests.integration.traffic import write_lines
from tests.support.example_model import MODEL, TRAFFIC
from tests.unit.cli.command import run

NUM_EXCHANGES = 48
#: The rest is greedy, and too little to learn from.
NUM_SAMPLED = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrate")


@pytest.fixture(scope="module")
def calibrated(folder: Path) -> Finished:
    source = TRAFFIC / "honest-vllm-bf16-calibration-1.jsonl"
    traffic = write_lines(folder / "honest.jsonl", (source, NUM_EXCHANGES))
    with traffic.open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    out = folder / "made" / "calibration.json"
    return run("calibrate", "--json", "--model", MODEL, "--traffic", traffic, "--out", out)


def test_it_writes_a_calibration_and_says_what_it_learned(
    calibrated: Finished, folder: Path
) -> None:
    assert calibrated.code == 0, calibrated.stderr
    assert (folder / "made" / "calibration.json").is_file()
    (line,) = calibrated.lines
    assert (line["profile"], line["precision"]) == ("vllm-cpu-splitmix64", "bfloat16")
    assert (line["greedy"], line["ids_inferred"]) == (False, False)
    assert line["num_exchanges"] == NUM_SAMPLED
    assert line["match_share"] > 0.98
    assert line["false_alarm_rate"] == 0.01


def test_it_says_what_it_left_out(calibrated: Finished) -> None:
    told = " ".join(calibrated.stderr.split())
    assert "1 exchanges left out: invalid_exchange" in told
    assert f"{NUM_EXCHANGES - NUM_SAMPLED} exchanges are too few" in told


def test_check_accepts_what_it_wrote(calibrated: Finished, folder: Path) -> None:
    source = TRAFFIC / "cheat-other-checkpoint.jsonl"
    traffic = write_lines(folder / "cheat.jsonl", (source, 2))
    with_it = ("--calibration", folder / "made" / "calibration.json")
    done = run("check", "--json", "--model", MODEL, *with_it, "--traffic", traffic)
    assert done.code == 1
    assert {line["verdict"] for line in done.lines} == {"FAIL"}
    assert {line["calibration_id"] for line in done.lines} == {
        line["calibration_id"] for line in calibrated.lines
    }


def test_it_refuses_cheating_traffic(tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    source = TRAFFIC / "cheat-wrong-seed-t1.0.jsonl"
    traffic = write_lines(tmp_path / "cheat.jsonl", (source, 24))
    done = run("calibrate", "--json", "--model", MODEL, "--traffic", traffic, "--out", out)
    assert (done.code, done.stdout) == (ExitCode.DATA, "")
    assert "CalibrationError" in done.stderr
    assert not out.exists()


def test_it_refuses_traffic_without_a_single_usable_exchange(tmp_path: Path) -> None:
    out, traffic = tmp_path / "calibration.json", tmp_path / "bad.jsonl"
    traffic.write_text("{}\n", encoding="utf-8")
    done = run("calibrate", "--json", "--model", MODEL, "--traffic", traffic, "--out", out)
    assert (done.code, done.stdout) == (ExitCode.DATA, "")
    assert not out.exists()


@pytest.mark.parametrize("rate", ["0", "1", "-0.1", "nan"])
def test_it_refuses_a_senseless_false_alarm_rate(rate: str, tmp_path: Path) -> None:
    traffic = write_lines(tmp_path / "t.jsonl", (TRAFFIC / "cheat-4bit.jsonl", 1))
    files = ("--traffic", traffic, "--out", tmp_path / "calibration.json")
    done = run("calibrate", "--json", "--model", MODEL, *files, "--false-alarm-rate", rate)
    assert done.code >= 64
    assert done.stdout == ""


def test_it_says_where_it_cannot_write(tmp_path: Path) -> None:
    source = TRAFFIC / "honest-vllm-bf16-calibration-1.jsonl"
    traffic = write_lines(tmp_path / "honest.jsonl", (source, NUM_EXCHANGES))
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    out = tmp_path / "file" / "calibration.json"
    done = run("calibrate", "--json", "--model", MODEL, "--traffic", traffic, "--out", out)
    assert done.code == ExitCode.DATA
    assert "cannot write" in done.stderr
