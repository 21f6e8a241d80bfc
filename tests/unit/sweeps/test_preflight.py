"""The pre-flight against real servers, and each check on answers made for it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest

from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Endpoint,
    PositionLogprobs,
    Probe,
    ProbeAnswer,
    Probed,
    Reading,
    ReadingStatus,
    TokenLogprob,
)
from audit.sweeps.preflight.detector import Preflight
from tests.support.asked_endpoints import ENDPOINT, ask, tools

TOOLS = tools()
PREFLIGHT = Preflight(TOOLS)
CHAT = replace(ENDPOINT, api=ApiStyle.CHAT)


@cache
def planned(endpoint: Endpoint = ENDPOINT) -> tuple[Probe, ...]:
    return PREFLIGHT.plan(endpoint, b"preflight", 32)


def read(adversary: str, endpoint: Endpoint = ENDPOINT, *checks: str) -> Reading:
    probes = [p for p in planned(endpoint) if not checks or p.group in checks]
    return PREFLIGHT.read(endpoint, ask(adversary, probes, endpoint))


def found(reading: Reading) -> dict[str, bool]:
    return {finding.check: finding.is_decisive for finding in reading.misconfigurations}


def test_32_requests_hold_every_check() -> None:
    assert len(planned()) == len({probe.probe_id for probe in planned()}) == 32
    assert {probe.group for probe in planned()} == {
        "prompt-count",
        "max-tokens",
        "stop",
        "seed",
        "greedy",
        "entropy",
        "cache",
        "logprobs",
        "identity",
    }
    assert planned() == Preflight(TOOLS).plan(ENDPOINT, b"preflight", 32)


def test_a_check_is_left_out_as_a_whole() -> None:
    assert [p.group for p in PREFLIGHT.plan(ENDPOINT, b"preflight", 9)] == [
        *["prompt-count"] * 5,
        *["greedy"] * 4,
    ]
    silent = replace(ENDPOINT, offers_logprobs=False)
    assert all(p.group != "logprobs" for p in PREFLIGHT.plan(silent, b"preflight", 40))
    assert Preflight(tools(texts=())).plan(ENDPOINT, b"preflight", 1) == ()


@pytest.mark.parametrize("adversary", ["honest-batch-8", "honest-mixed", "int4-g32", "cache-exact"])
def test_models_that_obey_are_not_called_misconfigured(adversary: str) -> None:
    reading = read(adversary)
    assert (reading.status, reading.num_used, found(reading)) == (ReadingStatus.READ, 32, {})
    assert reading.log_e_nats_N == () and reading.tells == ""
    assert any("proves nothing" in note for note in reading.notes)


def test_a_chat_endpoint_that_obeys_is_not_called_misconfigured() -> None:
    checks = ("prompt-count", "entropy", "seed", "logprobs", "stop")
    assert found(read("honest-batch-8", CHAT, *checks)) == {}


@pytest.mark.parametrize(
    ("adversary", "check", "is_decisive", "groups"),
    [
        ("system-text", "prompt-added", True, ("prompt-count",)),
        ("cache-by-prompt", "response-cache", True, ("cache", "entropy")),
        ("stop-ignored", "stop", False, ("stop",)),
        ("max-tokens-ignored", "max-tokens", False, ("max-tokens",)),
        ("usage-inflated", "usage", False, ("seed",)),
        ("model-renamed", "model-name", False, ("max-tokens",)),
        ("seed-ignored", "seed", False, ("seed",)),
    ],
)
def test_what_is_not_obeyed_is_found(
    adversary: str, check: str, is_decisive: bool, groups: tuple[str, ...]
) -> None:
    reading = read(adversary, ENDPOINT, *groups)
    assert found(reading) == {check: is_decisive}
    # what came back and what to do
    assert len(reading.misconfigurations[0].detail.split(". ")) >= 2


def test_added_text_is_measured_in_tokens() -> None:
    counts = dict(read("system-text", CHAT, "prompt-count").statistics)
    assert counts["prompt_surplus_tokens"] > 5


def test_ignored_seeds_explain_only_what_is_claimed_to_be_seeded() -> None:
    seeded = replace(ENDPOINT, sampler_profile="torch-cpu-exponential")
    assert found(read("seed-ignored", seeded, "seed")) == {"seed": True}


def answered(
    check: str, answer: Callable[[Probe, int], ProbeAnswer], endpoint: Endpoint = ENDPOINT
) -> Reading:
    """Return the reading of answers that a check's probes are given."""
    probes = [probe for probe in planned() if probe.group == check]
    return PREFLIGHT.read(
        endpoint,
        [Probed(probe=p, answer=answer(p, index)) for index, p in enumerate(probes)],
    )


def length(probe: Probe) -> int:
    return len(TOOLS.reference.tokenize_text(probe.prompt.text or ""))


def plain(**members: object) -> ProbeAnswer:
    return replace(ProbeAnswer(status=AnswerStatus.ANSWERED, text="x"), **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counted", "check", "is_decisive"),
    [
        (lambda num: 2 * num, "prompt-scale", False),
        (lambda num: num - 1, "prompt-missing", True),
        (lambda num: num + 1, "prompt-added", True),
    ],
)
def test_prompt_counts_are_explained(
    counted: Callable[[int], int], check: str, is_decisive: bool
) -> None:
    reading = answered("prompt-count", lambda p, _: plain(prompt_tokens=counted(length(p))))
    assert found(reading) == {check: is_decisive}


def test_counts_that_contradict_the_tokens_sent_back_are_a_bill() -> None:
    def answer(probe: Probe, _: int) -> ProbeAnswer:
        ids = TOOLS.reference.tokenize_text(probe.prompt.text or "")
        return plain(prompt_token_ids=ids, prompt_tokens=len(ids) + 40)

    assert found(answered("prompt-count", answer)) == {"prompt-usage": False}


def test_unstated_counts_are_noted_and_no_fault() -> None:
    reading = answered("prompt-count", lambda _p, _i: plain())
    assert found(reading) == {}
    assert "No answer states how many tokens its prompt had." in reading.notes


def test_one_token_whatever_the_seed_is_no_temperature_1() -> None:
    assert found(answered("entropy", lambda _p, _i: plain(token_ids=(5,)))) == {
        "temperature-1": True
    }


def test_two_answers_at_temperature_0_are_no_temperature_0() -> None:
    assert found(answered("greedy", lambda _p, index: plain(token_ids=(index,)))) == {
        "temperature-0": True
    }
    # one prompt alone may have met two models, which is no excuse
    assert found(answered("greedy", lambda _p, index: plain(token_ids=(index // 2 * index,)))) == {
        "temperature-0": False
    }


def position(chosen: float, *top: float) -> PositionLogprobs:
    return PositionLogprobs(
        chosen=TokenLogprob(token_id=10, logprob_nats=chosen),
        top=tuple(
            TokenLogprob(token_id=10 + index, logprob_nats=value) for index, value in enumerate(top)
        ),
    )


@pytest.mark.parametrize(
    ("positions", "check", "said"),
    [
        ([position(0.5, -1.0)], "logprobs-impossible", "above 0"),
        ([position(-0.1, -0.1, -0.2)], "logprobs-impossible", "more than 1"),
        ([position(-1.0, -2.0)], "logprobs-impossible", "two of them"),
        ([position(-3.0, -3.0, -2.5, -1.0)], "logprobs-impossible", "not in order"),
        ([], "logprobs-missing", "none came back"),
        ([position(-1.0, -1.0)] * 2, "logprobs-foreign", "other tokens"),
    ],
)
def test_numbers_that_are_no_log_probabilities(
    positions: Sequence[PositionLogprobs], check: str, said: str
) -> None:
    reading = answered("logprobs", lambda _p, _i: plain(token_ids=(10,), logprobs=tuple(positions)))
    assert list(found(reading)) == [check]
    assert said in reading.misconfigurations[0].detail


def test_log_probabilities_of_other_tokens_excuse_nothing() -> None:
    reading = answered(
        "logprobs", lambda _p, _i: plain(token_ids=(11,), logprobs=(position(-1.0, -1.0),))
    )
    assert found(reading) == {"logprobs-foreign": False}


def test_another_upstream_is_decisive_and_an_unnamed_one_is_noted() -> None:
    pinned = replace(ENDPOINT, expected_upstream="pinned")
    assert found(answered("stop", lambda _p, _i: plain(upstream="elsewhere"), pinned)) == {
        "upstream": True
    }
    assert found(answered("stop", lambda _p, _i: plain(upstream="pinned"), pinned)) == {}
    unnamed = answered("stop", lambda _p, _i: plain(), pinned)
    assert found(unnamed) == {} and "could not be checked" in "".join(unnamed.notes)


def test_a_longer_name_of_the_same_model_is_no_finding() -> None:
    named = answered("stop", lambda _p, _i: plain(served_model="vendor/Example-instruct"))
    assert found(named) == {}


def test_nothing_answered_is_no_pass() -> None:
    reading = answered("stop", lambda _p, _i: ProbeAnswer(status=AnswerStatus.TIMED_OUT))
    assert reading.status is ReadingStatus.TOO_LITTLE and reading.reason
