"""Where the shared test vectors lie; tests that need them skip, with the reason, where they do not.

They stay beside the repository: `../shared/vectors`, or the folder that INFERENCE_AUDIT_VECTORS
names.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "vectors"


def vectors_folder() -> Path:
    """Return the folder of the vectors; skips the test, or the module at its import, without it."""
    folder = Path(os.environ.get("INFERENCE_AUDIT_VECTORS", _BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no test vectors: {folder} is missing", allow_module_level=True)
    return folder


def load_json(name: str) -> Any:
    """Return a vector file's JSON."""
    return json.loads((vectors_folder() / name).read_text(encoding="utf-8"))


def load_json_lines(name: str) -> list[Any]:
    """Return the JSON objects of a vector file with one a line."""
    lines = (vectors_folder() / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
