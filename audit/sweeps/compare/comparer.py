"""Comparer `provider-compare/1`: who among the endpoints of a run answers unlike the others.

It accuses nobody. Endpoints that claim the same model may all be wrong together, and the one that
stands alone may be the only one that is right; so distances to the honest bundle stand beside them.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.judge.combine import e_bh
from audit.sweep_records import Endpoint, Probed, Reading, ReadingStatus
from audit.sweeps.cells.section import CellSettings, read_section
from audit.sweeps.compare.pairs import CellGap, Gap, cell_gap, gap_between
from audit.sweeps.compare.samples import Said, prompt_text, said_by
from audit.sweeps.detector import Section, Tools
from audit.sweeps.probe import canonical_text

COMPARE_ID = "provider-compare/1"

_NOT_TRUTH = (
    "A majority is not the truth: endpoints that agree may share one mistake, so the distance to "
    "the honest bundle and the other detectors decide."
)

#: Fewer endpoints have no majority and no odd one.
_MIN_FOR_ODD_ONE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings:
    """How closely endpoints are compared."""

    num_permutations: int = 999
    false_discovery_rate: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All pairs of a run."""

    names: tuple[str, ...]
    gaps: Mapping[tuple[str, str], Gap]
    """By names in order."""
    different: frozenset[tuple[str, str]]
    to_bundle: Mapping[str, CellGap]

    def gap(self, first: str, second: str) -> Gap:
        """Return the gap between two endpoints, named in any order."""
        return self.gaps[(first, second) if first < second else (second, first)]

    def clusters(self) -> list[list[str]]:
        """Return groups whose members were not found to differ, directly or through others."""
        left, groups = list(self.names), list[list[str]]()
        while left:
            group = [left.pop(0)]
            for name in group:
                near = [other for other in left if not self._differ(name, other)]
                group += near
                left = [other for other in left if other not in near]
            groups.append(sorted(group))
        return groups

    def _differ(self, first: str, second: str) -> bool:
        return (min(first, second), max(first, second)) in self.different


class ProviderCompare:
    """Holds the endpoints of a run against each other; see the module.

    `section` is that of `one-token-cells/1`, for distances to honest endpoints.
    """

    detector_id = COMPARE_ID
    tier = 4

    def __init__(
        self,
        tools: Tools,
        section: Section | None = None,
        settings: CompareSettings | None = None,
        cell_settings: CellSettings | None = None,
    ) -> None:
        """Raises: CalibrationError for a section that is not one of `one-token-cells/1`."""
        self._settings = settings or CompareSettings()
        table = None if section is None else read_section(section, cell_settings or CellSettings())
        self._baseline = {} if table is None else {c.prompt: c.baseline for c in table.cells}
        self._last: tuple[str, Matrix] | None = None

    def compare(self, endpoint: Endpoint, run: Mapping[str, Sequence[Probed]]) -> Reading:
        """Return the distances of one endpoint to all others and to the honest bundle."""
        probed = run.get(endpoint.name, ())
        matrix = self.matrix(run)
        others = [
            name
            for name in matrix.names
            if name != endpoint.name and not matrix.gap(endpoint.name, name).is_empty
        ]
        own = matrix.to_bundle.get(endpoint.name)
        said = said_by(probed)
        num_used = sum(map(len, said.cells.values())) + sum(map(len, said.texts.values()))
        if not others and own is None:
            return Reading(
                detector=COMPARE_ID,
                tier=self.tier,
                status=ReadingStatus.TOO_LITTLE if len(run) > 1 else ReadingStatus.NOT_APPLICABLE,
                reason="no other endpoint answered the same cells or texts often enough"
                if len(run) > 1
                else "the run has no other endpoint to compare with",
                num_sent=len(probed),
                num_used=num_used,
            )
        statistics = [
            row for name in others for row in _rows(name, matrix.gap(endpoint.name, name))
        ]
        if own is not None:
            statistics += _cell_rows("honest bundle", own)
        return Reading(
            detector=COMPARE_ID,
            tier=self.tier,
            status=ReadingStatus.READ,
            num_sent=len(probed),
            num_used=num_used,
            statistics=tuple(statistics),
            notes=_notes(endpoint.name, matrix, others),
        )

    def matrix(self, run: Mapping[str, Sequence[Probed]]) -> Matrix:
        """Return all pairs; those of the last run are remembered, since each endpoint asks."""
        said = {name: said_by(run[name]) for name in sorted(run)}
        key = hashlib.sha256(
            canonical_text(
                [[n, dict(own.cells), dict(own.texts)] for n, own in said.items()]
            ).encode()
        ).hexdigest()
        if self._last is None or self._last[0] != key:
            self._last = (key, self._matrix(said))
        return self._last[1]

    def _matrix(self, said: Mapping[str, Said]) -> Matrix:
        names = tuple(said)
        num = self._settings.num_permutations
        baseline = {
            question: self._baseline[prompt_text(question)]
            for own in said.values()
            for question in own.cells
            if prompt_text(question) in self._baseline
        }
        gaps = {
            (first, second): gap_between(
                said[first], said[second], num, f"{first}\0{second}", baseline
            )
            for number, first in enumerate(names)
            for second in names[number + 1 :]
        }
        log_e = {f"{index}": gap.log_e_nats for index, gap in enumerate(gaps.values())}
        rejected = e_bh(log_e, self._settings.false_discovery_rate)
        pairs = list(gaps)
        frozen = {q: Counter(counts) for q, counts in baseline.items()}
        answers = {q: list(counts.elements()) for q, counts in frozen.items()}
        found = {
            name: cell_gap(own.counts(), frozen, own.cells, answers, num, f"{name}\0bundle")
            for name, own in said.items()
        }
        return Matrix(
            names=names,
            gaps=gaps,
            different=frozenset(pairs[int(index)] for index in rejected),
            to_bundle={name: gap for name, gap in found.items() if gap is not None},
        )


def _rows(name: str, gap: Gap) -> list[tuple[str, float]]:
    rows = [] if gap.cells is None else _cell_rows(name, gap.cells)
    if gap.cells is not None:
        rows.append((f"log_e_nats:{name}", gap.log_e_nats))
    if gap.texts is not None:
        rows += [
            (f"text_mmd_squared:{name}", gap.texts.squared),
            (f"text_p:{name}", gap.texts.p_value),
        ]
    return rows


def _cell_rows(name: str, gap: CellGap) -> list[tuple[str, float]]:
    return [
        (f"jsd_nats:{name}", gap.excess_nats),
        (f"jsd_low_nats:{name}", gap.low_nats),
        (f"jsd_high_nats:{name}", gap.high_nats),
        (f"p:{name}", gap.p_value),
    ]


def _notes(name: str, matrix: Matrix, others: Sequence[str]) -> tuple[str, ...]:
    if not others:
        return ("No other endpoint answered the same questions.",)
    groups = matrix.clusters()
    if len(groups) == 1:
        return ("No two endpoints of this run were found to differ in their first words.",)
    largest = max(groups, key=len)
    listed = "; ".join(", ".join(group) for group in groups)
    sentences = [f"Endpoints whose first words were not found to differ: {listed}."]
    odd = [group[0] for group in groups if len(group) == 1]
    if len(matrix.names) >= _MIN_FOR_ODD_ONE and len(largest) > 1:
        alone = [one for one in odd if one not in largest]
        if alone:
            verb = "is the odd one out" if len(alone) == 1 else "each stand alone"
            sentences.append(f"{', '.join(alone)} {verb} against {', '.join(largest)}.")
    place = next(group for group in groups if name in group)
    if len(place) < len(matrix.names):
        differing = sorted(set(others) - set(place))
        sentences.append(f"{name} differs from {', '.join(differing)}." if differing else "")
    return (*(sentence for sentence in sentences if sentence), _NOT_TRUTH)
