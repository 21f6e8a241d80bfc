"""`calibrate`: what it writes is accepted by `check`, and it learns nothing from cheats."""

from pathlib import Path

import pytest

from audit.cli.exits import ExitCode
from audit.judge.calibration_file import load_calibration
from tests.integration.processes import Finished
from tests.integration.traffic import lines, write_lines
from tests.support.example_model import EXAMPLES, MODEL, TRAFFIC
from tests.unit.cli.command import run

SOURCE = TRAFFIC / "honest-vllm-bf16-2.jsonl"
NUM_EXCHANGES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrate")


def part(folder: Path, name: str, start: int) -> Path:
    """Write some of the honest exchanges to a file of their own."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(lines(SOURCE)[start : start + NUM_EXCHANGES]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def calibrated(folder: Path) -> Finished:
    first, second = part(folder, "one", 0), part(folder, "two", NUM_EXCHANGES)
    with second.open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    out = folder / "made" / "calibration.json"
    named = ("--traffic", f"batch-1={first}", "--traffic", second)
    return run("calibrate", "--json", "--model", MODEL, *named, "--out", out)


def test_it_writes_a_calibration_and_says_what_it_learned(
    calibrated: Finished, folder: Path
) -> None:
    assert calibrated.code == 0, calibrated.stderr
    (line,) = calibrated.lines
    assert (line["profile"], line["precision"]) == ("vllm-cpu-splitmix64", "bfloat16")
    assert [v["name"] for v in line["variants"]] == ["batch-1", "two"]
    assert {v["source"] for v in line["variants"]} == {"recorded"}
    assert line["num_exchanges"] == 2 * NUM_EXCHANGES
    assert line["match_share"] > 0.98
    assert [h["variant"] for h in line["left_out_in_turn"]] == ["batch-1", "two"]
    saved = load_calibration(folder / "made" / "calibration.json")
    assert saved.calibration_id == line["calibration_id"]


def test_bounds_fall_as_calls_get_clearer(calibrated: Finished) -> None:
    bounds = list(calibrated.lines[0]["mismatch_bounds"].values())
    assert bounds == sorted(bounds, reverse=True) and 0.0 < bounds[-1] < bounds[0] <= 1.0


def test_it_says_what_it_left_out(calibrated: Finished) -> None:
    told = " ".join(calibrated.stderr.split())
    assert "1 exchanges left out: invalid_exchange" in told


def test_check_accepts_what_it_wrote(calibrated: Finished, folder: Path) -> None:
    traffic = write_lines(folder / "cheat.jsonl", (TRAFFIC / "cheat-other-checkpoint.jsonl", 2))
    with_it = ("--calibration", folder / "made" / "calibration.json")
    done = run("check", "--json", "--model", MODEL, *with_it, "--traffic", traffic)
    assert done.code == 1
    assert {line["verdict"] for line in done.lines} == {"FAIL"}
    made = {line["calibration_id"] for line in calibrated.lines}
    assert {line["calibration_id"] for line in done.lines} == made


def test_one_variant_alone_is_written_but_cannot_pass(folder: Path) -> None:
    traffic, out = part(folder, "alone", 48), folder / "alone.json"
    done = run("calibrate", "--json", "--model", MODEL, "--traffic", traffic, "--out", out)
    assert done.code == 0
    assert "1 honest variant, the policy asks for 2" in " ".join(done.stderr.split())
    judged = run("check", "--json", "--model", MODEL, "--calibration", out, "--traffic", traffic)
    assert judged.code == 2
    assert {line["verdict"] for line in judged.lines} == {"INCONCLUSIVE"}
    assert {r for line in judged.lines for r in line["reasons"]} == {"calibration_too_narrow"}


def test_the_reference_makes_honest_traffic_itself(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    bundled = (EXAMPLES / "calibration" / "prompts.txt").read_text(encoding="utf-8")
    prompts.write_text("\n".join(bundled.splitlines()[:20]) + "\n\n", encoding="utf-8")
    out = tmp_path / "calibration.json"
    how = ("--generate", prompts, "--generate-profile", "vllm-cpu-splitmix64")
    done = run(
        *("calibrate", "--json", "--model", MODEL, *how, "--generated-tokens", 24, "--out", out)
    )
    assert done.code == 0, done.stderr
    (line,) = done.lines
    assert {v["source"] for v in line["variants"]} == {"generated"}
    assert {v["name"] for v in line["variants"]} == {
        f"bfloat16-{kernel}-batch-{size}" for kernel in ("sdpa", "eager") for size in (1, 16)
    }
    assert all(v["num_tokens"] == 20 * 24 for v in line["variants"])
    assert line["match_share"] > 0.98


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


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((), "name honest traffic"),
        (("--traffic", "batch-1=missing.jsonl"), "no traffic file missing.jsonl"),
        (("--generate", "missing.txt", "--generate-profile", "greedy"), "cannot read the prompts"),
        (("--generate", __file__), "needs --generate-profile"),
        (("--generate", __file__, "--generate-profile", "quantum"), "known are"),
    ],
    ids=["nothing", "no_traffic", "no_prompts", "no_profile", "unknown_profile"],
)
def test_it_says_what_it_lacks(more: tuple[str, ...], says: str, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    done = run("calibrate", "--json", "--model", MODEL, "--out", out, *more)
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    assert says in " ".join(done.stderr.split())


def test_it_says_where_it_cannot_write(tmp_path: Path) -> None:
    traffic = part(tmp_path, "honest", 0)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    out = tmp_path / "file" / "calibration.json"
    done = run("calibrate", "--json", "--model", MODEL, "--traffic", traffic, "--out", out)
    assert done.code == ExitCode.DATA
    assert "cannot write" in done.stderr
