"""Size laws on real stand-ins beside real billed counts.

Blobs are split by the recording that they are from, with errors cross-fitted: either half is
predicted by the law of the other. Signatures and summaries are fitted on train.
"""

import functools

import numpy as np
import pytest

from audit.billing_records import Reading, Refusal, Unchecked
from audit.hidden_tokens.opaque import OpaqueLaws
from audit.hidden_tokens.opaque_evidence import OpaqueKind
from audit.hidden_tokens.opaque_fit import family_of, fit_opaque_laws
from audit.judge.betting import log_bets
from tests.support.hidden_tokens import Row, split_groups
from tests.support.opaque_rows import (
    blob_halves,
    errors_of,
    of_blob,
    of_signature,
    of_summary,
    samples_of,
    signed_rows,
    summary_rows,
)

GPT5 = "openai-2025"
FLASH_25 = "gemini-2.5-flash"
FLASH_3 = "gemini-3-flash-preview"
HAIKU = "claude-haiku-4-5-20251001"


@functools.cache
def blob_laws(fit_half: int) -> OpaqueLaws:
    """Return the laws fitted on one half and calibrated on the other."""
    halves = [samples_of(map(of_blob, half)) for half in blob_halves()]
    return fit_opaque_laws(halves[fit_half], halves[1 - fit_half], min_calibration=15)


# median relative error, and that of counts from 256 tokens; no worse than known of such blobs
@pytest.mark.parametrize(
    ("family", "median_error", "large_error"),
    [(GPT5, 0.08, 0.05), (FLASH_25, 0.06, 0.10), (FLASH_3, 0.06, 0.05)],
)
def test_blob_sizes_tell_the_count(family: str, median_error: float, large_error: float) -> None:
    errors, large = [], []
    for fit_half in (0, 1):
        rows = samples_of(map(of_blob, blob_halves()[1 - fit_half]))
        key = (family, OpaqueKind.BLOB)
        errors += errors_of(blob_laws(fit_half), key, rows)
        large += errors_of(blob_laws(fit_half), key, [row for row in rows if row.count >= 256])

    assert np.median(errors) <= median_error
    assert np.median(large) <= large_error
    assert np.mean(np.array(errors) <= 1 / 3) >= 0.93


@pytest.mark.parametrize("family", [GPT5, FLASH_25, FLASH_3])
def test_intervals_and_sums_hold_on_the_other_recordings(family: str) -> None:
    # one half fits; of the other, every second row calibrates and the rest are tested
    fitted, other = (samples_of(map(of_blob, half)) for half in blob_halves())
    laws = fit_opaque_laws(fitted, other[0::2], min_calibration=15)
    rows = [of_blob(row) for row in blob_halves()[1]]
    rows = [one for one in rows if samples_of([one])][1::2]
    found = [
        (one.usage.reasoning_tokens or 0, reading)
        for one in rows
        if family_of(one.model) == family and isinstance(reading := laws.read(one, ""), Reading)
    ]

    with_interval = [(n, r) for n, r in found if r.low_tokens is not None]
    held = [(r.low_tokens or 0) <= n <= (r.high_tokens or 0) for n, r in with_interval]
    ratio = sum(r.expected_tokens or 0 for _, r in found) / sum(n for n, _ in found)
    assert len(with_interval) >= 10
    assert np.mean(held) >= 0.8
    assert ratio == pytest.approx(1.0, abs=0.1)


def test_some_fifty_blobs_show_a_quarter_more() -> None:
    rng = np.random.default_rng(7)
    laws = blob_laws(0)
    rows = [row for row in blob_halves()[1] if row["model"] == FLASH_3]
    looks: dict[float, list[int | None]] = {1.0: [], 1.25: []}
    for factor, firsts in looks.items():
        read = [laws.read(of_blob(row, factor), "") for row in rows]
        found = [reading for reading in read if isinstance(reading, Reading)]
        firsts.extend(_first_look(found, rng) for _ in range(200))

    alarms = [first for first in looks[1.0] if first is not None]
    seen = [first for first in looks[1.25] if first is not None]
    assert alarms == []
    assert len(seen) == 200
    assert np.median(seen) <= 60


def _first_look(found: list[Reading], rng: np.random.Generator) -> int | None:
    drawn = rng.integers(0, len(found), size=300)
    null_mean = 0.5 + max(reading.dkw_epsilon for reading in found)
    log_e_N = log_bets([1.0 - found[i].p_over for i in drawn], null_mean)
    reached = np.flatnonzero(log_e_N >= np.log(100.0))
    return int(reached[0]) + 1 if reached.size else None


def test_blobs_with_results_of_the_providers_tools_are_not_read() -> None:
    rows = [row for half in blob_halves() for row in half if row["model"] == FLASH_3]
    marked = [row for row in rows if of_blob(row).opaque.has_builtin_tools]  # type: ignore[union-attr]
    per_token = [row["blob_chars"] / row["reasoning_tokens"] for row in marked]

    # what they would have spoilt: up to thousands of characters a token
    assert max(per_token) > 1000
    assert len(marked) >= 15
    for row in marked:
        found = blob_laws(0).read(of_blob(row), "")
        assert isinstance(found, Unchecked)
        assert found.reason is Refusal.UNREADABLE_EVIDENCE


def test_o3_minis_constant_blobs_are_refused() -> None:
    rows = [row for half in blob_halves() for row in half if row["model"].startswith("o3-mini")]

    assert {row["blob_chars"] for row in rows} == {440}
    found = blob_laws(0).read(of_blob(rows[0]), "")
    assert isinstance(found, Unchecked)
    assert found.reason is Refusal.NO_SIGNAL


@functools.cache
def haiku() -> tuple[OpaqueLaws, list[Row]]:
    """Return the law of signatures, fitted on train, and the test half of calib."""
    train = samples_of(map(of_signature, signed_rows("billed_train")))
    held, test = split_groups(signed_rows("billed_calib"))
    return fit_opaque_laws(train, samples_of(map(of_signature, held))), test


def test_signatures_and_answers_tell_all_output_tokens() -> None:
    laws, rows = haiku()
    tested = samples_of(map(of_signature, rows))
    errors = errors_of(laws, (HAIKU, OpaqueKind.SIGNATURE), tested)
    found = [
        reading for row in rows if isinstance(reading := laws.read(of_signature(row), ""), Reading)
    ]
    total = sum(row.count for row in tested)

    held = [
        (r.low_tokens or 0) <= row.count <= (r.high_tokens or 0)
        for row, r in zip(tested, found, strict=True)
    ]
    assert np.median(errors) <= 0.15
    assert np.mean(np.array(errors) <= 1 / 3) >= 0.9
    # seventeen questions, eight bills each: their sum is known no better
    assert sum(r.expected_tokens or 0 for r in found) == pytest.approx(total, rel=0.1)
    assert np.mean(held) >= 0.8


def test_signatures_show_half_more_output() -> None:
    laws, rows = haiku()
    rng = np.random.default_rng(7)
    looks = []
    for factor in (1.0, 1.5):
        read = [laws.read(of_signature(row, factor), "") for row in rows]
        found = [reading for reading in read if isinstance(reading, Reading)]
        looks.append([_first_look(found, rng) for _ in range(200)])

    assert looks[0] == [None] * 200
    assert None not in looks[1]


def test_summaries_are_weak_evidence_and_calibrated_as_such() -> None:
    model = "o4-mini-high-long"
    rows = summary_rows(model)
    fitted, other = split_groups(rows, "fit")
    laws = fit_opaque_laws(samples_of(map(of_summary, fitted)), samples_of(map(of_summary, other)))
    errors = errors_of(laws, (model, OpaqueKind.SUMMARY), samples_of(map(of_summary, other)))

    assert 0.27 <= np.mean(np.array(errors) <= 1 / 3) <= 0.48
    reading = laws.read(of_summary(other[0]), "")
    assert isinstance(reading, Reading)
    assert (reading.high_tokens or 0) > 4 * (reading.low_tokens or 0)
