"""Each trick over real HTTP, beside the true model and the cheap one by themselves."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from audit.sweeps.adversaries import drift, tricks
from audit.sweeps.adversaries.exchange import Answered, Ask, Behaviour
from tests.support.endpoints import (
    MODEL_NAME,
    TEXT,
    StillClock,
    example_copies,
    example_tools,
    serving,
)
from tests.support.example_model import example_reference

CHEAP = "sibling"

PROMPTS = [f"{TEXT} number {i}" for i in range(40)]

EIGHT_TOKENS = {"temperature": 0.0, "max_tokens": 8}


def alone(copy: str, prompt: str = TEXT, **members: object) -> list[int]:
    """Return what one copy answers by itself."""
    with serving(example_tools().engine(copy, batch_size=1)) as client:
        return client.token_ids(prompt, **members)


def answered_by(copy: str, choice: dict[str, Any]) -> bool:
    """Return whether the first token's log-probability is exactly that of a copy."""
    prompt, ids = tuple(choice["prompt_token_ids"]), tuple(choice["token_ids"])
    expected = example_copies()[copy].top_logprobs(prompt, ids[:1], 1)
    stated: float = choice["logprobs"]["token_logprobs"][0]
    return stated == float(expected.claimed_logprob_nats_R[0])


def mixed(share: drift.Share, unit: tricks.Unit) -> Behaviour:
    """Return the true model with a share of requests sent to the sibling."""
    tools = example_tools()
    true, cheap = tools.engine(batch_size=1), tools.engine(CHEAP, batch_size=1)
    return tricks.Diverted(true, cheap, share=share, unit=unit, seed=b"mixture")


@pytest.mark.parametrize("copy", ["int4-g32", "fp8-e4m3", "int8-g32", "kv-fp8-e4m3"])
def test_a_rounded_copy_is_what_answers(copy: str) -> None:
    with serving(example_tools().engine(copy, batch_size=1)) as client:
        choices = [client.complete(p, max_tokens=1, logprobs=1)["choices"][0] for p in PROMPTS[:3]]
    assert all(answered_by(copy, choice) for choice in choices)
    assert not all(answered_by("bfloat16", choice) for choice in choices)


def test_independent_mixture_diverts_its_share() -> None:
    with serving(mixed(drift.constant(0.3), tricks.each_request)) as client:
        choices = [client.complete(p, max_tokens=1, logprobs=0)["choices"][0] for p in PROMPTS]
    found = [answered_by(CHEAP, choice) for choice in choices]
    assert found == [not answered_by("bfloat16", choice) for choice in choices]
    # binomial(40, 0.3) lies outside with probability below 1e-3
    assert 2 < sum(found) < 23


def test_mixture_is_the_same_in_any_order_and_repeats_draw_anew() -> None:
    def fates(order: list[str]) -> dict[str, list[int]]:
        with serving(mixed(drift.constant(0.5), tricks.each_request)) as client:
            return {prompt: client.token_ids(prompt) for prompt in order}

    assert fates(PROMPTS[:12]) == fates(PROMPTS[11::-1])
    with serving(mixed(drift.constant(0.5), tricks.each_request)) as client:
        again = {tuple(client.token_ids(PROMPTS[0])) for _ in range(12)}
    assert again == {tuple(alone("bfloat16", PROMPTS[0])), tuple(alone(CHEAP, PROMPTS[0]))}


def test_blocks_share_one_fate() -> None:
    with serving(mixed(drift.constant(0.5), tricks.count_block(3))) as client:
        answers = [tuple(client.token_ids()) for _ in range(30)]
    blocks = [set(answers[start : start + 3]) for start in range(0, 30, 3)]
    assert all(len(block) == 1 for block in blocks)
    assert len(set.union(*blocks)) == 2


def test_hours_share_one_fate() -> None:
    clock = StillClock()
    behaviour = mixed(drift.constant(0.5), tricks.clock_block(3600.0))
    hours: list[set[tuple[int, ...]]] = []
    with serving(behaviour, clock_s=clock) as client:
        for hour in range(12):
            clock.now_s = hour * 3600.0
            first = tuple(client.token_ids())
            clock.now_s += 3599.0
            hours.append({first, tuple(client.token_ids())})
    assert all(len(hour) == 1 for hour in hours)
    assert len(set.union(*hours)) == 2


def test_callers_share_one_fate() -> None:
    asked = {"model": MODEL_NAME, "prompt": TEXT, "return_token_ids": True, **EIGHT_TOKENS}
    with serving(mixed(drift.constant(0.5), tricks.each_caller)) as client:

        def ids(key: int) -> tuple[int, ...]:
            response = client.post(
                "/completions", asked, headers={"Authorization": f"Bearer {key}"}
            )
            return tuple(response.json()["choices"][0]["token_ids"])

        fates = [{ids(key) for _ in range(2)} for key in range(12)]
    assert all(len(fate) == 1 for fate in fates)
    assert len(set.union(*fates)) == 2


def test_evasion_is_honest_to_one_token_requests_only() -> None:
    tools = example_tools()
    true, cheap = tools.engine(batch_size=1), tools.engine(CHEAP, batch_size=1)
    with serving(tricks.Evading(true, cheap, is_test=tricks.wants_one_token)) as client:
        assert client.token_ids(max_tokens=1) == alone("bfloat16", max_tokens=1)
        assert client.token_ids(max_tokens=9) == alone(CHEAP, max_tokens=9)


def test_evasion_knows_probes_by_their_looks() -> None:
    tools = example_tools()
    true, cheap = tools.engine(batch_size=1), tools.engine(CHEAP, batch_size=1)
    honest, sibling = alone("bfloat16"), alone(CHEAP)
    prompt = list(example_reference("bfloat16").tokenize_text(TEXT))
    with serving(tricks.Evading(true, cheap, is_test=tricks.looks_like_probe)) as client:
        assert client.token_ids(logprobs=0) == client.token_ids(prompt) == honest
        assert client.token_ids() == sibling


def test_evasion_knows_published_prompts() -> None:
    tools = example_tools()
    true, cheap = tools.engine(batch_size=1), tools.engine(CHEAP, batch_size=1)
    known = tricks.is_known(frozenset({TEXT}))
    with serving(tricks.Evading(true, cheap, is_test=known)) as client:
        assert client.token_ids() == alone("bfloat16")
        assert client.token_ids(PROMPTS[0]) == alone(CHEAP, PROMPTS[0])
        said = client.chat(TEXT)["choices"][0]["token_ids"]
        assert client.chat(f"{TEXT}!")["choices"][0]["token_ids"] != said


@pytest.mark.parametrize(("with_seed", "num_answers"), [(False, 1), (True, 6)])
def test_cache_keeps_answers(with_seed: bool, num_answers: int) -> None:
    engine = example_tools().engine(batch_size=1)
    with serving(tricks.Cached(engine, with_seed=with_seed)) as client:
        hot = {"temperature": 1.2, "max_tokens": 12}
        answers = {tuple(client.token_ids(seed=seed, **hot)) for seed in range(6)}
        unseeded = client.all_at_once([lambda: tuple(client.token_ids(**hot)) for _ in range(4)])
        assert client.token_ids(PROMPTS[0]) != client.token_ids(PROMPTS[1])
    assert len(answers) == num_answers
    assert len(set(unseeded)) == 1


def test_cache_does_not_keep_refusals() -> None:
    with serving(tricks.Cached(example_tools().engine(), with_seed=True)) as client:
        bad = {"model": MODEL_NAME, "prompt": [99999], "max_tokens": 1}
        assert [client.post("/completions", bad).status_code for _ in range(2)] == [400, 400]


def test_retuned_temperature_draws_as_the_hotter_one() -> None:
    asked = {"seed": 3, "max_tokens": 10}
    with serving(
        tricks.Rewritten(example_tools().engine(batch_size=1), tricks.retuned(1.15))
    ) as client:
        seen = [client.token_ids(p, temperature=0.8, **asked) for p in PROMPTS[:4]]
        assert client.token_ids() == alone("bfloat16")
    with serving(example_tools().engine(batch_size=1)) as true:
        hotter = [true.token_ids(p, temperature=0.8 * 1.15, **asked) for p in PROMPTS[:4]]
        stated = [true.token_ids(p, temperature=0.8, **asked) for p in PROMPTS[:4]]
    assert seen == hotter != stated


def test_text_is_cheap_and_logprobs_are_the_true_models() -> None:
    tools = example_tools()
    cheap, true = tools.engine(CHEAP, batch_size=1), tools.engine(batch_size=1)
    with serving(tricks.Laundered(cheap, true=true)) as client:
        choice = client.complete(logprobs=2)["choices"][0]
        assert client.token_ids() == alone(CHEAP)
    assert choice["token_ids"] == alone(CHEAP)
    prompt, ids = tuple(choice["prompt_token_ids"]), tuple(choice["token_ids"])
    expected = example_reference("bfloat16").top_logprobs(prompt, ids, 2)
    assert choice["logprobs"]["token_logprobs"] == expected.claimed_logprob_nats_R.tolist()
    greedy = [max(top, key=lambda t: top[t]) for top in choice["logprobs"]["top_logprobs"]]
    assert greedy != choice["logprobs"]["tokens"]


def test_usage_is_inflated() -> None:
    behaviour = tricks.Restated(example_tools().engine(), tricks.inflated(1.3))
    with serving(behaviour) as client:
        body = client.complete(max_tokens=10)
        one = client.complete(max_tokens=1)
    assert (len(body["choices"][0]["token_ids"]), body["usage"]["completion_tokens"]) == (10, 13)
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 13
    assert one["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("hides", [False, True])
def test_text_is_put_before_prompts(hides: bool) -> None:
    engine = example_tools().engine(batch_size=1)
    reference = example_reference("bfloat16")
    text = "Answer in rhymes only. "
    with serving(tricks.Injected(engine, text=text, tokens=engine, hides=hides)) as client:
        body = client.complete()
        by_ids = client.complete(list(reference.tokenize_text(TEXT)))
        chat = client.chat("Hello")
    plain, longer = reference.tokenize_text(TEXT), reference.tokenize_text(text + TEXT)
    assert body["choices"][0]["token_ids"] == alone("bfloat16", text + TEXT)
    assert body["choices"][0]["prompt_token_ids"] == list(plain if hides else longer)
    assert body["usage"]["prompt_tokens"] == len(plain if hides else longer)
    assert (by_ids["usage"]["prompt_tokens"] == len(plain)) is hides
    said = [{"role": "user", "content": "Hello"}]
    if not hides:
        said.insert(0, {"role": "system", "content": text})
    assert chat["prompt_token_ids"] == list(reference.tokenize_messages(said))


def test_other_template_changes_the_prompt() -> None:
    behaviour = tricks.Rewritten(example_tools().engine(), tricks.other_template)
    with serving(behaviour) as client:
        body = client.chat("Hello")
        assert client.token_ids() == alone("bfloat16")
    expected = example_reference("bfloat16").tokenize_text("### User:\nHello\n\n### Assistant:\n")
    assert body["prompt_token_ids"] == list(expected)
    assert body["object"] == "chat.completion"


def test_limits_stops_and_seeds_are_ignored() -> None:
    def behaviour(change: tricks.Change) -> Behaviour:
        return tricks.Rewritten(example_tools().engine(batch_size=1), change)

    with serving(behaviour(tricks.at_least_tokens(12))) as client:
        assert len(client.token_ids(max_tokens=4, ignore_eos=True)) == 12
        assert len(client.token_ids(max_tokens=14, ignore_eos=True)) == 14
    with serving(behaviour(tricks.without_stop)) as client:
        whole = client.complete()["choices"][0]["text"]
        assert client.complete(stop=[whole[2:4]])["choices"][0]["text"] == whole
    with serving(behaviour(tricks.without_seed())) as client:
        same = {tuple(client.token_ids(temperature=1.0, seed=1)) for _ in range(4)}
        assert len(same) > 1
        # another seed is the next repeat, not the first one again
        other = {tuple(client.token_ids(temperature=1.0, seed=seed)) for seed in range(2, 8)}
        assert len(same | other) >= 8


def test_names_are_told_as_wished() -> None:
    engine = example_tools().engine()
    both = tricks.Restated(tricks.Restated(engine, tricks.named("b")), tricks.served_as("other"))
    with serving(both, upstream="a") as client:
        body = client.complete()
    assert (body["provider"], body["model"]) == ("b", "other")
    with serving(engine, upstream="a") as client:
        assert client.complete()["provider"] == "a"


SHARES: list[tuple[Callable[[], drift.Share], list[float]]] = [
    (lambda: drift.step(2, position=drift.by_count), [0, 0, 1, 1, 1, 1]),
    (lambda: drift.ramp(1, 3, position=drift.by_count), [0, 0, 0.5, 1, 1, 1]),
    (lambda: drift.blip(2, 4, position=drift.by_count), [0, 0, 1, 1, 0, 0]),
    (lambda: drift.alternating(2, position=drift.by_count), [0, 0, 1, 1, 0, 0]),
    (lambda: drift.constant(0.25), [0.25] * 6),
]


@pytest.mark.parametrize(("make", "expected"), SHARES)
def test_shares_move_along_requests(make: Callable[[], drift.Share], expected: list[float]) -> None:
    found: list[float] = []

    class Watched:
        """Passes requests on, and notes the share that each one meets."""

        def __init__(self) -> None:
            self.share, self.engine = make(), example_tools().engine()

        async def answer(self, ask: Ask) -> Answered:
            found.append(self.share(ask))
            return await self.engine.answer(ask)

    with serving(Watched()) as client:
        for _ in expected:
            client.token_ids(max_tokens=1)
    assert all(math.isclose(a, b) for a, b in zip(found, expected, strict=True))


def test_step_by_clock_swaps_the_model() -> None:
    clock = StillClock()
    behaviour = mixed(drift.step(100.0, position=drift.by_clock), tricks.each_request)
    with serving(behaviour, clock_s=clock) as client:
        before = [client.token_ids() for _ in range(3)]
        clock.now_s = 100.0
        after = [client.token_ids() for _ in range(3)]
    assert (before, after) == ([alone("bfloat16")] * 3, [alone(CHEAP)] * 3)
