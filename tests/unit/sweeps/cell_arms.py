"""Arms for the tests of first words: tokens drawn from a model's own law, without a server."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from audit.sweep_records import AnswerStatus, Probe, ProbeAnswer, Probed
from audit.sweeps.cells.calibrate import CellCalibrator
from audit.sweeps.cells.cells import law_of_model, rest_of
from audit.sweeps.cells.detector import OneTokenCells
from audit.sweeps.cells.section import CellSettings
from audit.sweeps.detector import Section
from audit.sweeps.text.samples import as_prompt, derived_rng
from reference_runner.replay import TorchReference
from tests.support.example_model import example_reference
from tests.unit.sweeps.text_arms import ENDPOINT, sibling, tools

CELLS = CellSettings(num_cells=6)


def model_of(name: str) -> TorchReference:
    """Return an arm's model."""
    return sibling() if name == "sibling" else example_reference(name)


@cache
def law(name: str, prompt: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the tokens of an arm's law with their shares, the rest as one more token."""
    shares = law_of_model(model_of(name), as_prompt(prompt, ENDPOINT.api))
    return (*shares, "(rare)"), (*shares.values(), rest_of(shares))


def drawn(name: str, probes: Sequence[Probe], seed: bytes = b"day") -> list[Probed]:
    """Return the answers that an arm gives to cells."""
    rng = derived_rng(seed, name)
    answers = []
    for probe in probes:
        tokens, shares = law(name, probe.prompt.text or "")
        pick = rng.choice(len(tokens), p=np.asarray(shares) / sum(shares))
        answers.append(answered(probe, tokens[pick]))
    return answers


def answered(probe: Probe, text: str) -> Probed:
    """Return a probe answered with a text."""
    return Probed(probe=probe, answer=ProbeAnswer(status=AnswerStatus.ANSWERED, text=text))


@cache
def calibration_probes() -> tuple[Probe, ...]:
    """Return what honest variants are asked: 200 answers of each cell."""
    return OneTokenCells(tools(), None, CELLS).plan(ENDPOINT, b"calibration", 1200)


@cache
def cell_section() -> Section:
    """Return the section of two honest variants."""
    honest = {name: drawn(name, calibration_probes()) for name in ("bfloat16", "float32")}
    return CellCalibrator(tools=tools(), settings=CELLS).fit(honest, error=0.001)


def cell_detector() -> OneTokenCells:
    """Return the calibrated detector."""
    return OneTokenCells(tools(), cell_section(), CELLS)
