"""What a detector could have seen: requests to a decision, tried out on calibration answers.

Streams of honest and attack answers are drawn from the recorded ones and bet on as in earnest.

Legend: P recorded answers, F features, B stakes, S streams.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.errors import CalibrationError
from audit.judge.betting import BetGrid
from audit.sweep_records import Visible
from audit.sweeps.text.calibrate import SectionReader
from audit.sweeps.text.samples import derived_rng

Float64Array = NDArray[np.float64]

#: Shares of diverted requests that are tried out.
SHARES = (1.0, 0.4, 0.2, 0.1, 0.05)

#: Numbers of requests after which streams are looked at, a quarter more each time.
LOOKS = tuple(sorted({round(1.25**k) for k in range(37)}))

_NUM_STREAMS = 100

#: For each attack, requests needed at each of SHARES; None where the last look was too early.
PowerTable = Mapping[str, Sequence[int | None]]


def needed_requests(
    honest_PF: Float64Array,
    attack_PF: Float64Array,
    *,
    bounds_F: Sequence[float],
    weights_F: Sequence[float],
    grid: BetGrid,
    log_threshold_nats: float,
    power: float,
) -> list[int | None]:
    """Return after how many requests a share `power` of streams is decided, for each of SHARES."""
    pool_PF = np.concatenate([honest_PF, attack_PF])
    ratios_PF = pool_PF / np.asarray(bounds_F) - 1.0
    gains_PFB = np.log1p(ratios_PF[:, :, None] * grid.fractions_B)
    gains_P = gains_PFB.reshape(len(pool_PF), -1)
    with np.errstate(divide="ignore"):
        log_weights = (np.log(np.asarray(weights_F))[:, None] + grid.log_weights_B).ravel()
    needed: list[int | None] = []
    for share in SHARES:
        chances_P = np.concatenate(
            [
                np.full(len(honest_PF), (1.0 - share) / len(honest_PF)),
                np.full(len(attack_PF), share / len(attack_PF)),
            ]
        )
        # a look later needs fewer trials than all of them: smaller shares start where larger ended
        needed.append(
            _first_look(gains_P, chances_P, log_weights, log_threshold_nats, power, f"{share}")
        )
        if needed[-1] is None:
            return needed + [None] * (len(SHARES) - len(needed))
    return needed


def _first_look(
    gains_P: Float64Array,
    chances_P: Float64Array,
    log_weights: Float64Array,
    threshold: float,
    power: float,
    label: str,
) -> int | None:
    rng = derived_rng(b"power", label)
    wealth_S = np.tile(log_weights, (_NUM_STREAMS, 1))
    decided_S = np.zeros(_NUM_STREAMS, dtype=bool)
    before = 0
    for look in LOOKS:
        counts_SP = rng.multinomial(look - before, chances_P, size=_NUM_STREAMS)
        wealth_S += counts_SP @ gains_P
        before = look
        decided_S |= special.logsumexp(wealth_S, axis=1) >= threshold
        if decided_S.mean() >= power:
            return look
    return None


def power_json(table: PowerTable) -> dict[str, object]:
    """Return a table as JSON members."""
    return {name: list(needed) for name, needed in sorted(table.items())}


def read_power(reader: SectionReader) -> PowerTable:
    """Return the table of a section. Raises: CalibrationError."""
    table: dict[str, list[int | None]] = {}
    for name, needed in sorted(reader.mapping("power").items()):
        if not isinstance(needed, list) or len(needed) != len(SHARES):
            raise reader.error(f"power.{name} must hold {len(SHARES)} numbers or nulls")
        table[name] = [None if n is None else _count(reader, n, f"power.{name}") for n in needed]
    return table


def _count(reader: SectionReader, value: object, name: str) -> int:
    number = reader.as_number(value, name, 1, LOOKS[-1])
    if number != int(number):
        raise CalibrationError(f"{name} must be whole numbers")
    return int(number)


def visible(table: PowerTable, num_used: int, *, power: float) -> Visible:
    """Return what could have been seen with so many usable answers."""
    at_all = {name: needed for name, needed in table.items() if needed[0] is not None}
    seen = [n for n, needed in at_all.items() if needed[0] is not None and needed[0] <= num_used]
    shares = [_smallest_share(table[name], num_used) for name in seen]
    hidden = sorted(set(table) - set(seen))
    if not table:
        statement = "No attack was tried out at calibration, so nothing is known of the power."
    elif not seen:
        statement = f"With {num_used} answers none of {', '.join(hidden)} would have been found."
    else:
        statement = (
            f"With {num_used} answers {', '.join(sorted(seen))} would have been found with "
            f"probability {power:g} where at least {max(shares):g} of the requests went there"
        )
        statement += f"; {', '.join(hidden)} would not." if hidden else "."
    return Visible(
        power=power,
        smallest_share=max(shares, default=None),
        needed=tuple((name, needed[0]) for name, needed in at_all.items() if needed[0] is not None),
        statement=statement,
    )


def _smallest_share(needed: Sequence[int | None], num_used: int) -> float:
    reached = [
        share
        for share, count in zip(SHARES, needed, strict=True)
        if count is not None and count <= num_used
    ]
    return min(reached)
