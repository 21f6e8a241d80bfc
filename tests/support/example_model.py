"""The bundled example model, loaded once for all tests of a run."""

from functools import cache
from pathlib import Path

from reference_runner.replay import TorchReference, load_reference

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "model"
TRAFFIC = EXAMPLES / "traffic"


@cache
def example_reference(precision: str = "float32") -> TorchReference:
    """Return the example model at a precision, on one thread."""
    return load_reference(MODEL, precision, num_threads=1)
