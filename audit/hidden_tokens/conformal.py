"""Conformal p-values and intervals of log scores, and the price of a finite calibration.

A score is log(billed / predicted), natural. The p-value of a new score against N scores of honest
requests of the same cell is exact over the draw of both; given one calibration set it may stand too
low, for all later requests alike, by `dkw_epsilon` at most (with probability 1 - delta). Whoever
adds up requests must pay that. Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a
Random World" (2005), chapter 2; Massart, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz
inequality" (1990).

Legend: N calibration scores, in ascending order.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from audit.errors import CalibrationError, InvalidRequest

_SEPARATOR = "|"


def cell_key(model: str, domain: str, effort: str) -> str:
    """Return the name of a cell, `model|domain|effort`; an effort that is not stated is empty.

    Raises: InvalidRequest where a part holds the separator: two cells could share a name.
    """
    for field, part in (("model", model), ("domain", domain), ("effort", effort)):
        if _SEPARATOR in part:
            raise InvalidRequest.of(field, f"must not hold {_SEPARATOR!r}")
    return _SEPARATOR.join((model, domain, effort))


def log_score(billed_tokens: int, predicted_tokens: float) -> float:
    """Return log(billed / predicted), natural; a bill of zero counts as one token.

    Raises ValueError for a prediction that is not positive.
    """
    return math.log(max(billed_tokens, 1)) - math.log(predicted_tokens)


@dataclass(frozen=True, slots=True)
class Residuals:
    """Scores of honest requests of one cell, in ascending order."""

    scores_N: tuple[float, ...]

    @classmethod
    def of(cls, scores: Iterable[float]) -> "Residuals":
        """Return the scores in order. Raises: CalibrationError for one that is not finite."""
        ordered_N = tuple(sorted(scores))
        if not all(map(math.isfinite, ordered_N)):
            raise CalibrationError("a calibration score is not a finite number")
        return cls(ordered_N)

    def to_json(self) -> list[float]:
        """Return the scores as they go into a calibration file."""
        return list(self.scores_N)

    @classmethod
    def from_json(cls, value: object, where: str) -> "Residuals":
        """Return what `to_json` gave; `where` names the place in the file.

        Raises: CalibrationError for anything but a list of finite numbers in ascending order.
        """
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise CalibrationError(f"{where} must be a list of numbers: train the file again")
        scores_N = tuple(float(score) for score in value)
        if tuple(sorted(scores_N)) != scores_N:
            raise CalibrationError(f"{where} must ascend: train the file again")
        return cls.of(scores_N)


def p_over(residuals: Residuals, score: float) -> float:
    """Return the p-value of "not too high", in (0, 1]: (1 + scores at or above it) / (N + 1)."""
    num = len(residuals.scores_N)
    return (1 + num - bisect_left(residuals.scores_N, score)) / (num + 1)


def p_under(residuals: Residuals, score: float) -> float:
    """Return the p-value of "not too low", in (0, 1]: (1 + scores at or below it) / (N + 1)."""
    num = len(residuals.scores_N)
    return (1 + bisect_right(residuals.scores_N, score)) / (num + 1)


def interval(residuals: Residuals, confidence: float) -> tuple[float, float] | None:
    """Return offsets (low, high) that hold the score of an honest request, on the log scale.

    Either end is missed with probability (1 - confidence) / 2 at most. None where there are too few
    scores for that. Raises ValueError for a confidence outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError("confidence must lie strictly between 0 and 1")
    num = len(residuals.scores_N)
    # a hair less than asked, so that rounding of 1 - 0.9 does not cost a whole rank
    rank = math.ceil((num + 1) * (1.0 + confidence) / 2.0 - 1e-9)
    if rank > num:
        return None
    return residuals.scores_N[num - rank], residuals.scores_N[rank - 1]


def dkw_epsilon(num: int, delta: float) -> float:
    """Return how far p-values against `num` scores may stand too low altogether.

    Fails with probability `delta` at most, for one direction. Source: Massart (1990), one-sided.
    Raises ValueError for no scores, and for delta outside (0, 1/2], where the bound does not hold.
    """
    if num < 1 or not 0.0 < delta <= 0.5:
        raise ValueError("dkw_epsilon needs scores, and delta in (0, 1/2]")
    return math.sqrt(math.log(1.0 / delta) / (2.0 * num))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
