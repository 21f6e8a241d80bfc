"""Chooses border probes among spots: those that tell most come first, few of a window.

Of a cell in a window only the most fragile spot is looked at, in plans for measuring and for audits
alike, so that bounds are measured on what they are used for, and no two answers of a cell share
their rounding errors. Before anything was measured, probes are spread over the cells instead.

Legend: C cells, N spots, M named substitutes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.records import SamplingRequest
from audit.sweep_records import ApiStyle, Probe, ProbeKind
from audit.sweeps.border.bands import CELL_NAMES, NO_CELL, cell_of
from audit.sweeps.border.evidence import Spots, expected_growth
from audit.sweeps.border.expected import expected_members, telling_text
from audit.sweeps.border.pool import Ground, PoolSettings, Spot, prompt_of
from audit.sweeps.probe import make_probe

Float64Array = NDArray[np.float64]

#: The largest part of the probes for measuring that each cell gets: leaning spots tell most, and
#: the nearest ties, which turn at honest endpoints too, are hardly ever sent.
_SHARE_C = (0.15, 0.2, 0.05, 0.1, 0.25, 0.25, 0.2)

#: So many times more stretches of text are looked through for greedy answers in chats.
_CHAT_STRETCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderSettings:
    """How many windows are looked through, and which probes are good enough."""

    pool: PoolSettings = field(default_factory=PoolSettings)
    windows_per_probe: float = 0.6
    """How many stretches of text are looked through for each probe that is wanted."""
    most_of_window: int = 2
    """How many probes of one stretch, of different cells, a plan takes at most."""
    max_honest_rate: float = 0.25
    """Probes whose honest rate of tells is not bounded below this are not sent."""
    temperature: float = 1.0
    """Of seeded probes."""

    def num_windows(self, num_probes: int, api: ApiStyle) -> int:
        """Return how many stretches of text a plan looks through."""
        # a chat's prompt ends at one place, and is a near-tie there or not
        more = _CHAT_STRETCH if api is ApiStyle.CHAT else 1
        return math.ceil(self.windows_per_probe * more * num_probes)


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
    asking: Asking, windows: Iterable[Sequence[Spot]], num_probes: int
) -> tuple[Probe, ...]:
    """Return probes spread over the cells as far as the windows allow, for measuring."""
    probes: dict[str, Probe] = {}
    left_over: dict[str, Probe] = {}
    filled_C = np.zeros(len(CELL_NAMES))
    for window in windows:
        for spot in hardest_of_cells(window):
            probe = asking.probe(spot) if len(probes) < num_probes else None
            if probe is None:
                continue
            cell = _cell(spot)
            is_wanted = filled_C[cell] < _SHARE_C[cell] * num_probes
            filled_C[cell] += is_wanted
            (probes if is_wanted else left_over).setdefault(probe.probe_id, probe)
    return tuple([*probes.values(), *left_over.values()][:num_probes])


def best_probes(
    asking: Asking,
    windows: Iterable[Sequence[Spot]],
    num_probes: int,
    bound_C: Float64Array,
    settings: BorderSettings,
) -> tuple[Probe, ...]:
    """Return the probes that tell most, the best first."""
    probes: dict[str, Probe] = {}

    def is_askable(spot: Spot) -> bool:
        probe = asking.probe(spot)
        if probe is None or probe.probe_id in probes:
            return False
        probes[probe.probe_id] = probe
        return True

    best_spots(windows, num_probes, bound_C, settings, is_askable)
    return tuple(probes.values())


def best_spots(
    windows: Iterable[Sequence[Spot]],
    num_spots: int,
    bound_C: Float64Array,
    settings: BorderSettings,
    is_askable: Callable[[Spot], bool] = lambda spot: True,
) -> list[Spot]:
    """Return the spots that tell most, the best first, among those that can be asked."""
    kept = [
        (number, spot)
        for number, window in enumerate(windows)
        for spot in hardest_of_cells(window)
        if bound_C[_cell(spot)] <= settings.max_honest_rate
    ]
    best: list[Spot] = []
    taken: dict[int, int] = {}
    for number, spot in _in_turn(kept, bound_C):
        if len(best) == num_spots:
            break
        if taken.get(number, 0) < settings.most_of_window and is_askable(spot):
            best.append(spot)
            taken[number] = taken.get(number, 0) + 1
    return best


def hardest_of_cells(window: Sequence[Spot]) -> list[Spot]:
    """Return a window's most fragile spot of each cell, in the order of cells."""
    hardest: dict[int, Spot] = {}
    for spot in sorted(window, key=lambda s: (-s.num_leaning, s.firm_steps)):
        cell = _cell(spot)
        if cell != NO_CELL:
            hardest.setdefault(cell, spot)
    return [hardest[cell] for cell in sorted(hardest)]


def spots_of(spots: Sequence[Spot]) -> Spots:
    """Return spots as arrays."""
    names = tuple(sorted({name for spot in spots for name in spot.choices}))
    margins = [
        [spot.choices[name].margin_steps if name in spot.choices else np.nan for spot in spots]
        for name in names
    ]
    return Spots(
        firm_steps_N=np.asarray([spot.firm_steps for spot in spots], dtype=np.float64),
        cell_N=np.asarray([_cell(spot) for spot in spots], dtype=np.int64),
        names=names,
        margin_steps_MN=np.asarray(margins, dtype=np.float64).reshape(len(names), len(spots)),
    )


def _in_turn(flat: Sequence[tuple[int, Spot]], bound_C: Float64Array) -> Iterator[tuple[int, Spot]]:
    """Yield all spots with their windows; deviations choose their best one in turn.

    What is seen easily needs few probes, and would choose all of them if they were ranked by all
    that they tell together.
    """
    if not flat:
        return
    growth = expected_growth(spots_of([spot for _, spot in flat]), bound_C)
    taken: set[int] = set()
    queues = [iter(np.argsort(-row, kind="stable").tolist()) for row in growth]
    while len(taken) < len(flat):
        for queue in queues:
            best = next((i for i in queue if i not in taken), None)
            if best is not None:
                taken.add(best)
                yield flat[best]


def _cell(spot: Spot) -> int:
    return cell_of(spot.firm_steps, spot.num_leaning > 0)
