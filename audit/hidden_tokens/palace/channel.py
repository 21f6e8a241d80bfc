"""The estimating model as a channel: its estimates, calibrated cell by cell.

What it says is only as good as the cell's calibration: scores of honest requests of the same model,
domain and effort. A cell without enough of them is refused, never guessed.

Legend: N calibration scores of a cell.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from audit.billing_records import (
    Adversary,
    BilledRequest,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
)
from audit.errors import CalibrationError
from audit.hidden_tokens.conformal import (
    Residuals,
    cell_key,
    dkw_epsilon,
    interval,
    log_score,
    p_over,
    p_under,
)
from audit.hidden_tokens.estimator.router import Router
from audit.hidden_tokens.palace.prompts import PalaceQuestion

#: Estimates of many requests at once, None where the model named no count. The domain of each
#: question picks the adapter.
Predict = Callable[[Sequence[PalaceQuestion]], Sequence[int | None]]

_INTERVAL_CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class CountObservation:
    """One honest request to calibrate on: what was billed and what was estimated."""

    model: str
    domain: str
    effort: str
    billed_tokens: int
    predicted_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceCell:
    """How estimates of one model, domain and effort stand to honest bills."""

    residuals: Residuals
    mean_factor: float
    """Billed over estimated tokens, in sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceCalibration:
    """All cells of one set of adapters."""

    adapters_digest: str
    """`sha256:<hex>` of the adapters whose estimates these are."""
    delta: float
    """Probability that a cell's DKW bound fails, for each direction."""
    cells: Mapping[str, PalaceCell]
    too_small: Mapping[str, int]
    """Cells with too few rows to calibrate, and how many they had."""

    def to_json(self) -> dict[str, object]:
        """Return the calibration as it goes into a file."""
        return {
            "adapters_digest": self.adapters_digest,
            "delta": self.delta,
            "cells": {
                key: {"scores": cell.residuals.to_json(), "mean_factor": cell.mean_factor}
                for key, cell in sorted(self.cells.items())
            },
            "too_small": dict(sorted(self.too_small.items())),
        }

    @classmethod
    def from_json(cls, value: object) -> "PalaceCalibration":
        """Return what `to_json` gave. Raises: CalibrationError for anything else."""
        document = _members(value, "palace", ("adapters_digest", "delta", "cells", "too_small"))
        cells, small = document["cells"], document["too_small"]
        if not (isinstance(cells, dict) and isinstance(small, dict)):
            raise CalibrationError("palace.cells and palace.too_small must be objects")
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in small.values()):
            raise CalibrationError("palace.too_small must hold whole numbers")
        digest, delta = document["adapters_digest"], document["delta"]
        if not isinstance(digest, str):
            raise CalibrationError("palace.adapters_digest must be a text")
        if not isinstance(delta, float) or not 0.0 < delta <= 0.5:
            raise CalibrationError("palace.delta must be a number above 0 and at most 0.5")
        return cls(
            adapters_digest=digest,
            delta=delta,
            cells=MappingProxyType({key: _read_cell(key, cell) for key, cell in cells.items()}),
            too_small=MappingProxyType(dict(small)),
        )


def calibrate_palace(
    observations: Iterable[CountObservation],
    *,
    adapters_digest: str,
    min_cell: int = 30,
    delta: float = 0.001,
) -> PalaceCalibration:
    """Return the calibration from honest requests that the model was not trained on.

    Rows without an estimate are left out, as the channel refuses their like. Raises:
    CalibrationError where no cell has `min_cell` rows.
    """
    rows_by_cell: dict[str, list[tuple[int, int]]] = defaultdict(list)
    num_unreadable = 0
    for seen in observations:
        if seen.predicted_tokens is None:
            num_unreadable += 1
        else:
            key = cell_key(seen.model, seen.domain, seen.effort)
            rows_by_cell[key].append((seen.billed_tokens, seen.predicted_tokens))
    cells = {key: _cell_of(rows) for key, rows in rows_by_cell.items() if len(rows) >= min_cell}
    if not cells:
        raise CalibrationError(
            f"no cell of model, domain and effort has {min_cell} rows with an estimate: give more "
            f"honest requests ({num_unreadable} replies name no count; where those are many, train "
            "for longer)"
        )
    return PalaceCalibration(
        adapters_digest=adapters_digest,
        delta=delta,
        cells=MappingProxyType(cells),
        too_small=MappingProxyType({k: len(r) for k, r in rows_by_cell.items() if k not in cells}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceChannel:
    """Reads a request's count against the model's estimate from question and answer."""

    calibration: PalaceCalibration
    predict: Predict
    calibration_id: str = ""
    router: Router | None = None
    """Decides the domain of a request that states none, where no other router does."""

    def read(self, request: BilledRequest, domain: str) -> Reading | Unchecked:
        """Return what the estimate says of the billed count, or why it says nothing.

        `domain` is the stated one or the router's; it picks the adapter and the cell.
        """
        billed = request.usage.reasoning_tokens
        if billed is None:
            return _unchecked(Refusal.NO_COUNT, "no reasoning count was billed")
        if request.is_aggregator:
            return _unchecked(
                Refusal.NOT_A_METER_READING, "a middleman counted the tokens once more"
            )
        if request.prompt is None or request.answer is None:
            return _unchecked(Refusal.NO_EVIDENCE, "the estimate needs both prompt and answer")
        key = cell_key(request.model, domain, request.effort or "")
        cell = self.calibration.cells.get(key)
        if cell is None:
            return self._no_cell(key)
        question = PalaceQuestion(
            prompt=request.prompt,
            answer=request.answer,
            model=request.model,
            domain=domain,
            effort=request.effort or "",
        )
        (predicted,) = self.predict([question])
        if predicted is None:
            return _unchecked(Refusal.UNREADABLE_EVIDENCE, "the model's reply names no count")
        return self._reading(key, cell, billed, predicted)

    def _no_cell(self, key: str) -> Unchecked:
        num_rows = self.calibration.too_small.get(key)
        if num_rows is None:
            return _unchecked(Refusal.UNSEEN_CELL, f"nothing was calibrated for {key}")
        return _unchecked(
            Refusal.TOO_LITTLE_CALIBRATION, f"only {num_rows} rows to calibrate {key} on"
        )

    def _reading(self, key: str, cell: PalaceCell, billed: int, predicted: int) -> Reading:
        score = log_score(billed, predicted)
        offsets = interval(cell.residuals, _INTERVAL_CONFIDENCE)
        num = len(cell.residuals.scores_N)
        return Reading(
            tier=Tier.PALACE,
            channel=f"palace:{self.calibration.adapters_digest}",
            p_over=p_over(cell.residuals, score),
            p_under=p_under(cell.residuals, score),
            dkw_epsilon=dkw_epsilon(num, self.calibration.delta),
            expected_tokens=predicted * cell.mean_factor,
            low_tokens=None if offsets is None else predicted * math.exp(offsets[0]),
            high_tokens=None if offsets is None else predicted * math.exp(offsets[1]),
            interval_confidence=None if offsets is None else _INTERVAL_CONFIDENCE,
            cell=key,
            num_calibration=num,
            calibration_id=self.calibration_id,
            controller=Controller.AUDITOR,
            stops=Adversary.MALICIOUS_ORIGIN,
        )


def _cell_of(rows: Sequence[tuple[int, int]]) -> PalaceCell:
    return PalaceCell(
        residuals=Residuals.of(log_score(billed, predicted) for billed, predicted in rows),
        mean_factor=sum(billed for billed, _ in rows) / sum(predicted for _, predicted in rows),
    )


def _read_cell(key: str, value: object) -> PalaceCell:
    where = f"palace.cells[{key!r}]"
    cell = _members(value, where, ("scores", "mean_factor"))
    factor = cell["mean_factor"]
    if not isinstance(factor, float) or not (math.isfinite(factor) and factor >= 0.0):
        raise CalibrationError(f"{where}.mean_factor must be a number from 0 up")
    residuals = Residuals.from_json(cell["scores"], f"{where}.scores")
    if not residuals.scores_N:
        raise CalibrationError(f"{where}.scores must not be empty")
    return PalaceCell(residuals=residuals, mean_factor=factor)


def _members(value: object, where: str, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise CalibrationError(
            f"{where} must hold exactly {', '.join(names)}: train the file again"
        )
    return value


def _unchecked(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.PALACE, reason=reason, detail=detail)
