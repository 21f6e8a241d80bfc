"""What a law that predicts a reasoning count from one piece of evidence needs, whatever it reads.

    evidence --law--> predicted tokens --Calibrated--> Reading

Legend: N calibration requests, F features.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from audit.billing_records import Adversary, BilledRequest, Controller, Reading, Tier
from audit.errors import CalibrationError
from audit.hidden_tokens.conformal import (
    Residuals,
    dkw_epsilon,
    interval,
    log_score,
    p_over,
    p_under,
)
from audit.hidden_tokens.members import positive, share, strict_members

Float64Array = NDArray[np.float64]

#: Rounds of reweighting; the coefficients have long settled by then.
_NUM_ROUNDS = 200

#: Log of more tokens than anybody was ever billed; a damaged law must not overflow.
_LOG_LIMIT = 30.0

#: Standard normal quantile of the bound on a correlation: 99.9 %, one-sided.
_QUANTILE = 3.09


class Counted(StrEnum):
    """Which count of the bill a law is about."""

    REASONING = "reasoning"
    OUTPUT = "output"
    """All output tokens, where the bill does not state those of the reasoning apart."""


def counted_of(request: BilledRequest) -> tuple[Counted, int]:
    """Return the count that is audited: the reasoning tokens, or else all output tokens."""
    if request.usage.reasoning_tokens is None:
        return Counted.OUTPUT, request.usage.output_tokens
    return Counted.REASONING, request.usage.reasoning_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTerms:
    """What every reading of a channel has in common."""

    tier: Tier
    controller: Controller
    stops: Adversary
    confidence: float
    """Of the interval around the prediction."""
    delta: float
    """Chance, for a cell and direction, that `Reading.dkw_epsilon` does not cover the error."""
    calibration_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """How far honest bills stood from a law's predictions on requests it was not fitted on."""

    residuals: Residuals
    mean_factor: float
    """Sum of honest bills over the sum of predictions, which aim at the median."""

    @classmethod
    def of(cls, counts_N: Sequence[int], predicted_N: Sequence[float]) -> "Calibrated":
        """Return the calibration. Raises: CalibrationError where nothing was billed at all."""
        scores_N = map(log_score, counts_N, predicted_N)
        if sum(counts_N) <= 0:
            raise CalibrationError("honest requests without any billed token calibrate nothing")
        return cls(
            residuals=Residuals.of(scores_N), mean_factor=sum(counts_N) / math.fsum(predicted_N)
        )

    def reading(
        self, predicted_tokens: float, count: int, *, channel: str, cell: str, terms: ChannelTerms
    ) -> Reading:
        """Return what the law says about a bill of `count` tokens."""
        score = log_score(count, predicted_tokens)
        num = len(self.residuals.scores_N)
        offsets = interval(self.residuals, terms.confidence)
        return Reading(
            tier=terms.tier,
            channel=channel,
            p_over=p_over(self.residuals, score),
            p_under=p_under(self.residuals, score),
            dkw_epsilon=dkw_epsilon(num, terms.delta),
            expected_tokens=predicted_tokens * self.mean_factor,
            low_tokens=None if offsets is None else _tokens(predicted_tokens, offsets[0]),
            high_tokens=None if offsets is None else _tokens(predicted_tokens, offsets[1]),
            interval_confidence=None if offsets is None else terms.confidence,
            cell=cell,
            num_calibration=num,
            calibration_id=terms.calibration_id,
            controller=terms.controller,
            stops=terms.stops,
        )

    def to_json(self) -> dict[str, object]:
        """Return the members of a calibration file."""
        return {"scores": self.residuals.to_json(), "mean_factor": self.mean_factor}

    @classmethod
    def from_json(cls, document: object, where: str) -> "Calibrated":
        """Return what `to_json` gave. Raises: CalibrationError naming `where` otherwise."""
        members = strict_members(document, where, ("scores", "mean_factor"))
        residuals = Residuals.from_json(members["scores"], f"{where}.scores")
        if not residuals.scores_N:
            raise CalibrationError(f"{where}.scores must not be empty: train the file again")
        return cls(residuals=residuals, mean_factor=positive(members, "mean_factor", where))


def bounded_tokens(log_tokens: float) -> float:
    """Return exp(log_tokens), one token at least; no law may answer with infinity."""
    return math.exp(min(max(log_tokens, 0.0), _LOG_LIMIT))


def _tokens(predicted_tokens: float, offset: float) -> float:
    tokens = predicted_tokens * math.exp(offset)
    # scores take a bill of nothing for one token
    return tokens if tokens > 1.0 else 0.0


def median_regression(features_NF: Float64Array, targets_N: Float64Array) -> Float64Array:
    """Return coefficients of least absolute deviations, shape [F], by reweighted least squares.

    Half the rows may lie anywhere without moving it far.
    """
    weights_N = np.ones(len(targets_N))
    coefficients_F = np.zeros(features_NF.shape[1])
    for _ in range(_NUM_ROUNDS):
        root_N = np.sqrt(weights_N)
        solved = np.linalg.lstsq(features_NF * root_N[:, None], targets_N * root_N, rcond=None)
        coefficients_F = np.asarray(solved[0], dtype=np.float64)
        # exact fits would weigh infinitely much
        weights_N = 1.0 / np.maximum(np.abs(targets_N - features_NF @ coefficients_F), 1e-4)
    return coefficients_F


def correlation_bound(evidence_N: ArrayLike, counts_N: ArrayLike) -> float:
    """Return what the rank correlation exceeds at 99.9 % confidence; -1 where nothing is known.

    Source: Fisher's transformation with the variance of Bonett and Wright (2000).
    """
    ranks_N, others_N = stats.rankdata(evidence_N), stats.rankdata(counts_N)
    num = len(ranks_N)
    if num < 4 or np.ptp(ranks_N) == 0 or np.ptp(others_N) == 0:
        return -1.0
    correlation = float(np.clip(np.corrcoef(ranks_N, others_N)[0, 1], -1 + 1e-12, 1 - 1e-12))
    spread = math.sqrt((1.0 + correlation**2 / 2.0) / (num - 3))
    return math.tanh(math.atanh(correlation) - _QUANTILE * spread)


def terms_json(terms: ChannelTerms) -> dict[str, object]:
    """Return the members of a calibration file; who controls a channel is no matter of files."""
    return {"confidence": terms.confidence, "delta": terms.delta}


def read_terms(
    document: object,
    where: str,
    make: Callable[[float, float, str], ChannelTerms],
    calibration_id: str,
) -> ChannelTerms:
    """Return `make(delta, confidence, calibration_id)`. Raises: CalibrationError."""
    members = strict_members(document, where, ("confidence", "delta"))
    delta = share(members, "delta", where)
    if delta > 0.5:
        raise CalibrationError(f"{where}.delta must be 0.5 at most: train the file again")
    return make(delta, share(members, "confidence", where), calibration_id)
