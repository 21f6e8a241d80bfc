"""One recording of fresh traffic for all tests here, and the examiner that judges it."""

import os
from pathlib import Path

import pytest

from audit.app import build_examiner
from audit.config import ModelSource, ReplaySettings
from audit.examine import Examiner
from tests.engines.recorder import record
from tests.support.example_model import EXAMPLES, MODEL

ENGINE_PYTHON = "INFERENCE_AUDIT_ENGINE_PYTHON"
NUM_EXCHANGES = 48
NAMES = (
    "honest-vllm-bf16-2",
    "honest-vllm-fp32",
    "honest-transformers-bf16",
    "cheat-wrong-seed-t0.7",
    "cheat-wrong-seed-t1.0",
)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of traffic that real engines just wrote."""
    python = os.environ.get(ENGINE_PYTHON)
    if not python:
        pytest.skip(
            f"no real engine: run `make engines`, or build one with examples/recording/"
            f"install_engine.sh FOLDER and set {ENGINE_PYTHON}=FOLDER/bin/python"
        )
    out = tmp_path_factory.mktemp("recorded")
    record(Path(python), out, NAMES, NUM_EXCHANGES)
    return out


@pytest.fixture(scope="session")
def examiner() -> Examiner:
    """The examiner that `check` uses on the bundled model and calibration."""
    calibration = EXAMPLES / "calibration" / "example.json"
    return build_examiner(
        ReplaySettings(models=(ModelSource(folder=MODEL),), calibration=calibration)
    )
