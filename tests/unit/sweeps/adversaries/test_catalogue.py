"""The catalogue: every adversary serves, and the honest ones are honest."""

import re
from functools import partial

import pytest

from audit.errors import ConfigurationError
from audit.sweeps.adversaries.adversary import Adversary, AdversaryKind, AdversaryTools
from audit.sweeps.adversaries.catalogue import CATALOGUE, find_adversary
from tests.support.endpoints import MODEL_NAME, TEXT, example_tools, serving
from tests.support.example_model import example_reference

NAMES = [adversary.name for adversary in CATALOGUE]


def test_names_are_unique_and_plain() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in NAMES)
    assert {adversary.kind for adversary in CATALOGUE} == set(AdversaryKind)


@pytest.mark.parametrize("adversary", CATALOGUE, ids=NAMES)
def test_every_adversary_answers_both_routes(adversary: Adversary) -> None:
    behaviour = adversary.build(example_tools(known_prompts=frozenset({TEXT})))
    with serving(behaviour, upstream="pinned") as client:
        completion = client.complete(logprobs=1, temperature=1.0, seed=1)
        chat = client.chat("Hello", logprobs=True, top_logprobs=1, max_tokens=2)
    assert completion["choices"][0]["token_ids"]
    assert chat["choices"][0]["logprobs"]["content"]
    assert completion["provider"] == (
        "elsewhere" if adversary.name == "upstream-other" else "pinned"
    )


@pytest.mark.parametrize("adversary", [a for a in CATALOGUE if a.is_honest], ids=lambda a: a.name)
def test_honest_ones_draw_what_the_model_draws(adversary: Adversary) -> None:
    """Near ties alone may fall the other way: at least 27 of 30 one-token answers agree."""
    reference = example_reference("float32")
    prompts = [f"{TEXT} number {i}, or" for i in range(30)]
    with serving(adversary.build(example_tools())) as client:
        calls = [partial(client.token_ids, prompt, max_tokens=1) for prompt in prompts]
        found = client.all_at_once(calls)
    best = [int(reference.survey(reference.tokenize_text(p)).best_token_T[-1]) for p in prompts]
    assert sum(ids == [token] for ids, token in zip(found, best, strict=True)) >= 27


def test_fresh_behaviours_share_nothing() -> None:
    cache = find_adversary("cache-by-prompt")
    answers = []
    for seed in (1, 2):
        with serving(cache.build(example_tools())) as client:
            answers.append(client.token_ids(temperature=1.2, seed=seed, max_tokens=24))
    assert answers[0] != answers[1]


def test_unknown_names_and_missing_copies_are_told() -> None:
    with pytest.raises(ConfigurationError, match="no adversary is called 'x'; known are: honest"):
        find_adversary("x")
    tools = AdversaryTools(copies={"bfloat16": example_reference("bfloat16")}, seed=b"x")
    with pytest.raises(ConfigurationError, match="needs the model copy 'sibling'"):
        find_adversary("sibling").build(tools)


def test_callers_keys_are_not_kept() -> None:
    behaviour = find_adversary("mixture-sibling-50-key").build(example_tools())
    with serving(behaviour) as client:
        body = {"model": MODEL_NAME, "prompt": TEXT, "max_tokens": 1}
        response = client.post("/completions", body, headers={"Authorization": "Bearer secret-7"})
    assert response.status_code == 200
    assert "secret-7" not in response.text
