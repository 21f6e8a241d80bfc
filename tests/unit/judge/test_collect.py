"""Honest traffic becomes a calibration by variants; too little or dishonest one does not."""

from dataclasses import replace

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.judge.bins import bin_of
from audit.judge.collect import GENERATED, MIN_EXCHANGES, RECORDED, CalibrationCollector
from audit.records import Measurement
from tests.support.measurements import (
    CREATED_AT,
    DIGEST,
    HONEST_NOISE_LOGITS,
    STEP_LOGITS,
    collect,
    default_policy,
    evidence_of,
    honest_traffic,
    info_of,
    measurement_of,
    sampling_of,
)

HONEST = evidence_of([0.0] * 29 + [0.1], [1.0] * 29 + [0.1])
FALSE = evidence_of([0.0, 0.3] * 15)

Named = list[tuple[str, Measurement]]


def two_variants(measured: Measurement, count: int = MIN_EXCHANGES) -> Named:
    return [(name, measured) for name in ("a", "b") for _ in range(count)]


def test_one_stratum_covers_the_sampling_of_its_traffic() -> None:
    cases = [sampling_of(0.5), sampling_of(0.9, top_k=5), sampling_of(0.7, top_p=0.9)]
    measured = [measurement_of(HONEST, sampling=cases[i % 3]) for i in range(30)]
    calibration, warnings = collect([(name, m) for name in ("a", "b") for m in measured])
    (stratum,) = calibration.strata
    assert warnings == ()
    assert stratum.has_sampled and stratum.has_top_k and stratum.has_top_p
    assert calibration.model_digest == DIGEST
    assert calibration.created_at == CREATED_AT


def test_filters_of_greedy_answers_cover_nothing() -> None:
    greedy = measurement_of(HONEST, sampling=sampling_of(0.0, top_k=5, top_p=0.5))
    (stratum,) = collect(two_variants(greedy))[0].strata
    assert not (stratum.has_sampled or stratum.has_top_k or stratum.has_top_p)


def test_variants_are_counted_apart() -> None:
    other = measurement_of(evidence_of([0.0] * 30, [0.1] * 30))
    named = [("a", measurement_of(HONEST))] * 20 + [("b", other)] * 25
    (stratum,) = collect(named)[0].strata
    first, second = stratum.variants
    assert (first.name, first.num_exchanges, first.num_tokens, first.num_matches) == (
        "a", 20, 600, 580,
    )  # fmt: skip
    assert (second.name, second.num_exchanges, second.num_matches) == ("b", 25, 750)
    close, clear = bin_of(np.asarray([0.1, 1.0]) / STEP_LOGITS)
    assert first.counts.num_calls_B[[close, clear]].tolist() == [20, 580]
    assert first.counts.num_mismatches_B[[close, clear]].tolist() == [20, 0]
    assert first.counts.num_far_B.sum() == 0
    assert second.counts.num_calls_B[[close, clear]].tolist() == [750, 0]


def test_a_variant_states_its_engines_source_and_noise() -> None:
    collector = CalibrationCollector(default_policy())
    for index in range(40):
        collector.add(
            measurement_of(HONEST),
            "ab"[index % 2],
            engine=f"engine {index % 4}",
            source=GENERATED if index % 2 else RECORDED,
        )
    (stratum,) = collector.finish(CREATED_AT)[0].strata
    assert [(v.source, v.engines) for v in stratum.variants] == [
        (RECORDED, ("engine 0", "engine 2")),
        (GENERATED, ("engine 1", "engine 3")),
    ]
    assert all(v.noise_logits > 0.0 for v in stratum.variants)


def test_the_noise_of_variants_is_found() -> None:
    (stratum,) = collect(honest_traffic(40, 200))[0].strata
    found = {v.name: v.noise_logits for v in stratum.variants}
    for name, sigma in HONEST_NOISE_LOGITS.items():
        assert sigma / 1.5 < found[name] < 1.5 * sigma


def test_kinds_of_exchanges_are_kept_apart() -> None:
    at_float32 = measurement_of(HONEST, info=info_of(precision="float32"))
    inferred = measurement_of(HONEST, ids_inferred=True)
    other = measurement_of(replace(HONEST, profile_id="vllm-cpu-splitmix64"))
    named = [pair for m in (measurement_of(HONEST), at_float32, inferred, other)
             for pair in two_variants(m)]  # fmt: skip
    calibration, warnings = collect(named)
    assert warnings == ()
    assert len(calibration.strata) == len({s.key for s in calibration.strata}) == 4


def test_calls_in_a_context_that_was_disagreed_on_are_not_counted() -> None:
    measured = measurement_of(evidence_of([0.1] * 3 + [0.0] * 57, [0.1] * 3 + [1.0] * 57))
    looping = replace(
        measured,
        plan=replace(
            measured.plan,
            sequence=replace(measured.plan.sequence, output_token_ids=tuple(range(20)) * 3),
        ),
    )
    # the contexts of the first calls hold the prompt, and never return
    (stratum,) = collect(two_variants(looping))[0].strata
    assert stratum.variants[0].counts.num_calls_B.sum() == 60 * 20
    missed = replace(looping, evidences=(evidence_of([0.0] * 30 + [0.1] + [0.0] * 29, [0.1] * 60),))
    (stratum,) = collect(two_variants(missed))[0].strata
    assert stratum.variants[0].counts.num_calls_B.sum() == 59 * 20


def test_the_same_traffic_gives_the_same_id_and_other_traffic_another() -> None:
    measured = measurement_of(HONEST)
    first, again, other = (collect(two_variants(measured, n))[0] for n in (20, 20, 21))
    assert first.calibration_id == again.calibration_id
    assert first.calibration_id != other.calibration_id


def test_a_variant_of_too_few_exchanges_is_left_out_with_a_warning() -> None:
    named = [*two_variants(measurement_of(HONEST)), *[("c", measurement_of(HONEST))] * 19]
    calibration, (warning,) = collect(named)
    assert [v.name for v in calibration.strata[0].variants] == ["a", "b"]
    assert "variant c: 19 exchanges are too few, 20 are needed" in warning


def test_too_few_exchanges_of_every_kind_make_no_calibration() -> None:
    with pytest.raises(CalibrationError, match="20 exchanges that are needed") as caught:
        collect(two_variants(measurement_of(HONEST), MIN_EXCHANGES - 1))
    assert "variant a" in str(caught.value) and "variant b" in str(caught.value)
    with pytest.raises(CalibrationError, match="no honest variant"):
        collect([])


def test_one_variant_alone_is_kept_with_a_warning() -> None:
    calibration, (warning,) = collect([("a", measurement_of(HONEST))] * 20)
    assert calibration.strata[0].holdouts == ()
    assert "1 honest variant, the policy asks for 2" in warning


def test_variants_that_contradict_each_other_are_kept_with_a_warning() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.exponential(3.0, (20, 1000)) + 0.5
    noisy = [
        measurement_of(evidence_of(np.where(rng.random(1000) < 0.05, gap, 0.0), gap))
        for gap in gaps
    ]
    calm = [measurement_of(evidence_of(np.zeros(1000), gap)) for gap in gaps]
    named = [("noisy", m) for m in noisy] + [("calm", m) for m in calm]
    calibration, (warning,) = collect(named)
    assert "variant noisy would be failed" in warning and "by the others" in warning
    assert [h.is_alarming for h in calibration.strata[0].holdouts] == [True, False]


def test_traffic_that_does_not_look_honest_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"agrees on 50\.0% of the tokens only"):
        collect(two_variants(measurement_of(FALSE), 30))


@pytest.mark.parametrize(("num_false", "is_refused"), [(2, False), (3, False), (4, True)])
def test_honest_traffic_agrees_on_nine_tokens_in_ten(num_false: int, is_refused: bool) -> None:
    deviations = [0.1] * num_false + [0.0] * (30 - num_false)
    named = two_variants(measurement_of(evidence_of(deviations, [0.1] * 30)))
    if is_refused:
        with pytest.raises(CalibrationError, match="right checkpoint"):
            collect(named)
    else:
        assert len(collect(named)[0].strata[0].variants) == 2


def test_one_dishonest_variant_spoils_the_traffic() -> None:
    named = [*two_variants(measurement_of(HONEST)), *[("c", measurement_of(FALSE))] * 20]
    with pytest.raises(CalibrationError, match="variant c"):
        collect(named)


def test_the_candidate_that_explains_most_is_calibrated() -> None:
    other = evidence_of([0.4] * 30, profile_id="vllm-cpu-splitmix64")
    calibration, _ = collect(two_variants(measurement_of(other, HONEST)))
    assert [s.key.profile_id for s in calibration.strata] == [HONEST.profile_id]


def test_inferred_ids_that_agree_too_rarely_are_left_out_with_a_warning() -> None:
    lossy = two_variants(measurement_of(FALSE, ids_inferred=True))
    calibration, warnings = collect([*two_variants(measurement_of(HONEST)), *lossy])
    assert [s.key.ids_inferred for s in calibration.strata] == [False]
    assert len(warnings) == 2
    assert all("other tokens may spell the same text" in w for w in warnings)


def test_traffic_of_two_checkpoints_is_not_pooled() -> None:
    other = measurement_of(HONEST, info=info_of(digest="sha256:" + "cd" * 32))
    with pytest.raises(CalibrationError, match="two checkpoints"):
        collect([("a", measurement_of(HONEST)), ("a", other)])
