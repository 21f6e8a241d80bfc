"""Bad files and settings stop `check`, `submit` and `serve` with a code and advice."""

import shutil
from pathlib import Path

import pytest

from audit.app import background_service
from audit.cli.exits import ExitCode
from audit.client.client import AuditClient
from audit.config import ModelSource, ReplaySettings, ServiceSettings
from audit.judge.calibration import FORMAT
from audit.judge.calibration_file import load_calibration, save_calibration, seal_calibration
from audit.records import Outcome, Reason
from tests.integration.bad_traffic import HONEST_FILE, OTHER_DIGEST
from tests.integration.processes import CALIBRATION, Finished
from tests.integration.processes import run as run_process
from tests.integration.traffic import requests_of
from tests.support.example_model import MODEL
from tests.unit.cli.command import JUDGED, run

HONEST_TRAFFIC = ("--traffic", HONEST_FILE)


def assert_refused(done: Finished, code: int, says: str) -> None:
    """Check a refusal: its code, its advice on stderr, and nothing on stdout."""
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 4, done.stderr


@pytest.fixture(scope="module")
def truncated_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truncated") / "model"
    shutil.copytree(MODEL, folder)
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    return folder


@pytest.fixture(scope="module")
def calibration_of_another_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundled = load_calibration(CALIBRATION)
    sealed = seal_calibration(
        created_at=bundled.created_at, model_digest=OTHER_DIGEST, strata=bundled.strata
    )
    path = tmp_path_factory.mktemp("calibration") / "other.json"
    save_calibration(sealed, path)
    assert load_calibration(path).calibration_id == sealed.calibration_id
    return path


def test_an_unknown_profile_override_is_a_usage_error() -> None:
    done = run("check", "--json", *JUDGED, *HONEST_TRAFFIC, "--profile", "vllm-v9-quantum")
    assert_refused(done, ExitCode.USAGE, "known are: greedy")


def test_a_wrong_profile_override_never_passes() -> None:
    done = run("check", "--json", *JUDGED, *HONEST_TRAFFIC, "--profile", "vllm-v2-murmur32")
    assert done.code == 2
    assert done.lines[0]["reasons"] == ["uncalibrated"]
    assert done.lines[0]["profile"] == "vllm-v2-murmur32"


def test_an_unknown_precision_override_is_a_usage_error() -> None:
    done = run("check", "--json", *JUDGED, *HONEST_TRAFFIC, "--dtype", "int3")
    assert_refused(done, ExitCode.USAGE, "use one of bfloat16, float16, float32")


def test_a_missing_checkpoint_is_a_usage_error(tmp_path: Path) -> None:
    done = run("check", "--json", "--model", tmp_path / "none", *HONEST_TRAFFIC)
    assert_refused(done, ExitCode.USAGE, "name the folder of a Hugging Face checkpoint")


def test_an_empty_checkpoint_is_a_usage_error(tmp_path: Path) -> None:
    done = run("check", "--json", "--model", tmp_path, *HONEST_TRAFFIC)
    assert_refused(done, ExitCode.USAGE, "name the folder of a Hugging Face checkpoint")


def test_truncated_weights_are_a_usage_error(truncated_model: Path) -> None:
    done = run("check", "--json", "--model", truncated_model, *HONEST_TRAFFIC)
    assert_refused(done, ExitCode.USAGE, f"cannot load {truncated_model}")


def test_serve_refuses_truncated_weights_at_start(truncated_model: Path, tmp_path: Path) -> None:
    done = run_process(
        *("serve", "--json", "--model", truncated_model, "--listen", "127.0.0.1:0"),
        *("--database", f"sqlite:///{tmp_path / 'audits.db'}", "--key", tmp_path / "key.pem"),
        cwd=tmp_path,
    )
    assert_refused(done, ExitCode.USAGE, f"cannot load {truncated_model}")


@pytest.mark.parametrize("command", ["check", "submit"])
def test_a_missing_traffic_file_is_a_usage_error(command: str, tmp_path: Path) -> None:
    options = JUDGED if command == "check" else ("--address", "127.0.0.1:1")
    done = run(command, "--json", *options, "--traffic", tmp_path / "none.jsonl")
    assert_refused(done, ExitCode.USAGE, f"no traffic file {tmp_path / 'none.jsonl'}")


@pytest.mark.parametrize("content", ["", "\n  \n\n"], ids=["no bytes", "blank lines"])
@pytest.mark.parametrize("command", ["check", "submit"])
def test_an_empty_traffic_file_is_a_usage_error(command: str, content: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text(content, encoding="utf-8")
    options = JUDGED if command == "check" else ("--address", "127.0.0.1:1")
    done = run(command, "--json", *options, "--traffic", empty)
    assert_refused(done, ExitCode.USAGE, "expected one JSON object a line")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"format": "inference-audit/cal', "not valid JSON"),
        (b'{"format": "something else"}', f"no calibration of format {FORMAT}"),
        (b'{"format": "inference-audit/calibration/v1"}', f"no calibration of format {FORMAT}"),
        (b'{"format": "inference-audit/calibration/v2"}', "other bins"),
        (b"\x80\x81\x82", "not valid JSON"),
        (b"[]", "no calibration of format"),
    ],
    ids=["truncated", "another format", "the first format", "no body", "binary", "a list"],
)
def test_a_corrupt_calibration_is_a_data_error(content: bytes, says: str, tmp_path: Path) -> None:
    bad = tmp_path / "calibration.json"
    bad.write_bytes(content)
    done = run("check", "--json", "--model", MODEL, "--calibration", bad, *HONEST_TRAFFIC)
    assert_refused(done, ExitCode.DATA, says)


def test_an_altered_calibration_is_a_data_error(tmp_path: Path) -> None:
    bad = tmp_path / "calibration.json"
    text = CALIBRATION.read_text(encoding="utf-8")
    assert '"false_alarm_rate":0.01' in text
    bad.write_text(text.replace('"false_alarm_rate":0.01', '"false_alarm_rate":1e-09'), "utf-8")
    done = run("check", "--json", "--model", MODEL, "--calibration", bad, *HONEST_TRAFFIC)
    assert_refused(done, ExitCode.DATA, "was changed after it was made")


def test_serve_refuses_a_corrupt_calibration_at_start(tmp_path: Path) -> None:
    bad = tmp_path / "calibration.json"
    bad.write_text("{", encoding="utf-8")
    done = run_process(
        *("serve", "--json", "--model", MODEL, "--calibration", bad, "--listen", "127.0.0.1:0"),
        *("--database", f"sqlite:///{tmp_path / 'audits.db'}", "--key", tmp_path / "key.pem"),
        cwd=tmp_path,
    )
    assert_refused(done, ExitCode.DATA, "not valid JSON")


def test_a_calibration_of_another_model_judges_nothing(calibration_of_another_model: Path) -> None:
    calibrated = ("--calibration", calibration_of_another_model)
    done = run("check", "--json", "--model", MODEL, *calibrated, *HONEST_TRAFFIC)
    assert done.code == 2
    assert done.lines[0]["reasons"] == ["uncalibrated"]
    assert "calibrate this model" in done.lines[0]["details"][0]


def test_a_service_with_a_calibration_of_another_model_judges_nothing(
    calibration_of_another_model: Path, tmp_path: Path
) -> None:
    replay = ReplaySettings(
        models=(ModelSource(folder=MODEL),), calibration=calibration_of_another_model
    )
    service = ServiceSettings(
        listen="127.0.0.1:0",
        database=f"sqlite:///{tmp_path / 'audits.db'}",
        key_path=tmp_path / "key.pem",
    )
    with background_service(replay, service) as port, AuditClient(f"127.0.0.1:{port}") as client:
        *_, audit = client.watch(client.submit(requests_of(HONEST_FILE)[0]).audit_id)
    assert audit.signed is not None
    assert audit.signed.verdict.outcome is Outcome.INCONCLUSIVE
    assert audit.signed.verdict.reasons == (Reason.UNCALIBRATED,)
