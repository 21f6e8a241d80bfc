"""What the integration tests share for a whole run: one service and one examiner."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.app import build_examiner
from audit.client.client import AuditClient
from audit.config import ModelSource, ReplaySettings
from audit.examine import Examiner
from tests.integration.processes import CALIBRATION, ServeProcess
from tests.support.example_model import MODEL

#: What `check` would be given: the bundled model and its calibration.
EXAMINED = ReplaySettings(models=(ModelSource(folder=MODEL),), calibration=CALIBRATION)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A calibrated service in a process of its own, shared by tests that leave it running."""
    folder: Path = tmp_path_factory.mktemp("service")
    with ServeProcess(folder, "--calibration", CALIBRATION) as process:
        yield process


@pytest.fixture
def client(service: ServeProcess) -> Iterator[AuditClient]:
    """A client of the shared service."""
    with AuditClient(service.address) as found:
        yield found


@pytest.fixture(scope="session")
def examiner() -> Examiner:
    """The examiner of those settings, loaded once."""
    return build_examiner(EXAMINED)
