"""The composition root: a service whose worker cannot go on stops, and says why."""

import threading
from pathlib import Path

import pytest

from audit.app import background_service
from audit.config import ModelSource, ReplaySettings, ServiceSettings
from audit.errors import CorruptState
from tests.support.example_model import MODEL
from tests.unit.cli.command import run

CORRUPT = CorruptState.of("sha256:" + "ab" * 32, "its state is damaged")


class DyingWorker:
    """Stands in for a worker that meets corrupt evidence at once."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        self.stopped = threading.Event()

    def run(self) -> None:
        raise CORRUPT

    def wake(self) -> None:
        raise AssertionError("nothing was submitted")

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture(autouse=True)
def dying_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.app.service.Worker", DyingWorker)


def test_serve_ends_with_the_workers_error_and_its_exit_code(tmp_path: Path) -> None:
    places = ("--key", tmp_path / "key.pem", "--database", f"sqlite:///{tmp_path / 'audits.db'}")
    done = run("serve", "--json", "--model", MODEL, "--listen", "127.0.0.1:0", *places)
    assert done.code == 69
    assert len(done.lines) == 1, "it had been serving"
    assert done.stderr == f"CorruptState: {CORRUPT}\n"


def test_a_service_in_the_background_tells_on_leaving(tmp_path: Path) -> None:
    replay = ReplaySettings(models=(ModelSource(folder=MODEL),))
    service = ServiceSettings(
        listen="127.0.0.1:0",
        database=f"sqlite:///{tmp_path / 'audits.db'}",
        key_path=tmp_path / "key.pem",
    )
    with pytest.raises(CorruptState, match="sha256:abab"), background_service(replay, service):
        pass
