"""Published test vectors that lie beside the repository; without them their tests are skipped."""

import json
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[3].parent / "shared" / "vectors"


def load_vector(name: str) -> Any:
    path = _FOLDER / name
    if not path.is_file():
        pytest.skip(f"the published vectors are not here: put {name} into ../shared/vectors")
    return json.loads(path.read_text("utf-8"))
