"""Near-ties find a 4-bit copy in a few tokens, and honest variants not at all."""

import json
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from audit.errors import CalibrationError, InvalidRequest
from audit.sweep_records import AnswerStatus, ProbeAnswer, ReadingStatus
from audit.sweeps.border.expected import read_expected
from audit.sweeps.border.greedy import GreedyBorder
from audit.sweeps.border.rebase import rebased_probes
from audit.sweeps.border.seeded import SeededBorder
from reference_runner.errors import UnsupportedProfile
from tests.unit.sweeps.border.cases import (
    CHAT_ENDPOINT,
    ENDPOINT,
    NUM_MEASURED,
    SETTINGS,
    TEXT_ENDPOINT,
    answered,
    answers_of,
    detector,
    measuring,
    planned,
    rounded,
    section_of,
    tokens_of,
    tools,
)

BOTH = pytest.mark.parametrize("name", ["greedy", "seeded"])
THRESHOLD_NATS = float(np.log(100))


@BOTH
def test_a_four_bit_copy_is_found_within_16_one_token_requests(name: str) -> None:
    reading = detector(name, section_of(name)).read(ENDPOINT, answers_of(name, "int4"))
    assert reading.status is ReadingStatus.READ
    first = next(n for n, e in enumerate(reading.log_e_nats_N, 1) if e >= THRESHOLD_NATS)
    assert first <= 16
    assert reading.candidates[0].name == "int4-g32"


@BOTH
@pytest.mark.parametrize("variant", ["bf16", "fp32"])
def test_honest_variants_are_not_accused(name: str, variant: str) -> None:
    reading = detector(name, section_of(name)).read(ENDPOINT, answers_of(name, variant))
    assert max(reading.log_e_nats_N) < THRESHOLD_NATS
    # 8-bit weights lie within what honest precisions do
    assert reading.candidates[0].name in {"honest", "int8-g32"}
    assert reading.honest_tell_rate is not None
    assert reading.tells.count("1") <= reading.honest_tell_rate * len(reading.tells)


@BOTH
def test_a_reading_says_what_could_have_been_seen(name: str) -> None:
    reading = detector(name, section_of(name)).read(ENDPOINT, answers_of(name, "bf16"))
    visible = reading.visible
    assert visible is not None
    assert dict(visible.needed)["int4-g32"] <= len(planned(name))
    assert visible.smallest_share is not None
    assert "int4-g32 on" in visible.statement
    rates = dict(reading.statistics)
    shown = answers_of(name, "int4")
    tells = detector(name, section_of(name)).read(ENDPOINT, shown).tells
    assert rates["tell_rate:int4-g32"] == pytest.approx(tells.count("1") / len(tells), abs=0.12)
    assert rates["tell_rate:int8-g32"] < rates["tell_rate:int4-g32"]


@BOTH
def test_plans_and_readings_are_the_same_every_time(name: str) -> None:
    plans = [detector(name, section_of(name)).plan(ENDPOINT, b"again", 8) for _ in range(2)]
    assert plans[0] == plans[1]
    assert detector(name, section_of(name)).plan(ENDPOINT, b"other", 8) != plans[0]
    probed = answers_of(name, "int4")
    first, second = (detector(name, section_of(name)).read(ENDPOINT, probed) for _ in range(2))
    assert first == second


@BOTH
def test_no_probe_comes_twice_and_few_of_a_window(name: str) -> None:
    asked = [(probe.prompt.token_ids, probe.sampling.seed) for probe in planned(name)]
    assert len(set(asked)) == len(asked)
    starts = Counter((p[0] or ())[:16] for p in asked)
    assert max(starts.values()) <= SETTINGS.most_of_window


@BOTH
def test_without_a_calibration_probes_are_spread_and_nothing_is_concluded(name: str) -> None:
    probes = measuring(name)
    groups = {probe.group for probe in probes}
    assert 0.7 * NUM_MEASURED <= len(probes) <= NUM_MEASURED
    assert len(groups) >= 6
    reading = detector(name, None).read(ENDPOINT, answered(probes[:5], rounded("int4-g32")))
    assert reading.status is ReadingStatus.UNCALIBRATED
    assert reading.log_e_nats_N == ()
    assert "never measured" in reading.reason


def test_text_prompts_survive_the_tokenizer_and_text_answers_are_read() -> None:
    border = detector("greedy", section_of("greedy"))
    probes = border.plan(TEXT_ENDPOINT, b"text", 40)
    assert len(probes) >= 20
    for probe in probes:
        assert probe.prompt.token_ids is None
        found = tools().reference.survey(tokens_of(probe))
        assert int(found.best_token_T[-1]) == read_expected(probe).first
    cheat = border.read(TEXT_ENDPOINT, answered(probes, rounded("int4-g32"), ids=False))
    assert max(cheat.log_e_nats_N) >= THRESHOLD_NATS
    honest = border.read(TEXT_ENDPOINT, answered(probes, tools().reference, ids=False))
    assert max(honest.log_e_nats_N) < THRESHOLD_NATS


def test_chats_are_asked_where_the_first_assistant_token_is_close() -> None:
    border = detector("greedy", None)
    probes = border.plan(CHAT_ENDPOINT, b"chat", 12)
    assert probes
    for probe in probes:
        assert probe.prompt.messages is not None
        expected = read_expected(probe)
        found = tools().reference.survey(tokens_of(probe))
        assert int(found.best_token_T[-1]) == expected.first
        assert float(found.gap_logits_T[-1]) == pytest.approx(expected.gap_logits)


def test_seeds_bring_the_draw_close_to_a_tie() -> None:
    for probe in planned("seeded"):
        assert probe.sampling.seed is not None
        assert 0 <= probe.sampling.seed < 2**31
        assert 0.4 <= read_expected(probe).gap_steps < 12.0
        assert probe.sampling.temperature == 1.0


def test_an_unknown_sampler_is_not_applicable() -> None:
    border = SeededBorder(tools(), section_of("seeded"), SETTINGS)
    unknown = replace(ENDPOINT, sampler_profile=None)
    assert border.plan(unknown, b"x", 5) == ()
    reading = border.read(unknown, [])
    assert reading.status is ReadingStatus.NOT_APPLICABLE
    assert "sampler is not known" in reading.reason
    with pytest.raises(UnsupportedProfile, match="no-such"):
        border.plan(replace(ENDPOINT, sampler_profile="no-such"), b"x", 5)


def test_the_engine_names_the_sampler_where_no_profile_is_stated() -> None:
    named = replace(
        ENDPOINT, sampler_profile=None, engine="vllm", engine_version="0.32.0", device="cpu"
    )
    assert SeededBorder(tools(), None, SETTINGS).plan(named, b"x", 3)


UNREADABLE = {
    "refused": ProbeAnswer(status=AnswerStatus.REFUSED),
    "nothing": ProbeAnswer(status=AnswerStatus.ANSWERED),
    "many_tokens": ProbeAnswer(status=AnswerStatus.ANSWERED, text="a b c", completion_tokens=3),
    "hidden": ProbeAnswer(status=AnswerStatus.ANSWERED, text="", finish_reason="length"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_answers_are_counted_and_tell_nothing(name: str) -> None:
    border = detector("greedy", section_of("greedy"))
    good = list(answers_of("greedy", "bf16")[:10])
    bad = [replace(one, answer=UNREADABLE[name]) for one in good[3:6]]
    reading = border.read(ENDPOINT, good[:3] + bad + good[6:])
    assert (reading.num_sent, reading.num_used) == (10, 7)
    assert len(reading.log_e_nats_N) == len(reading.tells) == 7
    nothing = border.read(ENDPOINT, bad)
    assert nothing.status is ReadingStatus.TOO_LITTLE
    assert "none of 3 probes" in nothing.reason


def test_the_same_answer_twice_counts_once() -> None:
    border = detector("greedy", section_of("greedy"))
    probed = list(answers_of("greedy", "int4")[:6])
    assert border.read(ENDPOINT, probed + probed).log_e_nats_N == (
        border.read(ENDPOINT, probed).log_e_nats_N
    )


def test_other_candidates_than_the_calibrations_are_refused() -> None:
    fewer = replace(tools(), candidates={"int4-g32": rounded("int4-g32")})
    with pytest.raises(CalibrationError, match="with the candidates int4-g32, int8-g32; here are"):
        GreedyBorder(fewer, section_of("greedy"), SETTINGS)
    one = answers_of("greedy", "bf16")[0]
    members = json.loads(one.probe.expected_json)
    members["choices"].pop("int8-g32")
    foreign = replace(one, probe=replace(one.probe, expected_json=json.dumps(members)))
    with pytest.raises(InvalidRequest, match="planned with the candidates int4-g32, and"):
        detector("greedy", section_of("greedy")).read(ENDPOINT, [foreign])


@BOTH
def test_reading_a_growing_prefix_is_cheap(name: str) -> None:
    border = detector(name, section_of(name))
    probed = list(answers_of(name, "bf16")) * 3
    start = time.process_time()
    for length in range(9, len(probed), 9):
        border.read(ENDPOINT, probed[:length])
    assert (time.process_time() - start) / (len(probed) // 9) < 0.1


def test_a_probe_of_another_kind_is_refused() -> None:
    border = detector("greedy", section_of("greedy"))
    one = answers_of("greedy", "bf16")[0]
    for text in ("{}", json.dumps({**json.loads(one.probe.expected_json), "gapSteps": "far"})):
        foreign = replace(one, probe=replace(one.probe, expected_json=text))
        with pytest.raises(InvalidRequest, match=r"probe\.expected"):
            border.read(ENDPOINT, [foreign])


def test_rebased_probes_expect_what_the_engine_answered() -> None:
    engine = answers_of("greedy", "int4")
    probes = rebased_probes(engine, tools().reference)
    assert len(probes) == len(engine)
    again = answered(probes, rounded("int4-g32"))
    assert all(read_expected(one.probe).first == (one.answer.token_ids or ())[0] for one in again)
    moved = [
        n
        for n, one in enumerate(engine)
        if (one.answer.token_ids or ())[0] != read_expected(one.probe).first
    ]
    assert moved
    for n in moved:
        assert probes[n].probe_id != engine[n].probe.probe_id
        before, after = read_expected(engine[n].probe), read_expected(probes[n])
        assert (after.second, after.gap_steps) == (before.first, -before.gap_steps)
        assert after.firm_steps < before.firm_steps


def test_ids_and_tiers() -> None:
    assert GreedyBorder(tools(), None).detector_id == "border-greedy/1"
    assert SeededBorder(tools(), None).detector_id == "border-seeded/1"
    assert GreedyBorder(tools(), None).tier == SeededBorder(tools(), None).tier == 1
