"""Verdicts: what passes, what fails, what cannot be told, and what each of them states."""

import math
from dataclasses import replace

import numpy as np
import pytest

from audit.judge.alternatives import NUM_ALTERNATIVES
from audit.judge.calibration import Calibration
from audit.judge.noise import LEVELS_LOGITS_G
from audit.judge.policy import Policy
from audit.judge.power import PowerCurve, seal_power
from audit.judge.questions import question_digest
from audit.judge.verdict import STATISTIC_NAME, ConditionalJudge
from audit.records import Examination, Measurement, Outcome, Reason, Verdict
from tests.support.measurements import (
    CREATED_AT,
    DIGEST,
    PROFILE,
    collect,
    default_policy,
    evidence_of,
    honest_calibration,
    honest_traffic,
    info_of,
    measurement_of,
    noisy_evidence,
    noisy_measurement,
    sampling_of,
)

NUM_TOKENS = 200
OTHER_PROFILE = "vllm-cpu-splitmix64"
HONEST = noisy_evidence(np.random.default_rng(1), NUM_TOKENS)
#: A tenth of the tokens has nothing to do with the model.
FALSE = noisy_evidence(np.random.default_rng(2), NUM_TOKENS, stray=0.1)
#: Enough to look odd, too little to fail.
ODD = evidence_of([3.0] + [0.0] * 9, [3.0] * 10)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return honest_calibration()


def examined(
    calibration: Calibration | None, measured: Measurement, policy: Policy | None = None
) -> Examination:
    return ConditionalJudge(calibration, policy or default_policy(), version="1.2.3")(measured)


def judged(
    calibration: Calibration | None, measured: Measurement, policy: Policy | None = None
) -> Verdict:
    return examined(calibration, measured, policy).verdict


def inconclusive(
    calibration: Calibration | None, measured: Measurement, policy: Policy | None = None
) -> Verdict:
    verdict = judged(calibration, measured, policy)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert len(verdict.reasons) == 1 and verdict.details
    return verdict


def test_an_honest_answer_passes_and_says_what_could_not_be_seen(calibration: Calibration) -> None:
    verdict = judged(calibration, measurement_of(HONEST))
    assert verdict.outcome is Outcome.PASS
    assert verdict.reasons == () and verdict.details == () and verdict.diagnosis == ()
    assert verdict.sensitivity is not None
    assert "could not have seen" in verdict.sensitivity.statement
    assert verdict.sensitivity.power == default_policy().power_target
    assert verdict.noise is not None and verdict.noise.low_logits < 0.03


def test_honest_answers_pass_and_false_ones_fail(calibration: Calibration) -> None:
    rng = np.random.default_rng(8)
    honest = [judged(calibration, noisy_measurement(rng)).outcome for _ in range(60)]
    false = [judged(calibration, noisy_measurement(rng, noise=0.6)).outcome for _ in range(30)]
    assert honest.count(Outcome.FAIL) <= 2 and honest.count(Outcome.PASS) >= 58
    assert false.count(Outcome.FAIL) >= 28


def test_a_verdict_names_everything_needed_to_question_it(calibration: Calibration) -> None:
    verdict = judged(calibration, measurement_of(HONEST))
    assert verdict.model_digest == DIGEST
    assert verdict.calibration_id == calibration.calibration_id
    assert verdict.policy_id == default_policy().policy_id
    assert verdict.profile_id == PROFILE
    assert verdict.precision == "bfloat16"
    assert verdict.notes == ("a note",)
    assert (verdict.num_tokens, verdict.num_matches) == (NUM_TOKENS, HONEST.num_matches)
    assert verdict.runner is not None
    assert (verdict.runner.version, verdict.runner.num_threads) == ("1.2.3", 1)
    assert verdict.runner.libraries == info_of().libraries


def test_a_false_answer_fails_and_says_how_much_spoke_against_it(calibration: Calibration) -> None:
    verdict = judged(calibration, measurement_of(FALSE))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == (Reason.TOKEN_DIVERGENCE,)
    (detail,) = verdict.details
    num_false = NUM_TOKENS - FALSE.num_matches
    assert f"{num_false} of {NUM_TOKENS} tokens" in detail
    assert "133 to 1 suffices" in detail and "probability 0.01 at most" in detail
    assert verdict.sensitivity is not None and verdict.noise is not None
    assert verdict.noise.low_logits > 0.05


@pytest.mark.parametrize("evidence", [HONEST, FALSE], ids=["honest", "false"])
def test_the_statistic_is_the_evidence_held_against_the_policys_threshold(
    calibration: Calibration, evidence: object
) -> None:
    verdict = judged(calibration, measurement_of(evidence))  # type: ignore[arg-type]
    (statistic,) = verdict.statistics
    assert statistic.name == STATISTIC_NAME
    assert statistic.value == verdict.log10_e_value
    assert statistic.threshold == pytest.approx(-math.log10(0.0075))
    assert (statistic.num_tokens, statistic.false_alarm_rate) == (NUM_TOKENS, 0.01)
    assert (statistic.value >= statistic.threshold) == (verdict.outcome is Outcome.FAIL)


def test_the_evidence_at_the_threshold_fails(calibration: Calibration) -> None:
    measured = measurement_of(evidence_of([2.5] * 3 + [0.0] * 57, [2.5] * 3 + [2.0] * 57))
    # the part that pays for the calibration stays as it was, so only the threshold moves
    spent = default_policy().calibration_rate
    value = judged(calibration, measured).log10_e_value
    assert value is not None and 1.0 < value < 8.0
    for factor, fails in ((1.001, True), (0.999, False)):
        rate = spent + factor * 10.0**-value
        policy = replace(default_policy(), false_alarm_rate=rate, calibration_share=spent / rate)
        outcome = judged(calibration, measured, policy).outcome
        assert (outcome is Outcome.FAIL) is fails


@pytest.mark.parametrize("is_first", [True, False])
def test_the_candidate_that_speaks_least_against_the_provider_is_judged(is_first: bool) -> None:
    both = [
        (name, replace_profile(measured, profile))
        for profile in (PROFILE, OTHER_PROFILE)
        for name, measured in honest_traffic(40, 200)
    ]
    calibration, _ = collect(both)
    other = replace(FALSE, profile_id=OTHER_PROFILE)
    evidences = (HONEST, other) if is_first else (other, HONEST)
    examination = examined(calibration, measurement_of(*evidences))
    assert examination.verdict.outcome is Outcome.PASS
    assert examination.verdict.profile_id == PROFILE
    assert examination.evidence is HONEST


def replace_profile(measured: Measurement, profile: str) -> Measurement:
    evidences = tuple(replace(e, profile_id=profile) for e in measured.evidences)
    return replace(measured, evidences=evidences)


def test_a_candidate_that_nobody_calibrated_prevents_a_fail_but_no_pass(
    calibration: Calibration,
) -> None:
    unknown = replace(HONEST, profile_id=OTHER_PROFILE)
    verdict = inconclusive(calibration, measurement_of(FALSE, unknown))
    assert verdict.reasons == (Reason.UNCALIBRATED,)
    assert verdict.log10_e_value is None and verdict.statistics == ()
    assert judged(calibration, measurement_of(unknown, HONEST)).outcome is Outcome.PASS


def test_without_a_calibration_nothing_is_judged() -> None:
    examination = examined(None, measurement_of(FALSE))
    verdict = inconclusive(None, measurement_of(FALSE))
    assert verdict.reasons == (Reason.UNCALIBRATED,)
    assert verdict.mean_clipped_margin_logits is not None
    assert verdict.calibration_id is None and verdict.log10_e_value is None
    assert examination.evidence is FALSE and examination.growth is None


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
    assert examined(calibration, measured).growth is None


@pytest.mark.parametrize(
    ("sampling", "named"),
    [(sampling_of(top_k=50), "top_k"), (sampling_of(top_p=0.9), "top_p")],
)
def test_sampling_beyond_the_honest_traffic_is_outside_the_calibration(
    calibration: Calibration, sampling: object, named: str
) -> None:
    measured = measurement_of(FALSE, sampling=sampling)  # type: ignore[arg-type]
    verdict = inconclusive(calibration, measured)
    assert verdict.reasons == (Reason.OUTSIDE_CALIBRATION,)
    assert named in verdict.details[0]


def test_a_single_honest_variant_is_too_narrow_unless_the_policy_says_otherwise() -> None:
    single, _ = collect([("a", m) for _, m in honest_traffic(40, 200)])
    verdict = inconclusive(single, measurement_of(FALSE))
    assert verdict.reasons == (Reason.CALIBRATION_TOO_NARROW,)
    lax = replace(default_policy(), min_variants=1)
    assert judged(single, measurement_of(FALSE), lax).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("claimed", "is_judged"),
    [(None, True), ("bfloat16", True), ("bf16", True), ("torch.bfloat16", True), ("auto", True),
     ("float16", False), ("fp32", False), ("int4", False)],
)  # fmt: skip
def test_an_answer_replayed_at_another_precision_is_outside_the_policy(
    calibration: Calibration, claimed: str | None, is_judged: bool
) -> None:
    measured = measurement_of(FALSE, claimed_precision=claimed)
    if is_judged:
        assert judged(calibration, measured).outcome is Outcome.FAIL
    else:
        verdict = inconclusive(calibration, measured)
        assert verdict.reasons == (Reason.OUTSIDE_POLICY,)
        assert f"claims {claimed}" in verdict.details[0]
        tolerant = replace(default_policy(), tolerated_precisions=("bfloat16",))
        assert judged(calibration, measured, tolerant).outcome is Outcome.FAIL


def test_too_few_tokens_are_no_pass_but_may_fail(calibration: Calibration) -> None:
    least = default_policy().min_tokens
    short = evidence_of([0.0] * (least - 1), [2.0] * (least - 1))
    verdict = inconclusive(calibration, measurement_of(short))
    assert verdict.reasons == (Reason.TOO_FEW_TOKENS,)
    assert f"{least - 1} tokens are fewer than the {least}" in verdict.details[0]
    assert verdict.log10_e_value == 0.0 and verdict.sensitivity is not None
    enough = evidence_of([0.0] * least, [2.0] * least)
    assert judged(calibration, measurement_of(enough)).outcome is Outcome.PASS
    false = evidence_of([3.0] * (least - 1), [2.0] * (least - 1))
    assert judged(calibration, measurement_of(false)).outcome is Outcome.FAIL


def test_an_audit_blind_to_half_of_the_tokens_is_no_pass(calibration: Calibration) -> None:
    # every call is a toss-up, so honest arithmetic could have turned any of them
    blind = evidence_of([0.0] * 60, [1e-4] * 60)
    verdict = inconclusive(calibration, measurement_of(blind))
    assert verdict.reasons == (Reason.TOO_FEW_TOKENS,)
    assert "could not have shown even 50% of them replaced" in verdict.details[0]
    assert verdict.sensitivity is not None
    share = verdict.sensitivity.substituted_token_share
    assert share is None or share > default_policy().max_blind_share


def test_a_stricter_policy_asks_for_more_sight(calibration: Calibration) -> None:
    strict = replace(default_policy(), max_blind_share=0.001)
    verdict = inconclusive(calibration, measurement_of(HONEST), strict)
    assert verdict.reasons == (Reason.TOO_FEW_TOKENS,)
    assert "calibrate with more" in verdict.details[0]


def test_a_failure_never_rests_on_an_assumed_default(calibration: Calibration) -> None:
    verdict = inconclusive(calibration, measurement_of(FALSE, assumed=("top_k", "top_p")))
    assert verdict.reasons == (Reason.PARAMETER_MISSING,)
    assert "top_k, top_p" in verdict.details[0]
    passed = judged(calibration, measurement_of(HONEST, assumed=("top_k",)))
    assert passed.outcome is Outcome.PASS


def test_what_an_exchange_cannot_be_failed_for_does_not_add_up_against_its_provider(
    calibration: Calibration,
) -> None:
    unknown = replace(HONEST, profile_id=OTHER_PROFILE)
    for evidence in (HONEST, ODD, FALSE):
        assert examined(calibration, measurement_of(evidence)).growth is not None
        assumed = measurement_of(evidence, assumed=("top_k",))
        assert examined(calibration, assumed).growth is None
        assert examined(calibration, measurement_of(evidence, unknown)).growth is None


def test_greedy_answers_are_judged_by_the_same_traffic(calibration: Calibration) -> None:
    measured = measurement_of(FALSE, sampling=sampling_of(0.0, top_k=5))
    assert judged(calibration, measured).outcome is Outcome.FAIL


def test_growth_is_what_the_exchange_adds_to_its_providers_evidence(
    calibration: Calibration,
) -> None:
    for evidence, is_tell in ((HONEST, False), (FALSE, True)):
        measured = measurement_of(evidence)
        examination = examined(calibration, measured)
        growth = examination.growth
        assert growth is not None
        assert growth.num_tokens == NUM_TOKENS
        assert growth.num_mismatches == NUM_TOKENS - evidence.num_matches
        assert len(growth.log_e_nats_K) == NUM_ALTERNATIVES
        assert len(growth.log_likelihood_G) == len(LEVELS_LOGITS_G)
        assert growth.exchange_digest == question_digest(measured.plan.sequence)
        assert growth.is_tell is is_tell
        value = examination.verdict.log10_e_value
        assert value is not None and growth.log_e_nats <= value * math.log(10) + 1e-9


def test_a_tell_takes_less_evidence_than_a_fail(calibration: Calibration) -> None:
    examination = examined(calibration, measurement_of(ODD))
    assert examination.growth is not None and examination.verdict.log10_e_value is not None
    lax = replace(default_policy(), tell_rate=10.0**-examination.verdict.log10_e_value * 1.01)
    strict = replace(lax, tell_rate=10.0**-examination.verdict.log10_e_value * 0.99)
    for policy, is_tell in ((lax, True), (strict, False)):
        growth = examined(calibration, measurement_of(ODD), policy).growth
        assert growth is not None and growth.is_tell is is_tell


def test_a_power_table_is_read_at_the_length_of_the_answer(calibration: Calibration) -> None:
    table = seal_power(
        calibration_id=calibration.calibration_id,
        stratum=str(calibration.strata[0].key),
        log10_threshold=default_policy().log_threshold_nats / math.log(10),
        created_at=CREATED_AT,
        num_tokens=(100, 1000),
        attacks=[PowerCurve(attack="int4", label="4 bits", power=(0.3, 0.95), num_streams=9)],
    )
    judge = ConditionalJudge(calibration, default_policy(), version="1", power=table)
    sensitivity = judge(measurement_of(HONEST)).verdict.sensitivity
    assert sensitivity is not None
    ((attack,),) = (sensitivity.attacks,)
    assert (attack.attack, attack.power, attack.num_tokens_needed) == ("int4", 0.3, 1000)
    without = judged(calibration, measurement_of(HONEST)).sensitivity
    assert without is not None and without.attacks == ()
    for other in (replace(table, stratum="another kind"), replace(table, log10_threshold=1.0)):
        judge = ConditionalJudge(calibration, default_policy(), version="1", power=other)
        sensitivity = judge(measurement_of(HONEST)).verdict.sensitivity
        assert sensitivity is not None and sensitivity.attacks == ()


def test_more_kinds_in_a_calibration_share_the_error(calibration: Calibration) -> None:
    twice = [*honest_traffic(60, 200), *honest_traffic(60, 200)]
    both = [
        (n, replace(m, plan=replace(m.plan, ids_inferred=i >= 120)))
        for i, (n, m) in enumerate(twice)
    ]
    wide, _ = collect(both)
    assert len(wide.strata) == 2
    alone = judged(calibration, measurement_of(FALSE)).log10_e_value
    shared = judged(wide, measurement_of(FALSE)).log10_e_value
    assert alone is not None and shared is not None and shared < alone
