"""Verdicts: what passes, what fails, what cannot be told, and what each of them states."""

from dataclasses import replace

import numpy as np
import pytest

from audit.judge.calibration import Calibration
from audit.judge.verdict import MAX_BLIND_SHARE, DivergenceJudge
from audit.records import Measurement, Outcome, Reason, Verdict
from tests.support.measurements import (
    DIGEST,
    evidence_of,
    honest_calibration,
    info_of,
    measurement_of,
    sampling_of,
)

NUM_TOKENS = 150
HONEST = evidence_of(np.zeros(NUM_TOKENS))
FALSE = evidence_of(np.full(NUM_TOKENS, 0.3))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return honest_calibration()


def judged(calibration: Calibration | None, measured: Measurement) -> Verdict:
    return DivergenceJudge(calibration, version="1.2.3")(measured).verdict


def test_an_honest_answer_passes_and_says_what_could_not_be_seen(calibration: Calibration) -> None:
    verdict = judged(calibration, measurement_of(HONEST))
    assert verdict.outcome is Outcome.PASS
    assert verdict.reasons == () and verdict.details == ()
    assert verdict.sensitivity is not None
    assert "could not have seen" in verdict.sensitivity.statement
    (statistic,) = verdict.statistics
    assert statistic.value == 0.0 < statistic.threshold
    assert (statistic.unit, statistic.num_tokens) == ("logits", NUM_TOKENS)
    assert statistic.false_alarm_rate == 0.01


def test_a_verdict_names_everything_needed_to_question_it(calibration: Calibration) -> None:
    verdict = judged(calibration, measurement_of(HONEST))
    assert verdict.model_digest == DIGEST
    assert verdict.calibration_id == calibration.calibration_id
    assert verdict.profile_id == "vllm-v2-murmur32"
    assert verdict.notes == ("a note",)
    assert verdict.runner is not None
    assert (verdict.runner.version, verdict.runner.num_threads) == ("1.2.3", 1)
    assert verdict.runner.libraries == info_of().libraries


def test_a_false_answer_fails_with_its_distance_and_the_honest_one(
    calibration: Calibration,
) -> None:
    verdict = judged(calibration, measurement_of(FALSE))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == (Reason.TOKEN_DIVERGENCE,)
    assert "0.3 logits" in verdict.details[0] and "1 %" in verdict.details[0]
    assert verdict.sensitivity is not None
    assert verdict.statistics[0].value > verdict.statistics[0].threshold


def test_the_statistic_at_the_threshold_still_passes(calibration: Calibration) -> None:
    threshold = judged(calibration, measurement_of(HONEST)).statistics[0].threshold
    for factor, outcome in ((0.999, Outcome.PASS), (1.001, Outcome.FAIL)):
        evidence = evidence_of(np.full(NUM_TOKENS, threshold * factor))
        assert judged(calibration, measurement_of(evidence)).outcome is outcome


def test_the_candidate_that_explains_most_is_judged(calibration: Calibration) -> None:
    other = replace(FALSE, profile_id="vllm-cpu-splitmix64")
    for evidences in ((HONEST, other), (other, HONEST)):
        examination = DivergenceJudge(calibration, version="1")(measurement_of(*evidences))
        assert examination.verdict.outcome is Outcome.PASS
        assert examination.verdict.profile_id == HONEST.profile_id
        assert examination.evidence is HONEST


def inconclusive(calibration: Calibration | None, measured: Measurement) -> Verdict:
    verdict = judged(calibration, measured)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert len(verdict.reasons) == 1 and verdict.details
    return verdict


def test_without_a_calibration_nothing_is_judged() -> None:
    verdict = inconclusive(None, measurement_of(FALSE))
    assert verdict.reasons == (Reason.UNCALIBRATED,)
    assert verdict.mean_clipped_margin_logits == pytest.approx(0.3)


@pytest.mark.parametrize(
    "measured",
    [
        measurement_of(FALSE, info=info_of(digest="sha256:" + "cd" * 32)),
        measurement_of(FALSE, info=info_of(precision="float32")),
        measurement_of(FALSE, ids_inferred=True),
        measurement_of(replace(FALSE, profile_id="torch-cpu-exponential")),
    ],
    ids=["other_model", "other_precision", "inferred_ids", "other_profile"],
)
def test_another_kind_of_exchange_is_uncalibrated(
    calibration: Calibration, measured: Measurement
) -> None:
    assert inconclusive(calibration, measured).reasons == (Reason.UNCALIBRATED,)


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        (sampling_of(1.0), "temperature 1"),
        (sampling_of(0.69), "temperature 0.69"),
        (sampling_of(top_k=50), "top_k"),
        (sampling_of(top_p=0.9), "top_p"),
        (sampling_of(1.0, top_k=5, top_p=0.5), "temperature 1"),
    ],
)
def test_sampling_beyond_the_honest_traffic_is_outside_the_calibration(
    calibration: Calibration, sampling: object, named: str
) -> None:
    measured = measurement_of(FALSE, sampling=sampling)  # type: ignore[arg-type]
    verdict = inconclusive(calibration, measured)
    assert verdict.reasons == (Reason.OUTSIDE_CALIBRATION,)
    assert named in verdict.details[0]


def test_too_few_tokens_are_no_pass(calibration: Calibration) -> None:
    verdict = inconclusive(calibration, measurement_of(evidence_of([0.0])))
    assert verdict.reasons == (Reason.TOO_FEW_TOKENS,)
    assert verdict.sensitivity is not None
    share = verdict.sensitivity.substituted_token_share
    assert share is None or share > MAX_BLIND_SHARE


def test_a_failure_never_rests_on_an_assumed_default(calibration: Calibration) -> None:
    verdict = inconclusive(calibration, measurement_of(FALSE, assumed=("top_k",)))
    assert verdict.reasons == (Reason.PARAMETER_MISSING,)
    assert "top_k" in verdict.details[0]
    passed = judged(calibration, measurement_of(HONEST, assumed=("top_k",)))
    assert passed.outcome is Outcome.PASS


def test_greedy_answers_are_judged_by_greedy_traffic(calibration: Calibration) -> None:
    measured = measurement_of(FALSE, sampling=sampling_of(0.0))
    assert judged(calibration, measured).outcome is Outcome.FAIL
