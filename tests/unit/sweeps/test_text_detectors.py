"""The text detectors on the example model: honest answers, substitutes, and what goes wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.sweep_records import AnswerStatus, Probe, Probed, Reading, ReadingStatus
from audit.sweeps.detector import Section
from audit.sweeps.text.calibrate_mmd import MmdCalibrator
from audit.sweeps.text.calibrate_rank import RankCalibrator
from audit.sweeps.text.calibrate_ratio import RatioCalibrator
from audit.sweeps.text.detector_mmd import MmdSettings, TextMmd
from audit.sweeps.text.detector_rank import ConformalRank, RankSettings
from audit.sweeps.text.detector_ratio import CandidateRatio, RatioSettings
from audit.sweeps.text.samples import answer_locally
from tests.support.example_model import example_reference
from tests.unit.sweeps.text_arms import (
    CHAT_ENDPOINT,
    ENDPOINT,
    failed,
    honest_answers,
    retuned_answers,
    sibling,
    tools,
)

RANK = RankSettings(num_local=5, max_tokens=6)
MMD = MmdSettings(answers_per_prompt=5, prompts_per_block=2, max_tokens=6, num_permutations=500)
RATIO = RatioSettings(max_tokens=24)


@cache
def rank_section() -> Section:
    probes = ConformalRank(tools(), None, RANK).plan(ENDPOINT, b"calibration", 45)
    return RankCalibrator(tools=tools(), settings=RANK, attacks={}).fit(
        {"bf16": honest_answers(probes)}, error=0.01
    )


@cache
def mmd_section() -> Section:
    return MmdCalibrator(tools=tools(), settings=MMD, attacks={}).fit(
        {"bf16": honest_answers(mmd_calibration_plan())}, error=0.01
    )


@cache
def mmd_calibration_plan() -> tuple[Probe, ...]:
    return TextMmd(tools(), None, MMD).plan(ENDPOINT, b"calibration", 110)


@cache
def ratio_section() -> Section:
    probes = CandidateRatio(tools(), None, RATIO).plan(ENDPOINT, b"calibration", 50)
    return RatioCalibrator(
        tools=tools(),
        settings=RATIO,
        attacks={"sibling": answer_locally(sibling(), probes[:30], b"tried")},
    ).fit({"bf16": honest_answers(probes)}, error=0.01)


@cache
def rank() -> ConformalRank:
    return ConformalRank(tools(), rank_section(), RANK)


@cache
def mmd() -> TextMmd:
    return TextMmd(tools(), mmd_section(), MMD)


@cache
def ratio() -> CandidateRatio:
    return CandidateRatio(tools(), ratio_section(), RATIO)


@cache
def rank_plan() -> tuple[Probe, ...]:
    return rank().plan(ENDPOINT, b"run", 45)


@cache
def mmd_plan() -> tuple[Probe, ...]:
    return mmd().plan(ENDPOINT, b"run", 60)


@cache
def ratio_plan() -> tuple[Probe, ...]:
    return ratio().plan(ENDPOINT, b"run", 45)


@cache
def honest(plan: tuple[Probe, ...]) -> list[Probed]:
    """Return what an honest endpoint answers; all tests share one day of it."""
    return honest_answers(plan, b"another day")


@cache
def retuned(plan: tuple[Probe, ...], temperature: float) -> list[Probed]:
    return retuned_answers(plan, temperature)


@cache
def substituted() -> list[Probed]:
    """Return what the sibling answers to the plan of ratios."""
    return answer_locally(sibling(), ratio_plan(), b"sibling")


def read_rank(probed: Sequence[Probed]) -> Reading:
    return rank().read(ENDPOINT, probed)


def read_mmd(probed: Sequence[Probed]) -> Reading:
    return mmd().read(ENDPOINT, probed)


def read_ratio(probed: Sequence[Probed]) -> Reading:
    return ratio().read(ENDPOINT, probed)


def test_plans_depend_on_the_seed_alone_and_prompts_are_text() -> None:
    for detector in (
        ConformalRank(tools(), None, replace(RANK, num_local=2)),
        TextMmd(tools(), None, MMD),
        CandidateRatio(tools(), None, RATIO),
    ):
        probes = detector.plan(ENDPOINT, b"a", 10)
        assert len(probes) == 10
        assert probes == detector.plan(ENDPOINT, b"a", 10)
        assert {p.probe_id for p in probes}.isdisjoint(
            p.probe_id for p in detector.plan(ENDPOINT, b"b", 10)
        )
        assert all(p.prompt.text and p.prompt.token_ids is None for p in probes)
        chat = detector.plan(CHAT_ENDPOINT, b"a", 10)
        assert all(p.prompt.messages and p.prompt.text is None for p in chat)
        assert detector.tier == 3


def test_probes_of_one_prompt_are_asked_with_different_seeds() -> None:
    by_prompt: dict[str | None, list[int | None]] = {}
    for probe in mmd_plan():
        by_prompt.setdefault(probe.prompt.text, []).append(probe.sampling.seed)
    assert all(len(seeds) == len(set(seeds)) == 5 for seeds in by_prompt.values())
    assert len(by_prompt) == 12


def test_without_a_section_nothing_is_said() -> None:
    for detector in (
        ConformalRank(tools(), None, RANK),
        TextMmd(tools(), None, MMD),
        CandidateRatio(tools(), None, RATIO),
    ):
        reading = detector.read(ENDPOINT, [])
        assert reading.status is ReadingStatus.UNCALIBRATED
        assert "no bundle says" in reading.reason
        assert reading.log_e_nats_N == ()


def test_honest_answers_are_no_evidence() -> None:
    for read, plan in (
        (read_rank, rank_plan()),
        (read_mmd, mmd_plan()),
        (read_ratio, ratio_plan()),
    ):
        reading = read(honest(plan))
        assert reading.status is ReadingStatus.READ
        assert reading.num_used == len(reading.log_e_nats_N) == len(plan)
        assert max(reading.log_e_nats_N) < 2.0


def test_a_hotter_sampler_is_found_by_ranks() -> None:
    reading = read_rank(retuned(rank_plan(), 1.8))
    assert reading.log_e_nats_N[-1] > 4.6
    tells = reading.tells.count("1") / len(reading.tells)
    assert reading.honest_tell_rate is not None
    assert tells > reading.honest_tell_rate
    assert dict(reading.statistics)["mean_rank:log-likelihood"] < 0.3


def test_a_colder_sampler_is_found_by_ranks() -> None:
    reading = read_rank(retuned(rank_plan(), 0.3))
    assert reading.log_e_nats_N[-1] > 4.6
    assert dict(reading.statistics)["mean_rank:log-likelihood"] > 0.7


def test_a_colder_sampler_is_found_by_samples() -> None:
    reading = read_mmd(retuned(mmd_plan(), 0.2))
    assert reading.log_e_nats_N[-1] > 4.6
    # evidence stands still within a block of ten answers
    assert all(reading.log_e_nats_N[k] == 0.0 for k in range(9))
    assert dict(reading.statistics)["smallest_p:hamming-pad-free"] <= 0.01


def test_a_sibling_is_found_and_named_by_ratios() -> None:
    reading = read_ratio(substituted())
    assert reading.log_e_nats_N[-1] > 4.6
    likelihood = {c.name: c.log_likelihood_nats for c in reading.candidates}
    assert likelihood["sibling"] > likelihood["honest"]
    statistics = dict(reading.statistics)
    assert statistics["share_low:sibling"] > 0.3
    assert statistics["share_high:sibling"] == 1.0


def test_the_share_of_honest_answers_is_bounded_from_above() -> None:
    statistics = dict(read_ratio(honest(ratio_plan())).statistics)
    assert statistics["share_low:sibling"] == 0.0
    assert statistics["share_high:sibling"] < 0.8


def test_half_a_sibling_lies_between_the_bounds() -> None:
    pairs = zip(substituted(), honest(ratio_plan()), strict=True)
    mixed = [pair[k % 2] for k, pair in enumerate(pairs)]
    statistics = dict(read_ratio(mixed).statistics)
    assert statistics["share_low:sibling"] <= 0.5 <= statistics["share_high:sibling"]


def test_a_recorded_run_reads_the_same_again_and_looks_are_prefixes() -> None:
    for read, plan, answers in (
        (read_rank, rank_plan(), retuned(rank_plan(), 1.8)),
        (read_mmd, mmd_plan(), retuned(mmd_plan(), 0.2)),
        (read_ratio, ratio_plan(), substituted()),
    ):
        whole = read(answers)
        assert read(answers) == whole
        early = read(answers[:30])
        assert early.log_e_nats_N == whole.log_e_nats_N[:30], plan[0].detector


def test_local_answers_do_not_depend_on_what_was_read_before() -> None:
    """Another model object has a memory of its own: it draws the same, whatever it reads first."""
    network = tools().reference.model.network  # type: ignore[attr-defined]
    fresh = replace(tools(), reference=example_reference().with_network(network))
    answers = honest(rank_plan())
    late = ConformalRank(fresh, rank_section(), RANK)
    late.read(ENDPOINT, answers[20:24])
    assert late.read(ENDPOINT, answers[18:26]) == rank().read(ENDPOINT, answers[18:26])
    blocks = honest(mmd_plan())
    other = TextMmd(fresh, mmd_section(), MMD)
    assert other.read(ENDPOINT, blocks[10:20]) == mmd().read(ENDPOINT, blocks[10:20])


def test_readings_say_how_often_attacks_show_a_sign() -> None:
    found = read_ratio(substituted())
    rate = dict(found.statistics)["tell_rate:sibling"]
    share = found.tells.count("1") / len(found.tells)
    # a lower limit from 30 answers, which other answers seldom stay below
    assert found.honest_tell_rate is not None
    assert 0.0 < rate <= share + 0.1
    assert "tellRates" in rank_section()


def test_unanswered_probes_are_counted_and_add_nothing() -> None:
    answers = retuned(rank_plan(), 1.8)
    bad = [
        failed(item.probe, status)
        for item, status in zip(answers, list(AnswerStatus)[1:], strict=False)
    ]
    reading = read_rank([*bad, *answers[len(bad) :]])
    assert (reading.num_sent, reading.num_used) == (45, 45 - len(bad))
    assert len(reading.log_e_nats_N) == len(reading.tells) == 45 - len(bad)
    for read, plan in ((read_rank, rank_plan()), (read_ratio, ratio_plan())):
        nothing = read([failed(probe, AnswerStatus.GARBAGE) for probe in plan])
        assert nothing.status is ReadingStatus.TOO_LITTLE
        assert nothing.reason == "no answer with text came back"


def test_a_block_that_was_cut_short_is_not_read() -> None:
    answers = retuned(mmd_plan(), 0.2)
    cut = [*answers[:9], failed(answers[9].probe, AnswerStatus.NOT_SENT)]
    reading = read_mmd(cut)
    assert reading.status is ReadingStatus.TOO_LITTLE
    assert reading.log_e_nats_N == (0.0,) * 9
    broken = [*answers[:9], failed(answers[9].probe, AnswerStatus.TIMED_OUT)]
    reading = read_mmd(broken)
    assert reading.status is ReadingStatus.READ
    assert reading.log_e_nats_N[8] != 0.0


def test_empty_and_unusual_answers_are_scored_without_error() -> None:
    answers = honest(rank_plan())
    odd = ["", " \n", "\ufffd", "\x00\x07", "\U0001f600" * 40, "a" * 5000, "<|endoftext|>"]
    changed = [
        Probed(probe=item.probe, answer=replace(item.answer, text=text))
        for item, text in zip(answers, odd, strict=False)
    ]
    reading = read_rank([*changed, *answers[len(odd) :]])
    assert reading.num_used == 45
    assert np.isfinite(reading.log_e_nats_N).all()
    ratio = [
        Probed(probe=probe, answer=item.answer)
        for probe, item in zip(ratio_plan(), changed, strict=False)
    ]
    assert np.isfinite(read_ratio(ratio).log_e_nats_N).all()


def test_what_could_have_been_seen_is_said() -> None:
    visible = read_ratio(substituted()).visible
    assert visible is not None
    assert dict(visible.needed)["sibling"] <= 45
    assert visible.smallest_share is not None
    assert "sibling would have been found" in visible.statement
    early = read_ratio(honest(ratio_plan())[:1]).visible
    assert early is not None
    assert early.smallest_share is None
    assert "none of sibling" in early.statement


def test_sections_are_json_and_are_read_strictly() -> None:
    for build, section in (
        (lambda s: ConformalRank(tools(), s, RANK), rank_section()),
        (lambda s: TextMmd(tools(), s, MMD), mmd_section()),
        (lambda s: CandidateRatio(tools(), s, RATIO), ratio_section()),
    ):
        again: dict[str, object] = json.loads(json.dumps(section))
        assert again == section
        build(again)
        with pytest.raises(CalibrationError, match="its members must be"):
            build({**again, "more": 1})
        with pytest.raises(CalibrationError, match="measured under other settings"):
            build({**again, "settings": {"maxTokens": 7}})
        with pytest.raises(CalibrationError, match="power must be an object"):
            build({**again, "power": [1]})
        with pytest.raises(CalibrationError, match=r"power\.x must hold 5"):
            build({**again, "power": {"x": [1]}})
        with pytest.raises(CalibrationError, match=r"power\.x must be a number"):
            build({**again, "power": {"x": [1, 2, 3, 4, True]}})


def test_bad_bounds_are_refused() -> None:
    with pytest.raises(CalibrationError, match="inflation must be a number from 1"):
        TextMmd(tools(), {**mmd_section(), "inflation": float("nan")}, MMD)
    bounds: Mapping[str, object] = {"sibling": {"power-1-within-2": 0.5}}
    with pytest.raises(CalibrationError, match=r"sibling must name power-0\.5"):
        CandidateRatio(tools(), {**ratio_section(), "bounds": bounds}, RATIO)
    with pytest.raises(CalibrationError, match="its members must be length, log-likelihood"):
        ConformalRank(tools(), {**rank_section(), "bounds": {}}, RANK)


def test_candidates_that_are_not_at_hand_are_not_applicable() -> None:
    alone = replace(tools(), candidates={})
    reading = CandidateRatio(alone, ratio_section(), RATIO).read(ENDPOINT, [])
    assert reading.status is ReadingStatus.NOT_APPLICABLE
    with pytest.raises(CalibrationError, match="no candidate substitute is at hand"):
        RatioCalibrator(tools=alone, settings=RATIO).fit({}, error=0.01)


def test_too_little_honest_traffic_is_refused() -> None:
    of_ranks = RankCalibrator(tools=tools(), settings=RANK)
    of_blocks = MmdCalibrator(tools=tools(), settings=MMD)
    of_ratios = RatioCalibrator(tools=tools(), settings=RATIO)
    for calibrator in (of_ranks, of_blocks, of_ratios):
        with pytest.raises(CalibrationError, match="no honest variant was recorded"):
            calibrator.fit({}, error=0.01)
        with pytest.raises(CalibrationError, match="error of a calibration"):
            calibrator.fit({}, error=0.0)
    with pytest.raises(CalibrationError, match="'short' has 5 usable answers, 40 are needed"):
        of_ranks.fit({"short": honest(rank_plan())[:5]}, error=0.01)
    with pytest.raises(CalibrationError, match="'short' has 1 usable answers, 10 are needed"):
        of_blocks.fit({"short": honest(mmd_plan())[:10]}, error=0.01)


def test_a_variant_whose_text_differs_is_refused_by_name() -> None:
    with pytest.raises(CalibrationError, match="honest variant 'cold' differs"):
        MmdCalibrator(tools=tools(), settings=MMD).fit(
            {"cold": retuned_answers(mmd_calibration_plan(), 0.2)}, error=0.01
        )
