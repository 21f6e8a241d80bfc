"""Counts what honest endpoints answer at near-ties: the border detectors' part of a bundle.

A section holds counts, not bounds: whoever reads it computes the bounds from them again.

Legend: C cells, N probes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import CalibrationError
from audit.sweep_records import Probed
from audit.sweeps.border.bands import (
    CELL_NAMES,
    CellCounts,
    bound_rates,
    count,
)
from audit.sweeps.border.expected import read_expected, read_tell
from audit.sweeps.detector import HonestAnswers, Section

#: Versions the cells and the meaning of the counts.
SCHEMA = "border/2"

#: Fewer answers of a variant bound nothing that evidence could rest on.
MIN_ANSWERS = 100

#: Share of unusable answers beyond which a variant's counts are not trusted.
MAX_LOST_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderBounds:
    """What a section says: counts by variant, and the bounds that follow."""

    variants: Mapping[str, CellCounts]
    candidates: tuple[str, ...]
    """The substitutes, sorted, whose choices sorted the probes into cells."""
    error: float
    bound_C: NDArray[np.float64]


class BorderCalibrator:
    """Counts tells by cell for each honest variant."""

    def __init__(self, detector_id: str) -> None:
        self._detector_id = detector_id

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the section of counts; its bounds are wrong with probability `error`.

        Raises: CalibrationError where a variant answered too little, or another detector's probes.
        """
        if not honest:
            raise CalibrationError(
                f"{self._detector_id} needs the answers of at least one honest variant"
            )
        _check_error(error)
        candidates = self._candidates(honest)
        variants = {name: self._count(name, honest[name]) for name in sorted(honest)}
        return {
            "schema": SCHEMA,
            "detector": self._detector_id,
            "error": error,
            "candidates": list(candidates),
            "cells": list(CELL_NAMES),
            "variants": {
                name: {
                    "calls": counts.num_calls_C.tolist(),
                    "tells": counts.num_tells_C.tolist(),
                }
                for name, counts in variants.items()
            },
        }

    def _candidates(self, honest: HonestAnswers) -> tuple[str, ...]:
        found = {
            tuple(read_expected(one.probe).choices)
            for name in sorted(honest)
            for one in honest[name]
            if one.probe.detector == self._detector_id
        }
        if len(found) > 1:
            raise CalibrationError(
                f"the probes of {self._detector_id} were planned with different candidates: "
                f"{'; '.join(', '.join(names) or 'none' for names in sorted(found))}"
            )
        return found.pop() if found else ()

    def _count(self, name: str, probed: Sequence[Probed]) -> CellCounts:
        mine = [one for one in probed if one.probe.detector == self._detector_id]
        cells, tells, seen = [], [], set()
        for one in mine:
            expected = read_expected(one.probe)
            told = read_tell(expected, one.answer)
            # a probe that was asked twice would be answered in the same way twice
            if told is None or one.probe.probe_id in seen:
                continue
            seen.add(one.probe.probe_id)
            cells.append(expected.cell)
            tells.append(int(told))
        if len(tells) < max(MIN_ANSWERS, (1.0 - MAX_LOST_SHARE) * len(mine)):
            raise CalibrationError(
                f"the honest variant {name!r} gave {len(tells)} usable answers to {len(mine)} "
                f"probes of {self._detector_id}; at least {MIN_ANSWERS} different ones and "
                f"{1 - MAX_LOST_SHARE:.0%} of those sent are needed"
            )
        return count(np.asarray(cells, dtype=np.int64), np.asarray(tells, dtype=np.int64))


def read_section(section: Section, detector_id: str) -> BorderBounds:
    """Return what a section holds. Raises: CalibrationError where it is not one of this version."""
    where = f"the calibration of {detector_id}"
    wanted = {"schema", "detector", "error", "candidates", "cells", "variants"}
    if set(section) != wanted:
        raise CalibrationError(f"{where} must hold exactly {', '.join(sorted(wanted))}")
    if section["schema"] != SCHEMA or section["detector"] != detector_id:
        raise CalibrationError(f"{where} is for {section['detector']!r}, {section['schema']!r}")
    if section["cells"] != list(CELL_NAMES):
        raise CalibrationError(f"{where} sorts near-ties into other cells; measure it again")
    error = section["error"]
    if not isinstance(error, float):
        raise CalibrationError(f"{where}: error must be a number between 0 and 1")
    _check_error(error)
    variants = section["variants"]
    if not isinstance(variants, Mapping) or not variants:
        raise CalibrationError(f"{where} holds no honest variants")
    counts = {str(name): _read_counts(where, str(name), variants[name]) for name in variants}
    return BorderBounds(
        variants=counts,
        candidates=_read_names(where, section["candidates"]),
        error=error,
        bound_C=bound_rates(counts, error),
    )


def bounds_for(
    section: Section | None, detector_id: str, candidates: Mapping[str, object]
) -> BorderBounds | None:
    """Return the bounds for plans with these candidates; None without a section.

    Raises: CalibrationError where it is no section, or was measured with other candidates: which
    cell a probe counts in depends on them.
    """
    if section is None:
        return None
    bounds = read_section(section, detector_id)
    if bounds.candidates != tuple(sorted(candidates)):
        raise CalibrationError(
            f"the calibration of {detector_id} was measured with the candidates "
            f"{', '.join(bounds.candidates) or 'none'}; here are "
            f"{', '.join(sorted(candidates)) or 'none'}. Use the same, or measure again"
        )
    return bounds


def _read_names(where: str, names: object) -> tuple[str, ...]:
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or names != sorted(set(names)):  # type: ignore[call-overload]
        raise CalibrationError(f"{where}: candidates must be a sorted list of names")
    return tuple(names)


def _read_counts(where: str, name: str, members: object) -> CellCounts:
    if not isinstance(members, Mapping) or set(members) != {"calls", "tells"}:
        raise CalibrationError(f"{where}: variant {name!r} must hold calls and tells")
    calls, tells = (_read_row(where, name, members[key]) for key in ("calls", "tells"))
    if (tells > calls).any():
        raise CalibrationError(f"{where}: variant {name!r} holds more tells than calls")
    return CellCounts(num_calls_C=calls, num_tells_C=tells)


def _read_row(where: str, name: str, row: object) -> NDArray[np.int64]:
    is_row = isinstance(row, list) and len(row) == len(CELL_NAMES)
    if not is_row or not all(type(value) is int and 0 <= value < 2**53 for value in row):  # type: ignore[attr-defined]
        raise CalibrationError(
            f"{where}: variant {name!r} must hold {len(CELL_NAMES)} whole counts in each row"
        )
    return np.asarray(row, dtype=np.int64)


def _check_error(error: float) -> None:
    if not 0.0 < error < 1.0:
        raise CalibrationError("the chance that bounds are wrong must lie between 0 and 1")
