"""The calibrated estimator, and what it says about one request."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from audit.hidden_tokens.estimator.cells import (
    EstimatorRow,
    Quantity,
    counted_cell,
    row_of_request,
)
from audit.hidden_tokens.estimator.core import EstimatorCore
from audit.hidden_tokens.estimator.files import json_count, json_number, json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedCell:
    """What is known of the errors in one cell."""

    residuals: Residuals
    effective_groups: float
    """Questions, as `effective_num` counts them; answers to one question go together."""
    mean_factor: float
    """Sum of honest counts over the sum of estimated medians."""

    def to_json(self) -> dict[str, object]:
        """Return the cell for a calibration file."""
        return {
            "scores": self.residuals.to_json(),
            "effective_groups": self.effective_groups,
            "mean_factor": self.mean_factor,
        }

    @classmethod
    def from_json(cls, value: object, where: str) -> "CalibratedCell":
        """Return what `to_json` gave. Raises: CalibrationError naming the member that is wrong."""
        members = json_object(value, where)
        residuals = Residuals.from_json(members.get("scores"), f"{where}: scores")
        groups = json_number(members, "effective_groups", where)
        mean_factor = json_number(members, "mean_factor", where)
        if not 1.0 <= groups <= len(residuals.scores_N) or mean_factor <= 0.0:
            raise CalibrationError(f"{where}: effective_groups or mean_factor is impossible")
        return cls(residuals=residuals, effective_groups=groups, mean_factor=mean_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """A core with the errors that it made on honest requests it was not trained on."""

    core: EstimatorCore
    cells: Mapping[str, CalibratedCell]
    small_cells: Mapping[str, int]
    """Cells with some calibration rows, but too few."""
    delta: float
    """Chance that a cell's p-values stand lower than its DKW term allows, in one direction."""
    confidence: float
    """Of the intervals."""
    calibration_id: str = ""

    def read(self, request: BilledRequest, domain: str) -> Reading | Unchecked:
        """Return what the text says about the billed count.

        A count of reasoning is compared where one was billed, of all output where not; then the
        expected tokens are output tokens too, and the channel's name says so. Raises:
        InvalidRequest for names that hold the separator of cells; ConfigurationError.
        """
        if request.prompt is None or request.answer is None:
            return _refuse(Refusal.NO_EVIDENCE, "prompt and visible answer are both needed")
        return self.read_rows([row_of_request(request, domain, group="")])[0]

    def read_rows(self, rows: Sequence[EstimatorRow]) -> list[Reading | Unchecked]:
        """Return what `read` gives for many requests, faster. Raises: as there."""
        refusals = [self._refusal(row) for row in rows]
        answered = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
        medians = iter(self.core.median_tokens(answered))
        return [
            self._reading(row, float(next(medians))) if refusal is None else refusal
            for row, refusal in zip(rows, refusals, strict=True)
        ]

    def to_json(self) -> dict[str, object]:
        """Return the estimator for a calibration file."""
        return {
            "core": self.core.to_json(),
            "cells": {name: cell.to_json() for name, cell in sorted(self.cells.items())},
            "small_cells": dict(sorted(self.small_cells.items())),
            "delta": self.delta,
            "confidence": self.confidence,
        }

    @classmethod
    def from_json(
        cls, value: object, where: str = "estimator", *, calibration_id: str = ""
    ) -> "Estimator":
        """Return what `to_json` gave. Raises: CalibrationError naming the member that is wrong."""
        members = json_object(value, where)
        cells = json_object(members.get("cells"), f"{where}: cells")
        small = json_object(members.get("small_cells"), f"{where}: small_cells")
        delta, confidence = (json_number(members, name, where) for name in ("delta", "confidence"))
        if not (0.0 < delta <= 0.5 and 0.0 < confidence < 1.0):
            raise CalibrationError(f"{where}: delta or confidence is impossible")
        return cls(
            core=EstimatorCore.from_json(members.get("core"), f"{where}: core"),
            cells={
                name: CalibratedCell.from_json(cell, f"{where}: cells: {name}")
                for name, cell in cells.items()
            },
            small_cells={name: json_count(small, name, f"{where}: small_cells") for name in small},
            delta=delta,
            confidence=confidence,
            calibration_id=calibration_id,
        )

    def _refusal(self, row: EstimatorRow) -> Unchecked | None:
        if row.is_aggregator:
            detail = "a middleman reports the count; the calibration holds meter readings only"
            return _refuse(Refusal.NOT_A_METER_READING, detail)
        if row.cell in self.cells:
            return None
        if row.cell in self.small_cells:
            detail = f"{self.small_cells[row.cell]} calibration requests for {row.cell} are too few"
            return _refuse(Refusal.TOO_LITTLE_CALIBRATION, detail)
        if row.model not in self.core.levels["model"]:
            return _refuse(Refusal.UNKNOWN_MODEL, f"never trained on {row.model!r}")
        name = cell_key(row.model, row.domain, row.effort)
        with_reasoning = counted_cell(name, Quantity.REASONING)
        if row.quantity is Quantity.OUTPUT and with_reasoning in self.cells:
            detail = f"no reasoning count was billed, and {name} was calibrated on such counts"
            return _refuse(Refusal.NO_COUNT, detail)
        return _refuse(Refusal.UNSEEN_CELL, f"nothing was calibrated for {row.cell}")

    def _reading(self, row: EstimatorRow, median_tokens: float) -> Reading:
        cell = self.cells[row.cell]
        score = log_score(row.num_tokens, median_tokens)
        offsets = interval(cell.residuals, self.confidence)
        low_tokens, high_tokens = (
            (None, None)
            if offsets is None
            else tuple(median_tokens * math.exp(offset) for offset in offsets)
        )
        return Reading(
            tier=Tier.ESTIMATOR,
            channel=f"text:{row.quantity.value}:{self.core.core_id}",
            p_over=p_over(cell.residuals, score),
            p_under=p_under(cell.residuals, score),
            dkw_epsilon=dkw_epsilon(int(cell.effective_groups), self.delta),
            expected_tokens=median_tokens * cell.mean_factor,
            low_tokens=low_tokens,
            high_tokens=high_tokens,
            interval_confidence=None if offsets is None else self.confidence,
            cell=cell_key(row.model, row.domain, row.effort),
            num_calibration=len(cell.residuals.scores_N),
            calibration_id=self.calibration_id,
            controller=Controller.AUDITOR,
            stops=Adversary.MALICIOUS_ORIGIN,
        )


def _refuse(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.ESTIMATOR, reason=reason, detail=detail)
