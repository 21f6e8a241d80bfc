"""Near-ties find a 4-bit copy in a few tokens, and honest variants not at all."""

import json
from dataclasses import replace

import numpy as np
import pytest

from audit.errors import InvalidRequest
from audit.sweep_records import AnswerStatus, ProbeAnswer, ReadingStatus
from audit.sweeps.border.expected import read_expected
from audit.sweeps.border.greedy import GreedyBorder
from audit.sweeps.border.rebase import rebased_probes
from audit.sweeps.border.seeded import SeededBorder
from reference_runner.errors import UnsupportedProfile
from tests.support.example_model import example_reference
from tests.unit.sweeps.border.cases import (
    CHAT_ENDPOINT,
    ENDPOINT,
    NUM_MEASURED,
    SETTINGS,
    TEXT_ENDPOINT,
    answered,
    detector,
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
    reading = detector(name, section_of(name)).read(
        ENDPOINT, answered(planned(name), rounded("int4-g32"))
    )
    assert reading.status is ReadingStatus.READ
    first = next(n for n, e in enumerate(reading.log_e_nats_N, 1) if e >= THRESHOLD_NATS)
    assert first <= 16
    assert reading.candidates[0].name == "int4-g32"


@BOTH
@pytest.mark.parametrize("variant", ["bf16-batch-8", "fp32"])
def test_honest_variants_are_not_accused(name: str, variant: str) -> None:
    provider = tools().reference if variant == "bf16-batch-8" else example_reference("float32")
    reading = detector(name, section_of(name)).read(ENDPOINT, answered(planned(name), provider))
    assert max(reading.log_e_nats_N) < THRESHOLD_NATS
    assert reading.candidates[0].name == "honest"
    assert reading.honest_tell_rate is not None
    assert reading.tells.count("1") <= reading.honest_tell_rate * len(reading.tells)


@BOTH
def test_a_reading_says_what_could_have_been_seen(name: str) -> None:
    reading = detector(name, section_of(name)).read(
        ENDPOINT, answered(planned(name), tools().reference)
    )
    visible = reading.visible
    assert visible is not None
    assert dict(visible.needed)["int4-g32"] <= len(planned(name))
    assert visible.smallest_share is not None
    assert visible.smallest_share <= 0.7
    assert "int4-g32 on" in visible.statement


@BOTH
def test_plans_and_readings_are_the_same_every_time(name: str) -> None:
    plans = [detector(name, section_of(name)).plan(ENDPOINT, b"again", 8) for _ in range(2)]
    assert plans[0] == plans[1]
    assert detector(name, section_of(name)).plan(ENDPOINT, b"other", 8) != plans[0]
    probed = answered(planned(name), rounded("int4-g32"))
    first, second = (detector(name, section_of(name)).read(ENDPOINT, probed) for _ in range(2))
    assert first == second


@BOTH
def test_no_two_probes_share_a_prompt(name: str) -> None:
    prompts = [probe.prompt.token_ids for probe in planned(name)]
    assert len(set(prompts)) == len(prompts)


@BOTH
def test_without_a_calibration_probes_are_spread_and_nothing_is_concluded(name: str) -> None:
    probes = detector(name, None).plan(ENDPOINT, b"measure", NUM_MEASURED)
    groups = {probe.group for probe in probes}
    assert len(groups) == 4
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
        assert 0.4 <= read_expected(probe).gap_steps < 24.0
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
    good = answered(planned("greedy")[:10], tools().reference)
    bad = [replace(one, answer=UNREADABLE[name]) for one in good[3:6]]
    reading = border.read(ENDPOINT, good[:3] + bad + good[6:])
    assert (reading.num_sent, reading.num_used) == (10, 7)
    assert len(reading.log_e_nats_N) == len(reading.tells) == 7
    nothing = border.read(ENDPOINT, bad)
    assert nothing.status is ReadingStatus.TOO_LITTLE
    assert "none of 3 probes" in nothing.reason


def test_the_same_answer_twice_counts_once() -> None:
    border = detector("greedy", section_of("greedy"))
    probed = answered(planned("greedy")[:6], rounded("int4-g32"))
    assert border.read(ENDPOINT, probed + probed).log_e_nats_N == (
        border.read(ENDPOINT, probed).log_e_nats_N
    )


def test_a_probe_of_another_kind_is_refused() -> None:
    border = detector("greedy", section_of("greedy"))
    (one,) = answered(planned("greedy")[:1], tools().reference)
    for text in ("{}", json.dumps({**json.loads(one.probe.expected_json), "gapSteps": "far"})):
        foreign = replace(one, probe=replace(one.probe, expected_json=text))
        with pytest.raises(InvalidRequest, match=r"probe\.expected"):
            border.read(ENDPOINT, [foreign])


def test_rebased_probes_expect_what_the_engine_answered() -> None:
    engine = answered(planned("greedy"), example_reference("float32"))
    probes = rebased_probes(engine, tools().reference)
    assert len(probes) == len(engine)
    again = answered(probes, example_reference("float32"))
    assert all(read_expected(one.probe).first == (one.answer.token_ids or ())[0] for one in again)
    moved = [
        n
        for n, one in enumerate(engine)
        if (one.answer.token_ids or ())[0] != read_expected(one.probe).first
    ]
    for n in moved:
        assert probes[n].probe_id != engine[n].probe.probe_id


def test_ids_and_tiers() -> None:
    assert GreedyBorder(tools(), None).detector_id == "border-greedy/1"
    assert SeededBorder(tools(), None).detector_id == "border-seeded/1"
    assert GreedyBorder(tools(), None).tier == SeededBorder(tools(), None).tier == 1
