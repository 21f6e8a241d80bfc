"""What every detector offers, and what it is built from.

A detector plans probes, and reads whatever came back. Reading is a pure function of probes and
answers: a recorded run gives the same reading again, bit for bit. Its evidence is an e-process
against "this endpoint is one of the honest variants that the bundle holds": at every look the
chance that it ever exceeds 1/a is at most a.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.ports import ProbeReference
from audit.sweep_records import Endpoint, Probe, Probed, Reading

#: A detector's part of an honest bundle: JSON values only.
Section = Mapping[str, object]

#: Answers of each honest variant by its name, to one and the same plan or to plans of its own.
HonestAnswers = Mapping[str, Sequence[Probed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What detectors may use besides the answers; the same for planning, reading and fitting."""

    reference: ProbeReference
    candidates: Mapping[str, ProbeReference]
    """Named substitutes and roundings that are at hand, such as `int4-g32` or `sibling`."""
    texts: Sequence[str]
    """Ordinary text that probes are cut from; never sent before."""
    power: float = 0.9
    log_threshold_nats: float = 4.6
    """Where a run decides; for saying what could have been seen."""


class Detector(Protocol):
    """Plans probes of one kind, and reads the answers to them."""

    @property
    def detector_id(self) -> str:
        """A versioned name such as `border-greedy/1`."""
        ...

    @property
    def tier(self) -> int:
        """0 pre-flight, 1 replay, 2 log-probabilities, 3 text with weights, 4 text alone."""
        ...

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return up to `num_probes` probes in the order that they are to be spent.

        The same seed gives the same probes. Fewer, or none, where the endpoint does not offer what
        they need.
        """
        ...

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return what the answers so far say; they come in the plan's order, all statuses."""
        ...


class Calibrator(Protocol):
    """Measures what honest endpoints look like to one detector."""

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the detector's part of a bundle; its bounds are wrong with probability `error`.

        Raises: CalibrationError where there is too little to measure.
        """
        ...


class Comparer(Protocol):
    """Reads the answers to other detectors' probes, of one endpoint or of all of a run."""

    @property
    def detector_id(self) -> str:
        """A versioned name such as `provider-compare/1`."""
        ...

    @property
    def tier(self) -> int:
        """As of `Detector`."""
        ...

    def compare(self, endpoint: Endpoint, run: Mapping[str, Sequence[Probed]]) -> Reading:
        """Return what an endpoint's answers say beside those of all, given by endpoint's name."""
        ...
