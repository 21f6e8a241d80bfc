"""The estimating model end to end: train, calibrate, check; and folders that do not fit.

Requests are made up, of 1,050 to 1,250 tokens in one domain and 5,100 to 5,900 in the other; the
few steps here teach the form of a reply and hardly more.
"""

import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the extra palace")

from audit.app import open_log, running_log
from audit.app.billing import build_billing, build_desk
from audit.config import BillingSettings, ServiceSettings, load_billing_settings
from audit.log_records import EntryKind
from tests.integration.processes import Finished
from tests.support.example_model import MODEL
from tests.unit.cli.command import run

RANGES = {"math": (1_050, 1_250), "trick": (5_100, 5_900)}
WORDS = {"math": "sum of", "trick": "riddle"}

NUM_TRAINING = 32
NUM_CALIBRATION = 36


def document(number: int, *, factor: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Return a request of our own making; its number is its question."""
    domain = ("math", "trick")[number % 2]
    draw = random.Random(number)  # noqa: S311 (made-up requests, no secret)
    count = round(factor * draw.randint(*RANGES[domain]))
    return {
        "request_id": f"r{number}",
        "account": "team-a",
        "provider": "https://gateway.example/v1",
        "model": "reasoner",
        "domain": domain,
        "prompt": f"{WORDS[domain]} {number}",
        "answer": str(number),
        "observed_at": "2026-11-01T00:00:00Z",
        "usage_schema": "openai_chat",
        "usage": {
            "completion_tokens": count + 9,
            "completion_tokens_details": {"reasoning_tokens": count},
        },
    } | changes


def written(path: Path, documents: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in documents), encoding="utf-8")
    return path


@dataclass(frozen=True)
class World:
    folder: Path
    """Trained and calibrated."""
    bare: Path
    """The same before its calibration."""
    train: Path
    calibrate: Path
    calibrated: Finished


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("palace")
    folder, bare = root / "folder", root / "bare"
    numbers = range(100, 100 + 2 * NUM_CALIBRATION)
    train = written(root / "train.jsonl", [document(n) for n in range(NUM_TRAINING)])
    calibrate = written(
        root / "calibrate.jsonl",
        # the last repeats a question in other words
        [*map(document, numbers), document(100, request_id="again", prompt="SUM  of 100")],
    )
    done = run(
        *("tokens", "palace-train", train, "--model", MODEL, "--out", folder, "--seed", 1),
        *("--epochs", 14, "--grpo-steps", 1, "--learning-rate", 8e-3, "--chars", 40),
    )
    assert done.code == 0, done.stderr
    assert f"trained on {NUM_TRAINING} requests" in done.stdout
    assert "trick: mean reward" in done.stdout
    shutil.copytree(folder, bare)
    made = run("tokens", "palace-calibrate", calibrate, "--palace", folder, "--model", MODEL)
    assert made.code == 0, made.stderr
    return World(folder, bare, train, calibrate, made)


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Path:
    """A folder that a test may spoil."""
    shutil.copytree(world.folder, tmp_path / "palace")
    return tmp_path / "palace"


def check(folder: Path, requests: Path, *more: object, model: Path = MODEL) -> Finished:
    return run("tokens", "check", requests, "--palace", folder, "--palace-model", model, *more)


def lines_of(done: Finished) -> Iterator[dict[str, Any]]:
    assert done.code in (0, 1, 2), done.stderr
    return (line for line in map(json.loads, done.stdout.splitlines()) if "readings" in line)


def readings_of(done: Finished) -> list[dict[str, Any]]:
    return [r for line in lines_of(done) for r in line["readings"] if r["tier"] == "palace"]


def test_calibration_is_told_with_what_was_left_out(world: World) -> None:
    assert f"{2 * NUM_CALIBRATION} requests, 2 cells" in world.calibrated.stdout
    assert "different estimates" in world.calibrated.stdout
    assert "1 requests repeat a question of their cell" in world.calibrated.stderr
    manifest = json.loads((world.folder / "manifest.json").read_text())
    assert manifest["calibration_digest"] in world.calibrated.stdout


def test_check_reads_each_request_against_the_estimate(world: World, tmp_path: Path) -> None:
    honest = written(tmp_path / "honest.jsonl", [document(n) for n in range(300, 304)])
    readings = readings_of(check(world.folder, honest, "--json"))
    assert [r["cell"] for r in readings] == ["reasoner|math|", "reasoner|trick|"] * 2
    manifest = json.loads((world.folder / "manifest.json").read_text())
    for reading, number in zip(readings, range(300, 304), strict=True):
        low, high = RANGES[("math", "trick")[number % 2]]
        # a reply off the mark among the calibration moves it a little
        assert 0.9 * low <= reading["expected_tokens"] <= 1.1 * high
        assert reading["channel"] == f"palace:{manifest['adapters_digest']}"
        assert reading["calibration_id"] == manifest["calibration_digest"]
        assert reading["num_calibration"] <= NUM_CALIBRATION
    doubled = written(tmp_path / "doubled.jsonl", [document(300, factor=2.0)])
    (reading,) = readings_of(check(world.folder, doubled, "--json"))
    # next to all honest requests are billed less against their estimate
    assert reading["p_over"] <= 0.1 < readings[0]["p_over"]


def test_the_router_places_what_states_no_domain(world: World, tmp_path: Path) -> None:
    silent = written(tmp_path / "silent.jsonl", [document(n, domain=None) for n in range(300, 304)])
    readings = readings_of(check(world.folder, silent, "--json"))
    assert [r["cell"] for r in readings] == ["reasoner|math|", "reasoner|trick|"] * 2


def test_an_unseen_cell_is_named_and_no_folder_says_nothing(world: World, tmp_path: Path) -> None:
    other = written(tmp_path / "other.jsonl", [document(300, model="another")])
    (line,) = lines_of(check(world.folder, other, "--json"))
    (said,) = (one for one in line["unchecked"] if one["tier"] == "palace")
    assert said["reason"] == "unseen_cell"
    (line,) = lines_of(run("tokens", "check", other, "--json"))
    assert "palace" not in {one["tier"] for one in (*line["readings"], *line["unchecked"])}


#: What is added to which file (None takes it away), and what is said of it.
SPOILT = {
    "an adapter": ("adapters/math/adapter_model.safetensors", " ", "adapters are sha256:"),
    "an adapter too many": ("adapters/x", "{}", "adapters are sha256:"),
    "the router": ("router.json", " ", "router.json is sha256:"),
    "the calibration": ("calibration.json", " ", "calibration.json is sha256:"),
    "a missing calibration": ("calibration.json", None, "calibration.json: No such file"),
    "the manifest": ("manifest.json", "{}", "manifest.json is no JSON"),
    "a missing manifest": ("manifest.json", None, "manifest.json: No such file"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_folder_that_was_changed_is_refused_by_name(
    name: str, world: World, copied: Path
) -> None:
    file, added, message = SPOILT[name]
    if added is None:
        (copied / file).unlink()
    else:
        with (copied / file).open("a", encoding="utf-8") as opened:
            opened.write(added)
    done = check(copied, world.train)
    assert done.code == 65
    assert "CalibrationError" in done.stderr
    assert message in " ".join(done.stderr.split())


def test_a_calibration_of_other_adapters_is_refused(world: World, copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["adapters_digest"] = "sha256:00"
    (copied / "manifest.json").write_text(json.dumps(manifest))
    done = check(copied, world.train)
    assert done.code == 65
    assert "calibration.json belongs to the adapters sha256:" in done.stderr
    (copied / "manifest.json").write_text("{}")
    assert "is not of this version's form" in check(copied, world.train).stderr


def test_a_folder_without_calibration_is_refused(world: World) -> None:
    done = check(world.bare, world.train)
    assert done.code == 65
    assert "is not calibrated: use `inference-audit tokens palace-calibrate`" in done.stderr


def test_another_model_is_refused_by_its_digest(world: World, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(MODEL, other)
    (other / "generation_config.json").write_text("{}")
    done = check(world.folder, world.train, model=other)
    assert done.code == 64
    assert "belongs to the model sha256:" in done.stderr
    assert f"{other} is sha256:" in done.stderr
    done = check(world.folder, world.train, model=tmp_path / "nowhere")
    assert done.code == 64
    assert "nowhere" in done.stderr


def test_folder_and_model_go_together(world: World) -> None:
    for option in ("--palace", "--palace-model"):
        done = run("tokens", "check", world.train, option, world.folder)
        assert done.code == 64
        assert "needs both its folder (palace) and the checkpoint" in done.stderr


def test_a_missing_extra_is_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    train = run("tokens", "palace-train", world.train, "--model", MODEL, "--out", tmp_path / "new")
    for done in (train, check(world.folder, world.train)):
        assert done.code == 64
        assert "needs trl: pip install 'inference-audit[palace]'" in done.stderr
    assert not (tmp_path / "new").exists()


def test_questions_of_the_training_calibrate_nothing(world: World, copied: Path) -> None:
    done = run("tokens", "palace-calibrate", world.train, "--palace", copied, "--model", MODEL)
    assert done.code == 65
    assert f"{NUM_TRAINING} calibration requests are on questions of the training" in done.stderr


BAD_TRAINING: dict[str, tuple[list[dict[str, Any]], int, str]] = {
    "nothing usable": ([document(1, prompt=None)], 65, "there is nothing to train on"),
    "a small domain": (
        [document(n) for n in (*range(16), 17, 19)] + [document(99, domain="law")],
        65,
        "1 training requests of the domain 'law' are too few: give at least 8",
    ),
    "a name for no adapter": (
        [document(n, domain="general") for n in range(8)],
        64,
        "no adapter can be named 'general'",
    ),
    "longer than the model is shown": (
        [document(n, answer="x = 1\n" * 2_000) for n in range(0, 16, 2)],
        64,
        "more than 2048: show fewer characters",
    ),
}


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_requests_that_cannot_be_learnt_from_are_refused(name: str, tmp_path: Path) -> None:
    documents, code, message = BAD_TRAINING[name]
    path = written(tmp_path / "bad.jsonl", documents)
    done = run(
        *("tokens", "palace-train", path, "--model", MODEL, "--out", tmp_path / "new"),
        *("--chars", 20_000),
    )
    assert done.code == code
    assert message in done.stderr


def test_a_folder_in_use_is_not_written(world: World) -> None:
    done = run("tokens", "palace-train", world.train, "--model", MODEL, "--out", world.folder)
    assert done.code == 64
    assert "is not empty: name another folder" in done.stderr


def test_the_service_logs_the_calibration_that_its_readings_name(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "billing.toml"
    path.write_text(f"palace = '{world.folder}'\npalace_model = '{MODEL}'\n")
    billing = load_billing_settings(path)
    assert billing == BillingSettings(palace=world.folder, palace_model=MODEL)
    settings = ServiceSettings(
        database=f"sqlite:///{tmp_path / 'log.db'}",
        key_path=tmp_path / "key.pem",
        billing=billing,
    )
    tools = build_billing(billing)
    assert tools.checker.palace is not None
    with open_log(settings) as opened, running_log(opened) as log:
        desk = build_desk(log, tools)
        entry = log.reader.find(f"calibration:{tools.checker.palace.calibration_id}")
    assert entry.kind is EntryKind.CALIBRATION
    assert desk.checker is tools.checker
