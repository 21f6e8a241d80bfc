"""Speed laws from honest timed calls: fitted on some, calibrated on others.

Legend: N calls of one cell on one clock, K knots of its curve, F features.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from audit.billing_records import Refusal
from audit.errors import CalibrationError
from audit.hidden_tokens.laws import Calibrated, Counted, correlation_bound, median_regression
from audit.hidden_tokens.timing import (
    MIN_BURST,
    SpeedCurve,
    SpeedLaw,
    SpeedLaws,
    timing_terms,
)
from audit.hidden_tokens.timing_evidence import Clock, TimedSample

#: Lower bound of the rank correlation below which time is no evidence.
MIN_CORRELATION = 0.3

#: Hosts get faster, overnight by a new accelerator or a draft model: a bill must lie beyond this
#: multiple of the fastest honest calls to be called impossible, a word that is never taken back.
SPEED_MARGIN = 3.0
_TOP_SHARE = 0.999

#: Quantiles of log time between which the curve is straight.
_KNOTS = (0.01, 0.25, 0.5, 0.75, 0.99)


def fit_speed_laws(
    samples: Iterable[TimedSample],
    calibration: Iterable[TimedSample],
    *,
    delta: float = 0.001,
    confidence: float = 0.9,
    min_fit: int = 25,
    min_calibration: int = 30,
) -> SpeedLaws:
    """Return the laws of every cell, fitted on honest `samples`, calibrated on other honest ones.

    No question may be in both. Bills that state another count than most of their cell teach nothing
    and are refused when read. Cells with too little of either, or whose time tells nothing, are
    refused by name. Raises: CalibrationError where no cell has a law.
    """
    fitted, held = _by_cell(samples), _by_cell(calibration)
    laws: dict[tuple[str, Clock], SpeedLaw] = {}
    refused: dict[str, Refusal] = {}
    for cell in sorted({*fitted, *held}):
        for clock in Clock:
            law = _fit_law(
                [sample for sample in fitted[cell] if sample.time(clock) is not None],
                [sample for sample in held[cell] if sample.time(clock) is not None],
                clock,
                (min_fit, min_calibration),
            )
            if isinstance(law, SpeedLaw):
                laws[cell, clock] = law
            elif clock is Clock.WHOLE and (cell, Clock.STREAM) not in laws:
                refused[cell] = law
    if not laws:
        raise CalibrationError(
            f"no cell has a speed law: it takes {min_fit} timed honest calls to fit one, "
            f"{min_calibration} others to calibrate it, and counts that grow with time"
        )
    every = [sample for cell in (fitted, held) for listed in cell.values() for sample in listed]
    return SpeedLaws(
        laws=laws,
        refused=refused,
        top_speeds=_top_speeds(every, min_fit),
        terms=timing_terms(delta, confidence),
    )


def _fit_law(
    samples_N: Sequence[TimedSample],
    held_N: Sequence[TimedSample],
    clock: Clock,
    minima: tuple[int, int],
) -> SpeedLaw | Refusal:
    counted = _usual(samples_N)
    # a call that thought nothing says nothing of speed; it is a bill all the same, so it calibrates
    counts_N = [s for s in samples_N if s.counted is counted and s.count > 0]
    calibrating_N = [s for s in held_N if s.counted is counted]
    if len(counts_N) < minima[0] or len(calibrating_N) < minima[1]:
        return Refusal.TOO_LITTLE_CALIBRATION
    times_N = _times(counts_N, clock)
    tokens_N = [sample.count for sample in counts_N]
    if correlation_bound(times_N, tokens_N) < MIN_CORRELATION:
        return Refusal.NO_SIGNAL
    curve = _fit_curve(times_N, tokens_N)
    if curve is None:
        return Refusal.NO_SIGNAL
    predicted_N = [curve.predict(time) for time in _times(calibrating_N, clock)]
    return SpeedLaw(
        cell=counts_N[0].cell,
        clock=clock,
        counted=counted,
        curve=curve,
        calibrated=Calibrated.of([sample.count for sample in calibrating_N], predicted_N),
    )


def _fit_curve(times_N: Sequence[float], counts_N: Sequence[int]) -> SpeedCurve | None:
    logs_N, targets_N = np.log(np.asarray(times_N)), np.log(np.asarray(counts_N))
    knots_K = np.unique(np.quantile(logs_N, _KNOTS))
    if len(knots_K) < 2:
        return None
    bends_NK = np.maximum(logs_N[:, None] - knots_K[1:-1], 0.0)
    features_NF = np.column_stack([np.ones_like(logs_N), logs_N, bends_NK])
    coefficients_F = median_regression(features_NF, targets_N)
    bends_KK = np.maximum(knots_K[:, None] - knots_K[1:-1], 0.0)
    heights_K = np.column_stack([np.ones_like(knots_K), knots_K, bends_KK]) @ coefficients_F
    # more time never means fewer tokens: a dip is noise, and is met halfway from either side
    from_left_K = np.maximum.accumulate(heights_K)
    from_right_K = np.minimum.accumulate(heights_K[::-1])[::-1]
    rising_K = (from_left_K + from_right_K) / 2.0
    knots = zip(knots_K.tolist(), rising_K.tolist(), strict=True)
    return SpeedCurve(knots=tuple((float(x), float(y)) for x, y in knots))


def _top_speeds(samples: Iterable[TimedSample], min_fit: int) -> dict[str, float]:
    speeds: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.output_tokens >= MIN_BURST:
            speeds[sample.model].append(sample.output_tokens / sample.elapsed_s)
    return {
        model: SPEED_MARGIN * float(np.quantile(listed, _TOP_SHARE, method="higher"))
        for model, listed in sorted(speeds.items())
        if len(listed) >= min_fit
    }


def _by_cell(samples: Iterable[TimedSample]) -> dict[str, list[TimedSample]]:
    cells: dict[str, list[TimedSample]] = defaultdict(list)
    for sample in samples:
        cells[sample.cell].append(sample)
    return cells


def _usual(samples: Sequence[TimedSample]) -> Counted:
    num_reasoning = sum(sample.counted is Counted.REASONING for sample in samples)
    return Counted.REASONING if 2 * num_reasoning >= len(samples) else Counted.OUTPUT


def _times(samples: Iterable[TimedSample], clock: Clock) -> list[float]:
    return [time for sample in samples if (time := sample.time(clock)) is not None]
