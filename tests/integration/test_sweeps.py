"""Sweeps from outside: endpoints on loopback, a service in a process of its own, signed results."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from audit.app.sweep_demo import adversary_tools
from audit.app.sweep_kit import KitBuilder
from audit.app.sweeps import open_sweeps
from audit.codec.sweep_json import result_from_json
from audit.config import ModelSource, ReplaySettings, SweepSettings
from audit.ledger.verify import verify_envelope
from audit.sweeps.adversaries.catalogue import find_adversary
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from audit.sweeps.commitment import check_opening
from tests.integration.processes import CALIBRATION, Finished, ServeProcess, run
from tests.support.example_model import EXAMPLES, MODEL

BUNDLE = EXAMPLES / "calibration" / "sweeps.json"
KEY = "sk-do-not-tell-this-key-4711"
DETECTORS = ["preflight/1", "border-greedy/1"]
WAIT_S = 120.0


@pytest.fixture(scope="module")
def builder() -> KitBuilder:
    """What serves the endpoints of these tests."""
    return open_sweeps(
        ReplaySettings(models=(ModelSource(name="example", folder=MODEL),)), SweepSettings()
    )


@contextmanager
def endpoints(builder: KitBuilder, *names: str) -> Iterator[list[tuple[str, str]]]:
    """Serve adversaries behind a key; yield (name, base URL) of each."""
    tools = adversary_tools(builder, "example")
    with ExitStack() as stack:
        found = []
        for name in names:
            served = Served(
                model="example",
                behaviour=find_adversary(name).build(tools),
                clock_s=time.monotonic,
                api_key=KEY,
            )
            found.append((name, stack.enter_context(LocalServer(served)).base_url))
        yield found


def sweep_file(path: Path, served: list[tuple[str, str]], *, schedule: str = "") -> Path:
    """Write a user's file that names these endpoints."""
    text = f'name = "watch"\ndetectors = {json.dumps(DETECTORS)}\n'
    text += '[claim]\nmodel = "example"\nprecision = "bfloat16"\n'
    text += "[budget]\nmax_requests = 400\nmax_tokens = 200000\n" + schedule
    for name, url in served:
        text += f'[[endpoints]]\nname = "{name}"\nbase_url = "{url}"\nmodel = "example"\n'
        text += 'key_ref = "env:SWEEP_KEY_TEST"\nsampler_profile = "torch-cpu-exponential"\n'
    path.write_text(text, encoding="utf-8")
    return path


def settings_file(folder: Path) -> Path:
    path = folder / "sweeps.toml"
    path.write_text(f'bundle = "{BUNDLE}"\nlease_s = 6.0\n', encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_KEY_TEST", KEY)


def outcomes(line: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {finding["endpoint"]: finding["outcome"] for finding in line["findings"]}


def kept_files(folder: Path) -> str:
    return "".join(
        path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()
    )


def run_and_wait(service: ServeProcess, sweep_id: str) -> Finished:
    return run("sweep", "run", sweep_id, "--json", "--address", service.address)


def test_a_sweep_finds_a_copy_signs_what_it_found_and_keeps_no_key(
    builder: KitBuilder, tmp_path: Path
) -> None:
    with (
        endpoints(builder, "honest-batch-8", "int4-g32") as served,
        ServeProcess(
            tmp_path, "--calibration", CALIBRATION, "--sweep-settings", settings_file(tmp_path)
        ) as service,
    ):
        file = sweep_file(tmp_path / "watch.toml", served)
        created = run("sweep", "create", file, "--json", "--address", service.address)
        assert created.code == 0, created.stderr
        sweep_id = created.lines[0]["sweep_id"]
        done = run_and_wait(service, sweep_id)
        assert done.code == 1, done.stdout + done.stderr
        line = done.lines[-1]
        found = outcomes(line)
        assert found["int4-g32"] == "inconsistent"
        assert found["honest-batch-8"] in ("consistent", "uninformative")
        assert found["control-honest"] in ("consistent", "uninformative")
        assert found["control-int4-g32"] == "inconsistent"

        envelope = tmp_path / "result.json"
        shown = run(
            *("sweep", "result", line["run_id"], "--json", "--address", service.address),
            *("--envelope", envelope),
        )
        assert shown.lines[0]["log_index"] == line["log_index"]
        statement = verify_envelope(envelope.read_bytes(), service.public_key.read_bytes())
        predicate = statement["predicate"]
        assert isinstance(predicate, dict)
        assert predicate["outcome"] == "inconsistent"
        assert predicate["commitment"] == line["commitment"]

        kinds = [entry["kind"] for entry in log_entries(service)]
        assert kinds.index("sweep_commitment") < kinds.index("sweep_result")
        listed = run("sweep", "list", "--json", "--address", service.address)
        assert [sweep["sweep_id"] for sweep in listed.lines] == [sweep_id]
    assert KEY not in kept_files(tmp_path)


def log_entries(service: ServeProcess) -> list[dict[str, str]]:
    return run("log", "entries", "--json", "--address", service.address).lines


def test_a_service_that_is_killed_half_way_ends_the_run_once_with_the_same_commitment(
    builder: KitBuilder, tmp_path: Path
) -> None:
    options = ("--calibration", CALIBRATION, "--sweep-settings", settings_file(tmp_path))
    with endpoints(builder, "honest-batch-8") as served:
        with ServeProcess(tmp_path, *options) as service:
            file = sweep_file(tmp_path / "watch.toml", served)
            created = run("sweep", "create", file, "--json", "--address", service.address)
            sweep_id = created.lines[0]["sweep_id"]
            asked = run(
                "sweep", "run", sweep_id, "--no-wait", "--json", "--address", service.address
            )
            run_id = asked.lines[0]["run_id"]
            wait_for(lambda: "sweep_commitment" in str(log_entries(service)))
            service.kill()
        with ServeProcess(tmp_path, *options) as service:
            wait_for(lambda: state_of(service, run_id) == "DONE")
            line = run("sweep", "result", run_id, "--json", "--address", service.address).lines[0]
            assert line["outcome"] in ("consistent", "uninformative")
            kinds = [entry["kind"] for entry in log_entries(service)]
            assert kinds.count("sweep_commitment") == kinds.count("sweep_result") == 1


def state_of(service: ServeProcess, run_id: str) -> str:
    done = run("sweep", "result", run_id, "--json", "--address", service.address)
    return str(done.lines[0]["state"])


def wait_for(is_so: object) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def test_a_sweep_without_a_service_scores_again_to_the_same_bits(
    builder: KitBuilder, tmp_path: Path
) -> None:
    recording, page = tmp_path / "run.jsonl.gz", tmp_path / "page"
    basis = ("--model", f"example={MODEL}", "--bundle", BUNDLE, "--json")
    with endpoints(builder, "int4-g32") as served:
        file = sweep_file(tmp_path / "watch.toml", served)
        done = run("sweep", "check", file, *basis, "--record", recording, "--report", page)
    assert done.code == 1, done.stdout + done.stderr
    again = run("sweep", "rescore", recording, *basis)
    assert again.code == 1
    assert again.stdout == done.stdout
    assert (page / "sweep.html").stat().st_size > 1000
    assert KEY not in kept_files(tmp_path)
    damaged = recording.read_bytes()[:-40]
    (tmp_path / "cut.jsonl.gz").write_bytes(damaged)
    cut = run("sweep", "rescore", tmp_path / "cut.jsonl.gz", *basis)
    assert cut.code in (1, 2, 65)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('model = "example"\nprecision', 'model = "other"\nprecision'), "other"),
        (("max_requests = 400", "max_requests = 0"), "max_requests"),
        (('"border-greedy/1"', '"border-greedy/9"'), "border-greedy/9"),
        (("env:SWEEP_KEY_TEST", "sk-123456"), "key_ref"),
        (("http://", "ftp://"), "base_url"),
        (("[claim]", "[claim"), "TOML"),
    ],
)
def test_bad_files_are_refused_with_advice(
    change: tuple[str, str], says: str, tmp_path: Path
) -> None:
    file = sweep_file(tmp_path / "watch.toml", [("one", "http://127.0.0.1:9/v1")])
    text = file.read_text(encoding="utf-8")
    assert change[0] in text
    file.write_text(text.replace(change[0], change[1], 1), encoding="utf-8")
    done = run("sweep", "check", file, "--model", f"example={MODEL}", "--bundle", BUNDLE)
    assert done.code in (64, 65), done.stdout + done.stderr
    assert says in done.stderr
    assert "sk-123456" not in done.stderr


def test_an_endpoint_that_is_down_is_told_as_such(tmp_path: Path) -> None:
    file = sweep_file(tmp_path / "watch.toml", [("down", "http://127.0.0.1:9/v1")])
    done = run(
        *("sweep", "check", file, "--model", f"example={MODEL}", "--bundle", BUNDLE),
        *("--json", "--no-controls"),
    )
    assert done.code == 2, done.stdout + done.stderr
    assert outcomes(done.lines[0])["down"] == "uninformative"


def test_the_opening_is_what_was_committed_to(builder: KitBuilder, tmp_path: Path) -> None:
    from audit.app.sweeps import run_once
    from audit.codec.sweep_file import load_sweep
    from audit.codec.sweep_json import result_to_json

    with endpoints(builder, "int4-g32") as served:
        spec = load_sweep(sweep_file(tmp_path / "watch.toml", served))
        own = open_sweeps(
            ReplaySettings(models=(ModelSource(name="example", folder=MODEL),)),
            SweepSettings(bundle=BUNDLE, controls=False),
        )
        result = run_once(own, spec).result
    assert result.opening is not None and result.commitment is not None
    check_opening(result.commitment, result.opening)
    assert result_from_json(result_to_json(result)) == result
