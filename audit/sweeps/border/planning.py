"""Chooses border probes among spots: those that tell most come first, at most one of a window.

Before anything was measured, probes are spread evenly over the cells instead, so that the answers
of honest variants bound all of them.

Legend: C cells, N spots, M named substitutes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.records import SamplingRequest
from audit.sweep_records import Probe, ProbeKind
from audit.sweeps.border.bands import CELL_NAMES, NO_CELL, cell_of
from audit.sweeps.border.evidence import Spots, expected_growth
from audit.sweeps.border.expected import expected_members, telling_text
from audit.sweeps.border.pool import Ground, PoolSettings, Spot, prompt_of
from audit.sweeps.probe import make_probe

Float64Array = NDArray[np.float64]

#: How probes for measuring are shared out over the cells. Fragile spots on the nearest ties turn at
#: honest endpoints too, so that few of them are ever sent.
_SHARE_C = (0.3, 0.3, 0.1, 0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderSettings:
    """How many windows are looked through, and which probes are good enough."""

    pool: PoolSettings = field(default_factory=PoolSettings)
    windows_per_probe: int = 3
    """How many stretches of text are looked through for each probe that is wanted."""
    max_honest_rate: float = 0.25
    """Probes whose honest rate of tells is not bounded below this are not sent."""
    temperature: float = 1.0
    """Of seeded probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How spots become probes."""

    detector_id: str
    ground: Ground
    as_token_ids: bool
    sampling: SamplingRequest

    def probe(self, spot: Spot) -> Probe | None:
        """Return the probe for a spot; None where the endpoint's answer could not be read."""
        reference = self.ground.reference
        text = telling_text(
            spot, reference.token_text(spot.first), reference.token_text(spot.second)
        )
        if text is None and not self.as_token_ids:
            return None
        prompt = prompt_of(spot, self.ground, as_token_ids=self.as_token_ids)
        if prompt is None:
            return None
        return make_probe(
            kind=ProbeKind.BORDER,
            detector=self.detector_id,
            group=CELL_NAMES[_cell(spot)],
            api=self.ground.api,
            prompt=prompt,
            sampling=SamplingRequest(
                temperature=self.sampling.temperature,
                top_k=self.sampling.top_k,
                top_p=self.sampling.top_p,
                seed=spot.seed,
                max_tokens=self.sampling.max_tokens,
            ),
            expected=expected_members(spot, text),
        )


def spread_probes(
    asking: Asking, windows: Iterable[tuple[Spot, ...]], num_probes: int
) -> tuple[Probe, ...]:
    """Return probes spread over the cells as far as the windows allow, for measuring."""
    probes: dict[str, Probe] = {}
    filled_C = np.zeros(len(CELL_NAMES))
    for window in windows:
        if len(probes) == num_probes:
            break
        inside = [spot for spot in window if _cell(spot) != NO_CELL]
        # the most fragile spots of a cell first, as plans choose them: bounds must hold for those
        inside.sort(key=lambda s: (filled_C[_cell(s)], -s.num_turned, s.gap_steps))
        probe, spot = _first_probe(asking, inside)
        if probe is not None and spot is not None and probe.probe_id not in probes:
            probes[probe.probe_id] = probe
            filled_C[_cell(spot)] += 1.0 / _SHARE_C[_cell(spot)]
    return tuple(probes.values())


def best_probes(
    asking: Asking,
    windows: Iterable[tuple[Spot, ...]],
    num_probes: int,
    bound_C: Float64Array,
    max_honest_rate: float,
) -> tuple[Probe, ...]:
    """Return the probes that tell most, the best first."""
    kept = [
        [s for s in window if _cell(s) != NO_CELL and bound_C[_cell(s)] <= max_honest_rate]
        for window in windows
    ]
    probes: dict[str, Probe] = {}
    for spots in _in_turn(kept, bound_C):
        if len(probes) == num_probes:
            break
        probe, _ = _first_probe(asking, spots)
        if probe is not None:
            probes.setdefault(probe.probe_id, probe)
    return tuple(probes.values())


def spots_of(spots: Sequence[Spot]) -> Spots:
    """Return spots as arrays."""
    names = tuple(sorted({name for spot in spots for name in spot.choices}))
    margins = [
        [spot.choices[name].margin_steps if name in spot.choices else np.nan for spot in spots]
        for name in names
    ]
    return Spots(
        gap_steps_N=np.asarray([spot.gap_steps for spot in spots], dtype=np.float64),
        cell_N=np.asarray([_cell(spot) for spot in spots], dtype=np.int64),
        names=names,
        margin_steps_MN=np.asarray(margins, dtype=np.float64).reshape(len(names), len(spots)),
    )


def _in_turn(windows: Sequence[Sequence[Spot]], bound_C: Float64Array) -> Iterator[list[Spot]]:
    """Yield each window's spots, the best first; deviations choose their best window in turn.

    What is seen easily needs few probes, and would choose all of them if they were ranked by all
    that they tell together.
    """
    flat = [(number, spot) for number, window in enumerate(windows) for spot in window]
    if not flat:
        return
    growth = expected_growth(spots_of([spot for _, spot in flat]), bound_C)
    members: dict[int, list[int]] = {}
    for i, (number, _) in enumerate(flat):
        members.setdefault(number, []).append(i)
    taken: set[int] = set()
    queues = [iter(np.argsort(-row, kind="stable").tolist()) for row in growth]
    while len(taken) < len(members):
        for row, queue in zip(growth, queues, strict=True):
            best = next((i for i in queue if flat[i][0] not in taken), None)
            if best is None:
                continue
            number = flat[best][0]
            taken.add(number)
            ranked = np.argsort(-row[members[number]], kind="stable").tolist()
            yield [flat[members[number][place]][1] for place in ranked]


def _first_probe(asking: Asking, spots: Sequence[Spot]) -> tuple[Probe | None, Spot | None]:
    for spot in spots:
        probe = asking.probe(spot)
        if probe is not None:
            return probe, spot
    return None, None


def _cell(spot: Spot) -> int:
    return cell_of(spot.gap_steps, spot.num_turned > 0)
