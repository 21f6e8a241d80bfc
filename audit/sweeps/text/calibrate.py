"""What honest endpoints show at most, measured on their answers, and read back strictly.

Every bound holds for all variants at once with probability 1 - error: each gets an equal share of
the error, and the largest over the variants is kept.

Legend: N answers in order, F features in [0, 1], B stakes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.errors import CalibrationError
from audit.judge.betting import BetGrid, log_bets
from audit.judge.intervals import lower_limit, upper_limit
from audit.ports import ProbeReference
from audit.sweep_records import Probed
from audit.sweeps.detector import HonestAnswers
from audit.sweeps.text.rank import text_grid
from audit.sweeps.text.samples import answer_locally, answer_text

Float64Array = NDArray[np.float64]

#: Fewer answers than this say next to nothing about a rate.
MIN_ANSWERS = 40

#: Halvings of [0, 1] that locate a bound; their rest is far below what answers can tell.
_NUM_HALVINGS = 40

#: Bounds stay inside (0, 1), where bets are defined.
_SMALLEST_BOUND, _LARGEST_BOUND = 1e-6, 1.0 - 1e-6

_BOUND_GRID = BetGrid(
    special.expit(np.linspace(special.logit(0.001), special.logit(0.999), 48)),
    np.full(48, -np.log(48.0)),
)


def upper_mean(values_N: Float64Array, error: float, *, is_binary: bool) -> float:
    """Return what the mean exceeds with probability `error` at most; values in [0, 1].

    Exact limits for zeros and ones (Clopper and Pearson); otherwise all means are kept against
    which a bet on "smaller" has not won 1 / error (Waudby-Smith and Ramdas, 2024).
    """
    if is_binary:
        bound = float(upper_limit(values_N.sum(), len(values_N), error))
    else:
        low, high = float(values_N.mean()), 1.0
        for _ in range(_NUM_HALVINGS):
            middle = (low + high) / 2.0
            inside = min(max(1.0 - middle, _SMALLEST_BOUND), _LARGEST_BOUND)
            won = log_bets(1.0 - values_N, inside, _BOUND_GRID)[-1]
            low, high = (low, middle) if won >= -np.log(error) else (middle, high)
        bound = high
    return min(max(bound, _SMALLEST_BOUND), _LARGEST_BOUND)


def bounds_of(
    variants: Mapping[str, Float64Array], is_binary_F: Sequence[bool], error: float
) -> list[float]:
    """Return the honest bound of each feature's mean over all variants, from [N, F] each.

    Raises: CalibrationError where there is no variant, or one with too few answers.
    """
    require_answers({name: len(values_NF) for name, values_NF in variants.items()})
    share = error / (len(variants) * len(is_binary_F))
    return [
        max(
            upper_mean(values_NF[:, feature], share, is_binary=is_binary)
            for values_NF in variants.values()
        )
        for feature, is_binary in enumerate(is_binary_F)
    ]


def require_answers(num_by_variant: Mapping[str, int], least: int = MIN_ANSWERS) -> None:
    """Raises: CalibrationError where variants are missing or too small, naming the smallest."""
    if not num_by_variant:
        raise CalibrationError("no honest variant was recorded: record one endpoint at least")
    name = min(num_by_variant, key=lambda variant: num_by_variant[variant])
    if num_by_variant[name] < least:
        raise CalibrationError(
            f"the honest variant {name!r} has {num_by_variant[name]} usable answers, "
            f"{least} are needed: record more"
        )


def tell_rates(tells: Mapping[str, Float64Array], error: float) -> dict[str, float]:
    """Return how often each attack shows a sign at least, right for all with probability 1 - error.

    The lower limit, because a rate that is taken too high makes bounds on a share too low.
    """
    share = error / max(1, len(tells))
    return {
        name: float(lower_limit(tell_N.sum(), len(tell_N), share)) if len(tell_N) else 0.0
        for name, tell_N in sorted(tells.items())
    }


def tell_statistics(rates: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return a reading's statistics that say how often each attack shows a sign."""
    return tuple((f"tell_rate:{name}", rate) for name, rate in rates.items())


def log_e_process(
    features_NF: Float64Array,
    bounds_F: Sequence[float],
    weights_F: Sequence[float],
    grid: BetGrid | None = None,
) -> Float64Array:
    """Return the log e-value at each look, averaged over the features by weight, shape [N].

    Features must have a mean of at most their bound, given the past, on every honest endpoint.
    """
    used_grid = grid or text_grid()
    total_N = np.full(len(features_NF), -np.inf)
    for feature, (bound, weight) in enumerate(zip(bounds_F, weights_F, strict=True)):
        if weight > 0.0:
            stream_N = log_bets(features_NF[:, feature], bound, used_grid)
            total_N = np.logaddexp(total_N, stream_N + np.log(weight))
    return total_N


def check_error(error: float) -> None:
    """Raises: CalibrationError for a probability of error outside (0, 1)."""
    if not 0.0 < error < 1.0:
        raise CalibrationError(f"the error of a calibration must lie in (0, 1), not be {error}")


def usable(probed: Sequence[Probed], detector_id: str) -> list[Probed]:
    """Return the probes of one detector that were answered with text."""
    return [
        item
        for item in probed
        if item.probe.detector == detector_id and answer_text(item.answer) is not None
    ]


def attacks_on(
    attacks: HonestAnswers | None,
    honest: HonestAnswers,
    candidates: Mapping[str, ProbeReference],
    detector_id: str,
    *,
    most: int,
) -> HonestAnswers:
    """Return the answers of substitutes that the power is worked out from.

    Where nobody recorded any (None), each candidate answers up to `most` of the probes that the
    first honest variant answered. Raises: BadSequence.
    """
    if attacks is not None:
        return attacks
    probes = [item.probe for item in usable(honest[min(honest)], detector_id)[:most]]
    return {
        name: answer_locally(model, probes, name.encode())
        for name, model in sorted(candidates.items())
    }


class SectionReader:
    """Reads a section member by member; everything that is not as expected is an error."""

    def __init__(self, section: Mapping[str, object], detector_id: str) -> None:
        self._section = section
        self._detector_id = detector_id

    def members(self, *names: str) -> "SectionReader":
        """Return itself where exactly these members are there. Raises: CalibrationError."""
        if set(self._section) != set(names):
            raise self.error(f"its members must be {', '.join(sorted(names))}")
        return self

    def mapping(self, name: str) -> Mapping[str, object]:
        """Return a member that is an object. Raises: CalibrationError."""
        value = self._section.get(name)
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.error(f"{name} must be an object")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Return a number in [low, high]. Raises: CalibrationError."""
        return self.as_number(self._section.get(name), name, low, high)

    def as_number(self, value: object, name: str, low: float, high: float) -> float:
        """Return a value that is a number in [low, high]. Raises: CalibrationError."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= float(value) <= high:  # type: ignore[arg-type]
            raise self.error(f"{name} must be a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    def rates(self, name: str, keys: Sequence[str]) -> list[float]:
        """Return an object's numbers inside (0, 1), in the order of `keys`.

        Raises: CalibrationError.
        """
        values = self.mapping(name)
        if set(values) != set(keys):
            raise self.error(f"{name} must name {', '.join(keys)}")
        return [
            self.as_number(values[key], f"{name}.{key}", _SMALLEST_BOUND, _LARGEST_BOUND)
            for key in keys
        ]

    def tell_rates(self) -> dict[str, float]:
        """Return what `tell_rates` gave, by attack. Raises: CalibrationError."""
        return {
            name: self.as_number(value, f"tellRates.{name}", 0.0, 1.0)
            for name, value in sorted(self.mapping("tellRates").items())
        }

    def nested(self, name: str) -> "SectionReader":
        """Return a reader of a member that is an object. Raises: CalibrationError."""
        return SectionReader(self.mapping(name), f"{self._detector_id}, {name}")

    def settings(self, expected: Mapping[str, object]) -> None:
        """Raises: CalibrationError where the section was measured under other settings."""
        if dict(self.mapping("settings")) != dict(expected):
            raise self.error("it was measured under other settings; calibrate again")

    def error(self, problem: str) -> CalibrationError:
        """Return the error that names the section."""
        return CalibrationError(f"the bundle's section {self._detector_id}: {problem}")
