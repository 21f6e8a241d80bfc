"""Size laws from honest requests: fitted on some, calibrated on others.

Legend: N requests of one family and kind, F features.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from audit.billing_records import Refusal
from audit.errors import CalibrationError
from audit.hidden_tokens.conformal import log_score
from audit.hidden_tokens.laws import (
    Calibrated,
    Counted,
    correlation_bound,
    median_regression,
)
from audit.hidden_tokens.opaque import (
    LARGE_TOKENS,
    Form,
    OpaqueLaw,
    OpaqueLaws,
    SizeCurve,
    opaque_terms,
)
from audit.hidden_tokens.opaque_evidence import OpaqueKind, OpaqueSample

#: Lower bound of the rank correlation below which a size is no evidence.
MIN_CORRELATION = 0.3

#: Models that share a format, by patterns of their names; any other model stands alone.
FAMILIES: Mapping[str, Sequence[str]] = {
    "openai-2025": ("gpt-5-20*", "gpt-5-mini-20*", "gpt-5-pro-20*", "o4-mini-20*"),
}

#: So many requests of one size, whose counts differ, show that the size is fixed.
_NUM_CONSTANT = 3

_Key = tuple[str, OpaqueKind]


def fit_opaque_laws(
    samples: Iterable[OpaqueSample],
    calibration: Iterable[OpaqueSample],
    *,
    families: Mapping[str, Sequence[str]] = FAMILIES,
    delta: float = 0.001,
    confidence: float = 0.9,
    min_fit: int = 15,
    min_calibration: int = 30,
) -> OpaqueLaws:
    """Return the laws of every family, fitted on honest `samples`, calibrated on other honest ones.

    No question may be in both. Bills that state another count than most of their family teach
    nothing and are refused when read. Families with too little of either, or whose sizes tell
    nothing, are refused by name. Raises: CalibrationError where no family has a law.
    """
    fitted, held = _by_family(samples, families), _by_family(calibration, families)
    laws: dict[_Key, OpaqueLaw] = {}
    refused: dict[_Key, Refusal] = {}
    for key in sorted({*fitted, *held}):
        law = _fit_law(key, fitted[key], held[key], (min_fit, min_calibration))
        if isinstance(law, OpaqueLaw):
            laws[key] = law
        else:
            refused[key] = law
    if not laws:
        raise CalibrationError(
            f"no model has a law of sizes: it takes {min_fit} honest requests to fit one, "
            f"{min_calibration} others to calibrate it, and counts that grow with the size"
        )
    models = {s.model for cell in (fitted, held) for listed in cell.values() for s in listed}
    return OpaqueLaws(
        laws=laws,
        refused=refused,
        families={model: family_of(model, families) for model in sorted(models)},
        terms=opaque_terms(delta, confidence),
    )


def family_of(model: str, families: Mapping[str, Sequence[str]] = FAMILIES) -> str:
    """Return the first family with a pattern that the model's name matches, or the name itself."""
    for family, patterns in families.items():
        if any(fnmatchcase(model, pattern) for pattern in patterns):
            return family
    return model


def _fit_law(
    key: _Key,
    samples_N: Sequence[OpaqueSample],
    held_N: Sequence[OpaqueSample],
    minima: tuple[int, int],
) -> OpaqueLaw | Refusal:
    counted = _usual(samples_N)
    thinking_N = [s for s in samples_N if s.counted is counted and s.count > 0]
    calibrating_N = [s for s in held_N if s.counted is counted]
    if _is_constant([*samples_N, *held_N]):
        return Refusal.NO_SIGNAL
    if len(thinking_N) < minima[0] or len(calibrating_N) < minima[1]:
        return Refusal.TOO_LITTLE_CALIBRATION
    sizes_N = [sample.num_chars for sample in thinking_N]
    if correlation_bound(sizes_N, [s.count for s in thinking_N]) < MIN_CORRELATION:
        return Refusal.NO_SIGNAL
    curve = _fit_curve(thinking_N, has_answer=counted is Counted.OUTPUT)
    if curve is None:
        return Refusal.NO_SIGNAL
    small, large = _calibrate(curve, calibrating_N, minima[1])
    return OpaqueLaw(
        family=key[0], kind=key[1], counted=counted, curve=curve, small=small, large=large
    )


def _fit_curve(samples_N: Sequence[OpaqueSample], *, has_answer: bool) -> SizeCurve | None:
    curves = [_fit_form(samples_N, Form.LINE, has_answer=has_answer)]
    if samples_N[0].kind is OpaqueKind.SUMMARY and not has_answer:
        curves.append(_fit_form(samples_N, Form.POWER, has_answer=False))
    # fewer tokens for more text is noise
    growing = [curve for curve in curves if curve.per_char > 0.0]
    return min(growing, key=lambda curve: _median_error(curve, samples_N), default=None)


def _fit_form(samples_N: Sequence[OpaqueSample], form: Form, *, has_answer: bool) -> SizeCurve:
    chars_N = np.array([float(sample.num_chars) for sample in samples_N])
    counts_N = np.array([float(sample.count) for sample in samples_N])
    if form is Form.POWER:
        features_NF = np.stack([np.ones_like(chars_N), np.log(chars_N)], axis=1)
        coefficients_F = median_regression(features_NF, np.log(counts_N))
    else:
        columns = [np.array([float(s.num_items) for s in samples_N]), chars_N]
        if has_answer:
            columns.append(np.array([float(s.num_answer_chars) for s in samples_N]))
        # errors grow with the count, and the size is what is known of that
        features_NF = np.stack(columns, axis=1) / chars_N[:, None]
        coefficients_F = median_regression(features_NF, counts_N / chars_N)
    curve = SizeCurve(
        form=form,
        per_item=float(coefficients_F[0]),
        per_char=float(coefficients_F[1]),
        per_answer_char=float(coefficients_F[2]) if has_answer else 0.0,
        least_tokens=1.0,
    )
    # one wild request may be predicted at next to nothing
    least = float(np.quantile([curve.predict(sample) for sample in samples_N], 0.01))
    return replace(curve, least_tokens=least)


def _median_error(curve: SizeCurve, samples_N: Sequence[OpaqueSample]) -> float:
    return float(np.median([abs(log_score(s.count, curve.predict(s))) for s in samples_N]))


def _calibrate(
    curve: SizeCurve, samples_N: Sequence[OpaqueSample], minimum: int
) -> tuple[Calibrated, Calibrated | None]:
    pairs = [(sample.count, curve.predict(sample)) for sample in samples_N]
    small = [pair for pair in pairs if pair[1] < LARGE_TOKENS]
    large = [pair for pair in pairs if pair[1] >= LARGE_TOKENS]
    if min(len(small), len(large)) < minimum:
        return _calibrated(pairs), None
    return _calibrated(small), _calibrated(large)


def _calibrated(pairs: Sequence[tuple[int, float]]) -> Calibrated:
    return Calibrated.of([count for count, _ in pairs], [predicted for _, predicted in pairs])


def _is_constant(samples: Sequence[OpaqueSample]) -> bool:
    sizes, counts = {s.num_chars for s in samples}, {s.count for s in samples}
    return len(samples) >= _NUM_CONSTANT and len(sizes) == 1 and len(counts) > 1


def _by_family(
    samples: Iterable[OpaqueSample], families: Mapping[str, Sequence[str]]
) -> dict[_Key, list[OpaqueSample]]:
    found: dict[_Key, list[OpaqueSample]] = defaultdict(list)
    for sample in samples:
        found[family_of(sample.model, families), sample.kind].append(sample)
    return found


def _usual(samples: Sequence[OpaqueSample]) -> Counted:
    num_reasoning = sum(sample.counted is Counted.REASONING for sample in samples)
    return Counted.REASONING if 2 * num_reasoning >= len(samples) else Counted.OUTPUT
