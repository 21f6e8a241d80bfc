"""Honest traffic becomes a calibration; too little of it, or dishonest one, does not."""

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.judge.collect import CalibrationCollector
from audit.judge.null_law import MIN_WINDOWS
from tests.support.measurements import (
    CREATED_AT,
    DIGEST,
    collect,
    evidence_of,
    info_of,
    measurement_of,
    sampling_of,
)

HONEST = evidence_of([0.0] * 29 + [0.1])


def test_one_stratum_covers_the_sampling_of_its_traffic() -> None:
    cases = [sampling_of(0.5), sampling_of(0.9, top_k=5), sampling_of(0.7, top_p=0.9)]
    measured = [measurement_of(HONEST, sampling=cases[i % 3]) for i in range(30)]
    calibration, warnings = collect(measured)
    (stratum,) = calibration.strata
    assert warnings == ()
    assert (stratum.temperature_min, stratum.temperature_max) == (0.5, 0.9)
    assert stratum.has_top_k and stratum.has_top_p
    assert (stratum.num_tokens, stratum.num_matches) == (900, 870)
    assert calibration.model_digest == DIGEST
    assert calibration.created_at == CREATED_AT


def test_exchanges_keep_their_deviations_only() -> None:
    calibration, _ = collect([measurement_of(HONEST)] * MIN_WINDOWS)
    exchange = calibration.strata[0].exchanges[0]
    assert exchange.positions == (29,)
    np.testing.assert_allclose(exchange.dense(), [0.0] * 29 + [0.1], atol=1e-7)


def test_the_same_traffic_gives_the_same_id_and_other_traffic_another() -> None:
    first, _ = collect([measurement_of(HONEST)] * 20)
    again, _ = collect([measurement_of(HONEST)] * 20)
    other, _ = collect([measurement_of(HONEST)] * 21)
    assert first == again
    assert first.calibration_id != other.calibration_id


def test_a_kind_with_too_few_exchanges_is_left_out_with_a_warning() -> None:
    many = [measurement_of(HONEST)] * MIN_WINDOWS
    few = [measurement_of(HONEST, ids_inferred=True)] * (MIN_WINDOWS - 1)
    calibration, (warning,) = collect(many + few)
    assert len(calibration.strata) == 1
    assert "19 exchanges are too few" in warning and "inferred" in warning


def test_too_few_exchanges_of_every_kind_make_no_calibration() -> None:
    with pytest.raises(CalibrationError, match="20 honest exchanges"):
        collect([measurement_of(HONEST)] * (MIN_WINDOWS - 1))
    with pytest.raises(CalibrationError):
        collect([])


def test_traffic_that_does_not_look_honest_is_refused() -> None:
    false = evidence_of([0.0, 0.3] * 15)
    with pytest.raises(CalibrationError, match=r"agrees on 50\.0% of the tokens only"):
        collect([measurement_of(false)] * 30)


def test_the_candidate_that_explains_most_is_calibrated() -> None:
    other = evidence_of([0.4] * 30, profile_id="vllm-cpu-splitmix64")
    calibration, _ = collect([measurement_of(other, HONEST)] * 20)
    assert [s.key.profile_id for s in calibration.strata] == [HONEST.profile_id]


def test_inferred_ids_that_agree_too_rarely_are_left_out_with_a_warning() -> None:
    many = [measurement_of(HONEST)] * MIN_WINDOWS
    lossy = [measurement_of(evidence_of([0.0, 0.3] * 15), ids_inferred=True)] * MIN_WINDOWS
    calibration, (warning,) = collect(many + lossy)
    assert len(calibration.strata) == 1
    assert "other tokens may spell the same text" in warning


def test_traffic_of_two_checkpoints_is_not_pooled() -> None:
    other = measurement_of(HONEST, info=info_of(digest="sha256:" + "cd" * 32))
    with pytest.raises(CalibrationError, match="two checkpoints"):
        collect([measurement_of(HONEST)] * 20 + [other] * 20)


@pytest.mark.parametrize(("rate", "confidence"), [(0.0, 0.95), (0.5, 0.95), (0.01, 0.4), (0.01, 1)])
def test_rates_that_promise_nothing_are_refused(rate: float, confidence: float) -> None:
    with pytest.raises(CalibrationError, match="must lie in"):
        CalibrationCollector(false_alarm_rate=rate, confidence=confidence)
