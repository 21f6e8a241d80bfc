"""Tier 4c: predicts hidden tokens of an open-weight model from its state at the prompt's end.

One prefill instead of whole generations: reasoning models plan how long they will think, and a
linear head on the hidden state at the start of thinking reads the plan (arXiv 2506.08390). The head
is a ridge regression of the log count, in closed form; a factor makes sums of predictions sums of
tokens. Other requests than those it was fitted on give the scores that a bill is held against.

Legend: N requests, F width of the hidden state, N' the fewer of N and F, L candidate penalties.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.billing_records import (
    Adversary,
    BilledRequest,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
)
from audit.errors import CalibrationError, ConfigurationError
from audit.hidden_tokens.conformal import (
    Residuals,
    cell_key,
    dkw_epsilon,
    interval,
    log_score,
    p_over,
    p_under,
)

Float64Array = NDArray[np.float64]

#: Penalties that are tried, as multiples of the mean squared singular value of the features.
PENALTIES_L = tuple(10.0**power for power in range(-4, 3))

#: Logs are kept inside, so that a state unlike any seen gives a number and not infinity.
_MAX_LOG_TOKENS = 16.0

_FORMAT = "hidden-token-probe/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHead:
    """A linear head for one claimed model and one layer."""

    model: str
    model_digest: str
    """Of the checkpoint whose states it reads."""
    layer: int
    mean_F: tuple[float, ...]
    weights_F: tuple[float, ...]
    intercept: float
    total_factor: float
    """Makes the mean of predictions the mean of counts on what it was fitted on."""
    penalty: float

    def predict(self, states_NF: NDArray[Any]) -> Float64Array:
        """Return the median-like prediction of each state in tokens, [N].

        Raises: ConfigurationError for states of another width.
        """
        states = np.asarray(states_NF, dtype=np.float64)
        if states.ndim != 2 or states.shape[1] != len(self.weights_F):
            raise ConfigurationError(
                f"the probe reads hidden states of width {len(self.weights_F)}, not "
                f"{states.shape[-1]}; was it fitted on this model?"
            )
        log_N = (states - np.asarray(self.mean_F)) @ np.asarray(self.weights_F) + self.intercept
        return np.asarray(np.exp(np.clip(log_N, 0.0, _MAX_LOG_TOKENS)), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A head with the scores of honest requests in each cell."""

    head: ProbeHead
    residuals: Mapping[str, Residuals]
    """By `cell_key`."""
    delta: float = 0.001
    """Probability that `dkw_epsilon` is too small, a cell and direction."""
    confidence: float = 0.9
    calibration_id: str = ""

    def read(
        self, request: BilledRequest, domain: str, state_F: NDArray[Any] | None
    ) -> Reading | Unchecked:
        """Return what the state at the prompt's end says about a bill.

        Raises: ConfigurationError for a state of another width.
        """
        billed = request.usage.reasoning_tokens
        if request.model != self.head.model:
            return _refused(Refusal.UNKNOWN_MODEL, f"the probe reads {self.head.model} only")
        if billed is None:
            return _refused(Refusal.NO_COUNT, "no reasoning count was billed")
        if state_F is None:
            return _refused(Refusal.NO_EVIDENCE, "no hidden state was taken for this prompt")
        if not np.isfinite(state_F).all():
            return _refused(Refusal.UNREADABLE_EVIDENCE, "the hidden state is not finite")
        cell = cell_key(request.model, domain, request.effort or "")
        residuals = self.residuals.get(cell)
        if residuals is None:
            return _refused(Refusal.UNSEEN_CELL, f"nothing was calibrated for {cell}")
        return self._reading(billed, cell, residuals, float(self.head.predict(state_F[None])[0]))

    def _reading(self, billed: int, cell: str, residuals: Residuals, predicted: float) -> Reading:
        score = log_score(billed, predicted)
        offsets = interval(residuals, self.confidence)
        return Reading(
            tier=Tier.PROBE,
            channel=f"probe:{self.head.model}",
            p_over=p_over(residuals, score),
            p_under=p_under(residuals, score),
            dkw_epsilon=dkw_epsilon(len(residuals.scores_N), self.delta),
            expected_tokens=predicted * self.head.total_factor,
            low_tokens=None if offsets is None else predicted * float(np.exp(offsets[0])),
            high_tokens=None if offsets is None else predicted * float(np.exp(offsets[1])),
            interval_confidence=None if offsets is None else self.confidence,
            cell=cell,
            num_calibration=len(residuals.scores_N),
            calibration_id=self.calibration_id,
            controller=Controller.AUDITOR,
            stops=Adversary.MALICIOUS_ORIGIN,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the probe as it goes into a calibration file."""
        head = {name: getattr(self.head, name) for name in ProbeHead.__dataclass_fields__}
        return {
            "format": _FORMAT,
            "head": {**head, "mean_F": [*self.head.mean_F], "weights_F": [*self.head.weights_F]},
            "residuals": {cell: r.to_json() for cell, r in sorted(self.residuals.items())},
            "delta": self.delta,
            "confidence": self.confidence,
            "calibration_id": self.calibration_id,
        }

    @classmethod
    def from_json(cls, document: object) -> "Probe":
        """Return what `to_json` gave. Raises: CalibrationError naming the field that is wrong."""
        fields = _object(document, "probe", ("format", *cls.__dataclass_fields__))
        if fields["format"] != _FORMAT:
            raise CalibrationError(f"probe.format must be {_FORMAT!r}: fit the probe again")
        cells = _object(fields["residuals"], "probe.residuals", None)
        probe = cls(
            head=_read_head(fields["head"]),
            residuals={
                cell: Residuals.from_json(scores, f"probe.residuals.{cell}")
                for cell, scores in cells.items()
            },
            delta=_number(fields["delta"], "probe.delta"),
            confidence=_number(fields["confidence"], "probe.confidence"),
            calibration_id=_text(fields["calibration_id"], "probe.calibration_id"),
        )
        if not (0.0 < probe.delta <= 0.5 and 0.0 < probe.confidence < 1.0):
            raise CalibrationError("probe.delta must lie in (0, 1/2], probe.confidence in (0, 1)")
        if not all(residuals.scores_N for residuals in probe.residuals.values()):
            raise CalibrationError("probe.residuals holds a cell without scores")
        return probe


def fit_probe(
    states_NF: NDArray[Any],
    counts_N: Sequence[int],
    groups_N: Sequence[str],
    *,
    model: str,
    model_digest: str,
    layer: int = -1,
    min_rows: int = 30,
    num_folds: int = 5,
) -> ProbeHead:
    """Return the head whose penalty predicts best across folds that share no group.

    `groups_N` name the question of each row. Raises: CalibrationError for too few rows or groups,
    states that are not finite, and counts that are not positive.
    """
    features_NF = np.asarray(states_NF, dtype=np.float64)
    _check_rows(features_NF, counts_N, groups_N, min_rows)
    log_counts_N = np.log(np.asarray(counts_N, dtype=np.float64))
    folds_N = np.asarray([_fold(group, num_folds) for group in groups_N])
    if len(set(folds_N.tolist())) < 2:
        raise CalibrationError("the probe needs rows of more questions, to be tried on others")
    errors_L = [_cross_error(features_NF, log_counts_N, folds_N, p) for p in PENALTIES_L]
    penalty = PENALTIES_L[int(np.argmin(errors_L))]
    mean_F, weights_F, intercept = _ridge(features_NF, log_counts_N, penalty)
    head = ProbeHead(
        model=model,
        model_digest=model_digest,
        layer=layer,
        mean_F=tuple(mean_F.tolist()),
        weights_F=tuple(weights_F.tolist()),
        intercept=intercept,
        total_factor=1.0,
        penalty=penalty,
    )
    return replace(head, total_factor=float(np.mean(counts_N) / head.predict(features_NF).mean()))


def calibrate_probe(
    head: ProbeHead,
    states_NF: NDArray[Any],
    counts_N: Sequence[int],
    cells_N: Sequence[str],
    *,
    min_cell: int = 30,
    calibration_id: str = "",
) -> Probe:
    """Return the head with the scores of rows that it was not fitted on; small cells are left out.

    The total factor is made anew from these rows, which it does not flatter.
    Raises: CalibrationError where no cell holds `min_cell` rows; ConfigurationError for states of
    another width.
    """
    predicted_N = head.predict(states_NF)
    scores: dict[str, list[float]] = {}
    for cell, count, predicted in zip(cells_N, counts_N, predicted_N, strict=True):
        scores.setdefault(cell, []).append(log_score(count, float(predicted)))
    kept = {cell: Residuals.of(s) for cell, s in scores.items() if len(s) >= min_cell}
    if not kept:
        raise CalibrationError(f"no cell holds {min_cell} rows to calibrate the probe on")
    factor = float(np.mean(counts_N) / predicted_N.mean())
    return Probe(
        head=replace(head, total_factor=factor), residuals=kept, calibration_id=calibration_id
    )


def _ridge(
    features_NF: Float64Array, targets_N: Float64Array, penalty: float
) -> tuple[Float64Array, Float64Array, float]:
    mean_F, intercept = features_NF.mean(axis=0), float(targets_N.mean())
    left, singular_N, right = np.linalg.svd(features_NF - mean_F, full_matrices=False)
    shrunk_N = singular_N / (singular_N**2 + penalty * max(float(np.mean(singular_N**2)), 1e-12))
    weights_F = right.T @ (shrunk_N * (left.T @ (targets_N - intercept)))
    return mean_F, weights_F, intercept


def _cross_error(
    features_NF: Float64Array, targets_N: Float64Array, folds_N: NDArray[Any], penalty: float
) -> float:
    total = 0.0
    for fold in sorted(set(folds_N.tolist())):
        held_N = folds_N == fold
        mean_F, weights_F, base = _ridge(features_NF[~held_N], targets_N[~held_N], penalty)
        found_N = (features_NF[held_N] - mean_F) @ weights_F + base
        total += float(np.abs(found_N - targets_N[held_N]).sum())
    return total


def _fold(group: str, num_folds: int) -> int:
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4]) % num_folds


def _check_rows(
    features_NF: Float64Array, counts_N: Sequence[int], groups_N: Sequence[str], min_rows: int
) -> None:
    if features_NF.ndim != 2 or not len(features_NF) == len(counts_N) == len(groups_N):
        raise CalibrationError("the probe needs one hidden state, count and question a row")
    if len(counts_N) < min_rows:
        raise CalibrationError(f"the probe needs {min_rows} rows, not {len(counts_N)}")
    if not np.isfinite(features_NF).all() or min(counts_N) < 1:
        raise CalibrationError("the probe needs finite hidden states and counts of 1 or more")


def _read_head(value: object) -> ProbeHead:
    fields = _object(value, "probe.head", tuple(ProbeHead.__dataclass_fields__))
    layer = fields["layer"]
    if not isinstance(layer, int) or isinstance(layer, bool):
        raise CalibrationError("probe.head.layer must be a whole number")
    mean_F, weights_F = (_numbers(fields[n], f"probe.head.{n}") for n in ("mean_F", "weights_F"))
    if len(mean_F) != len(weights_F):
        raise CalibrationError("probe.head.mean_F and weights_F must be of the same length")
    numbers = {n: _number(fields[n], f"probe.head.{n}") for n in ("intercept", "penalty")}
    factor = _number(fields["total_factor"], "probe.head.total_factor")
    if factor <= 0.0:
        raise CalibrationError("probe.head.total_factor must be positive")
    return ProbeHead(
        model=_text(fields["model"], "probe.head.model"),
        model_digest=_text(fields["model_digest"], "probe.head.model_digest"),
        layer=layer,
        mean_F=mean_F,
        weights_F=weights_F,
        total_factor=factor,
        **numbers,
    )


def _object(value: object, where: str, names: tuple[str, ...] | None) -> dict[str, Any]:
    if not isinstance(value, dict) or (names is not None and set(value) != set(names)):
        wanted = "" if names is None else f" with exactly {', '.join(sorted(names))}"
        raise CalibrationError(f"{where} must be an object{wanted}")
    return value


def _numbers(value: object, where: str) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise CalibrationError(f"{where} must be a list of numbers")
    return tuple(_number(entry, where) for entry in value)


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise CalibrationError(f"{where} must hold finite numbers")
    return float(value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise CalibrationError(f"{where} must be text")
    return value


def _refused(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.PROBE, reason=reason, detail=detail)
