"""Reads the answers to border probes; the greedy and the seeded detector differ in plans only.

Legend: N probes, C cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import InvalidRequest
from audit.sweep_records import Candidate, Probed, Reading, ReadingStatus, Visible
from audit.sweeps.border.bands import NO_CELL, likely_rates
from audit.sweeps.border.calibrate import BorderBounds
from audit.sweeps.border.evidence import (
    LAPSE_SHARE,
    Spots,
    agnostic_rates,
    honest_bounds,
    log_e_process,
    log_likelihood,
    named_rates,
    requests_needed,
    unnamed_log_likelihood,
)
from audit.sweeps.border.expected import ExpectedAnswer, read_expected, read_tell

BoolArray = NDArray[np.bool_]
Float64Array = NDArray[np.float64]

TIER = 1

#: Shares of diverted requests that are tried for what could have been seen.
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)

#: Where no substitute was run locally, what is looked for is noise like that of 4-bit weights.
TELL_RATE_PREFIX = "tell_rate:"
_UNNAMED = "4-bit-like noise"
_UNNAMED_LEVEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usable:
    spots: Spots
    is_tell_N: BoolArray
    gap_steps_N: Float64Array

    @property
    def num_used(self) -> int:
        return len(self.is_tell_N)


def read_border(
    detector_id: str,
    probed: Sequence[Probed],
    bounds: BorderBounds | None,
    *,
    power: float,
    log_threshold_nats: float,
) -> Reading:
    """Return what the answers say against every honest variant that was measured."""
    mine = [one for one in probed if one.probe.detector == detector_id]
    if bounds is None:
        return _silent(
            detector_id,
            ReadingStatus.UNCALIBRATED,
            "what honest endpoints answer at near-ties was never measured for this model; "
            "calibrate on honest variants first",
            len(mine),
        )
    used = _usable(mine, bounds)
    if used is None:
        return _silent(
            detector_id,
            ReadingStatus.TOO_LITTLE,
            f"none of {len(mine)} probes was answered in a way that can be read",
            len(mine),
        )
    log_e_N = log_e_process(used.spots, bounds.bound_C, used.is_tell_N)
    bound_N = honest_bounds(used.spots, bounds.bound_C)
    return Reading(
        detector=detector_id,
        tier=TIER,
        status=ReadingStatus.READ,
        log_e_nats_N=tuple(log_e_N.tolist()),
        tells="".join("1" if tell else "0" for tell in used.is_tell_N),
        honest_tell_rate=float(bound_N.max()),
        num_sent=len(mine),
        num_used=used.num_used,
        statistics=_statistics(used, bound_N),
        candidates=_candidates(used, bounds),
        visible=_visible(used, bounds, power, log_threshold_nats),
    )


def _silent(detector_id: str, status: ReadingStatus, reason: str, num_sent: int) -> Reading:
    return Reading(detector=detector_id, tier=TIER, status=status, reason=reason, num_sent=num_sent)


def _usable(probed: Sequence[Probed], bounds: BorderBounds) -> _Usable | None:
    """Return the answers that count: readable, one for each probe, in a cell that was measured."""
    found: dict[str, tuple[ExpectedAnswer, bool]] = {}
    for one in probed:
        expected = read_expected(one.probe)
        if tuple(expected.choices) != bounds.candidates:
            raise InvalidRequest.of(
                "probe.expected",
                f"was planned with the candidates {', '.join(expected.choices) or 'none'}, and the "
                f"calibration with {', '.join(bounds.candidates) or 'none'}",
            )
        tell = read_tell(expected, one.answer)
        is_known = expected.cell != NO_CELL and bounds.bound_C[expected.cell] < 1.0
        # deterministic engines answer the same request in the same way: it counts once
        if tell is not None and is_known:
            found.setdefault(one.probe.probe_id, (expected, tell))
    if not found:
        return None
    expected_all = [expected for expected, _ in found.values()]
    return _Usable(
        spots=_spots(expected_all),
        is_tell_N=np.asarray([tell for _, tell in found.values()], dtype=np.bool_),
        gap_steps_N=np.asarray([one.gap_steps for one in expected_all], dtype=np.float64),
    )


def _spots(expected: Sequence[ExpectedAnswer]) -> Spots:
    names = tuple(sorted({name for one in expected for name in one.choices}))
    margins = [
        [one.choices[name].margin_steps if name in one.choices else np.nan for one in expected]
        for name in names
    ]
    return Spots(
        firm_steps_N=np.asarray([one.firm_steps for one in expected], dtype=np.float64),
        cell_N=np.asarray([one.cell for one in expected], dtype=np.int64),
        names=names,
        margin_steps_MN=np.asarray(margins, dtype=np.float64).reshape(len(names), len(expected)),
    )


def _statistics(used: _Usable, bound_N: Float64Array) -> tuple[tuple[str, float], ...]:
    num_tells = int(used.is_tell_N.sum())
    return (
        ("num_tells", float(num_tells)),
        ("tell_rate", num_tells / used.num_used),
        ("honest_tells_at_most", float(bound_N.sum())),
        ("mean_gap_steps", float(used.gap_steps_N.mean())),
        *(
            # lapses may go either way; counted as matches, the rate is not too high
            (f"{TELL_RATE_PREFIX}{name}", max(0.0, float(rate_N.mean()) - LAPSE_SHARE / 2.0))
            for name, rate_N in _attacks(used.spots).items()
        ),
    )


def _candidates(used: _Usable, bounds: BorderBounds) -> tuple[Candidate, ...]:
    """Return the likelihood of the answers under each explanation, the likeliest first."""
    spots, tells = used.spots, used.is_tell_N
    honest = max(
        log_likelihood(likely_rates(counts)[spots.cell_N], tells)
        for counts in bounds.variants.values()
    )
    named_MN = named_rates(spots)
    found = [("honest", honest), ("unknown", unnamed_log_likelihood(spots, tells))]
    found += [
        (name, log_likelihood(rate_N, tells))
        for name, rate_N in zip(spots.names, named_MN, strict=True)
        if not np.isnan(rate_N).any()
    ]
    ranked = sorted(found, key=lambda entry: (-entry[1], entry[0]))
    return tuple(Candidate(name=name, log_likelihood_nats=value) for name, value in ranked)


def _visible(
    used: _Usable, bounds: BorderBounds, power: float, log_threshold_nats: float
) -> Visible:
    """Say what these probes find, so often as `power` says."""
    # honest answers that tell seldom hide a small share best
    honest_C = np.min([likely_rates(counts) for counts in bounds.variants.values()], axis=0)
    honest_N = honest_C[used.spots.cell_N]

    def needed(rate_N: Float64Array) -> int | None:
        return requests_needed(
            used.spots,
            bounds.bound_C,
            rate_N,
            power=power,
            log_threshold_nats=log_threshold_nats,
        )

    attacks = _attacks(used.spots)
    found = {name: needed(rate_N) for name, rate_N in attacks.items()}
    known = sorted((count, name) for name, count in found.items() if count is not None)
    clearest = known[0][1] if known else sorted(attacks)[0]

    def is_seen(share: float) -> bool:
        count = needed(honest_N + share * (attacks[clearest] - honest_N))
        return count is not None and count <= used.num_used

    smallest = next((share for share in _SHARES if is_seen(share)), None)
    unseen = {name for name, count in found.items() if count is None}
    return Visible(
        power=power,
        smallest_share=smallest,
        needed=tuple((name, count) for count, name in known),
        statement=_statement(used.num_used, power, clearest, smallest, unseen),
    )


def _attacks(spots: Spots) -> dict[str, Float64Array]:
    named = {
        name: rate_N
        for name, rate_N in zip(spots.names, named_rates(spots), strict=True)
        if not np.isnan(rate_N).any()
    }
    return named or {_UNNAMED: agnostic_rates(spots)[_UNNAMED_LEVEL]}


def _statement(
    num_used: int, power: float, clearest: str, smallest: float | None, unseen: set[str]
) -> str:
    text = f"{num_used} near-ties were answered. "
    if smallest is None:
        text += (
            f"Not even {clearest} on every request would have been found {power:.0%} of the time."
        )
    else:
        text += (
            f"{clearest} on {smallest:.0%} of the requests would have been found {power:.0%} of "
            "the time."
        )
    if unseen:
        text += f" Too close to honest to be found with such probes: {', '.join(sorted(unseen))}."
    return text
