"""What the client's clock says about a billed count: a speed law for each model, domain and effort.

The law gives the tokens that honest calls of the cell were billed in the same time, by a broken
line of the logarithms where it was fitted and at a constant speed beyond. A host under load makes
the calibration wide, not wrong. Besides, nobody writes faster than the hardware: `impossible`.
`timing_fit` makes the laws, `timing_evidence` says what time is.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audit.billing_records import (
    Adversary,
    BilledRequest,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
    Violation,
)
from audit.errors import CalibrationError
from audit.hidden_tokens.laws import (
    Calibrated,
    ChannelTerms,
    Counted,
    bounded_tokens,
    read_terms,
    terms_json,
)
from audit.hidden_tokens.members import choice, items, number_list, positive, strict_members, text
from audit.hidden_tokens.timing_evidence import Clock, TimedSample, timed_sample, unchecked

#: Fewer output tokens than this are all waiting: their speed means nothing.
MIN_BURST = 256

_LAW_MEMBERS = ("cell", "clock", "counted", "knots", "calibrated")


def timing_terms(delta: float, confidence: float, calibration_id: str = "") -> ChannelTerms:
    """Return what all readings of the clock have in common."""
    return ChannelTerms(
        tier=Tier.TIMING,
        controller=Controller.CLIENT,
        stops=Adversary.INFLATING_RESELLER,
        confidence=confidence,
        delta=delta,
        calibration_id=calibration_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedCurve:
    """Log tokens by log time, both natural: straight between knots that rise."""

    knots: tuple[tuple[float, float], ...]
    """(log time, log tokens); outside them tokens grow in proportion to time."""

    def predict(self, time: float) -> float:
        """Return the median of honest counts at a time above 0."""
        log_time = math.log(time)
        inside = min(max(log_time, self.knots[0][0]), self.knots[-1][0])
        log_times, log_tokens = zip(*self.knots, strict=True)
        return bounded_tokens(float(np.interp(inside, log_times, log_tokens)) + log_time - inside)

    def to_json(self) -> list[list[float]]:
        """Return the knots as they go into a calibration file."""
        return [list(knot) for knot in self.knots]

    @classmethod
    def from_json(cls, rows: Sequence[object], where: str) -> "SpeedCurve":
        """Return what `to_json` gave. Raises: CalibrationError naming `where` otherwise."""
        knots = tuple(map(tuple, (number_list(row, f"{where}.knots") for row in rows)))
        if len(knots) < 2 or any(len(knot) != 2 for knot in knots):
            raise CalibrationError(f"{where}.knots must be two pairs or more: train the file again")
        steps = list(itertools.pairwise(knots))
        if any(b[0] <= a[0] or b[1] < a[1] for a, b in steps):
            raise CalibrationError(f"{where}.knots must rise: train the file again")
        return cls(knots=tuple((knot[0], knot[1]) for knot in knots))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedLaw:
    """Tokens by time in one cell, on one clock."""

    cell: str
    clock: Clock
    counted: Counted
    curve: SpeedCurve
    calibrated: Calibrated

    def to_json(self) -> dict[str, object]:
        """Return the members of a calibration file."""
        return {
            "cell": self.cell,
            "clock": self.clock.value,
            "counted": self.counted.value,
            "knots": self.curve.to_json(),
            "calibrated": self.calibrated.to_json(),
        }

    @classmethod
    def from_json(cls, document: object, where: str) -> "SpeedLaw":
        """Return what `to_json` gave. Raises: CalibrationError naming `where` otherwise."""
        members = strict_members(document, where, _LAW_MEMBERS)
        return cls(
            cell=text(members, "cell", where),
            clock=choice(Clock, members, "clock", where),
            counted=choice(Counted, members, "counted", where),
            curve=SpeedCurve.from_json(items(members, "knots", where), where),
            calibrated=Calibrated.from_json(members["calibrated"], f"{where}.calibrated"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedLaws:
    """All speed laws of a calibration; a channel."""

    laws: Mapping[tuple[str, Clock], SpeedLaw]
    refused: Mapping[str, Refusal]
    """Cells without any law, and why."""
    top_speeds: Mapping[str, float]
    """For each model, output tokens a second that no honest call reaches."""
    terms: ChannelTerms

    def read(self, request: BilledRequest, domain: str) -> Reading | Unchecked:
        """Return what the clock says about a bill, or why it says nothing. Raises: InvalidRequest.

        A stream's pace goes before the whole time where both have a law.
        """
        sample = timed_sample(request, domain)
        if isinstance(sample, Unchecked):
            return sample
        for clock in (Clock.STREAM, Clock.WHOLE):
            law, time = self.laws.get((sample.cell, clock)), sample.time(clock)
            if law is None or time is None:
                continue
            if law.counted is not sample.counted:
                return unchecked(Refusal.NO_COUNT, f"{law.counted} tokens were not billed")
            return law.calibrated.reading(
                law.curve.predict(time),
                sample.count,
                channel=f"time:{clock}:{sample.model}",
                cell=sample.cell,
                terms=self.terms,
            )
        return self._without_law(sample)

    def impossible(self, request: BilledRequest, domain: str) -> Violation | None:
        """Return the violation if more was billed than any host can have written in the time.

        None as well where that cannot be told; `read` then says why. Raises: InvalidRequest.
        """
        sample = timed_sample(request, domain)
        if isinstance(sample, Unchecked) or sample.model not in self.top_speeds:
            return None
        top = self.top_speeds[sample.model]
        allowed = math.floor(top * sample.elapsed_s)
        if sample.output_tokens <= max(allowed, MIN_BURST):
            return None
        return Violation(
            identity="top_speed",
            statement=(
                f"{sample.output_tokens} output tokens were billed for {sample.elapsed_s:.3f} s; "
                f"{sample.model} writes {top:.0f} tokens/s at most, {allowed} in that time"
            ),
            excess_tokens=sample.output_tokens - allowed,
            tier=Tier.TIMING,
        )

    def to_json(self) -> dict[str, object]:
        """Return the members of a calibration file."""
        return {
            "laws": [law.to_json() for law in self.laws.values()],
            "refused": {cell: why.value for cell, why in self.refused.items()},
            "top_speeds": dict(self.top_speeds),
            "terms": terms_json(self.terms),
        }

    @classmethod
    def from_json(cls, document: object, calibration_id: str = "") -> "SpeedLaws":
        """Return what `to_json` gave. Raises: CalibrationError naming the place otherwise."""
        where = "timing"
        members = strict_members(document, where, ("laws", "refused", "top_speeds", "terms"))
        laws = [
            SpeedLaw.from_json(law, f"{where}.laws[{index}]")
            for index, law in enumerate(items(members, "laws", where))
        ]
        refused = strict_members(members["refused"], f"{where}.refused")
        speeds = strict_members(members["top_speeds"], f"{where}.top_speeds")
        keyed = {(law.cell, law.clock): law for law in laws}
        if len(keyed) != len(laws):
            raise CalibrationError(f"{where}.laws holds a cell twice: train the file again")
        return cls(
            laws=keyed,
            refused={cell: choice(Refusal, refused, cell, f"{where}.refused") for cell in refused},
            top_speeds={model: positive(speeds, model, f"{where}.top_speeds") for model in speeds},
            terms=read_terms(members["terms"], f"{where}.terms", timing_terms, calibration_id),
        )

    def _without_law(self, sample: TimedSample) -> Unchecked:
        refusal = self.refused.get(sample.cell)
        if refusal is not None:
            return unchecked(refusal, f"no speed law could be made for {sample.cell}")
        if any(cell.split("|")[0] == sample.model for cell in (*self.refused, *self._cells())):
            return unchecked(Refusal.UNSEEN_CELL, f"no timed call of {sample.cell} was calibrated")
        return unchecked(Refusal.UNKNOWN_MODEL, f"no timed call of {sample.model} was calibrated")

    def _cells(self) -> list[str]:
        return [cell for cell, _ in self.laws]
