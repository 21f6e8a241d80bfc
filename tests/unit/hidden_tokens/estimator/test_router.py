import json

import pytest

from audit.errors import CalibrationError
from audit.hidden_tokens.estimator.router import NUM_BUCKETS, Router, train_router
from tests.support.hidden_tokens import load_rows
from tests.unit.hidden_tokens.estimator.made_up import example_rows


def example_router() -> Router:
    rows = example_rows("train", 100)
    return train_router([row.prompt for row in rows], [row.domain for row in rows])


def test_new_prompts_go_to_their_domain() -> None:
    router = example_router()

    for row in example_rows("test", 40):
        assert router.route(row.prompt).domain == row.domain


def test_it_abstains_where_no_domain_is_likely_enough() -> None:
    rows = example_rows("train", 100)
    router = train_router(
        [row.prompt for row in rows], [row.domain for row in rows], least_probability=0.99
    )

    route = router.route("xyzzy")

    assert route.domain is None
    assert 0.5 <= route.probability < 0.99


@pytest.mark.parametrize("prompt", ["", " ", "\ud800", "日本語"])
def test_any_prompt_gets_a_probability(prompt: str) -> None:
    assert 0.0 < example_router().route(prompt).probability <= 1.0


def test_a_router_is_the_same_after_a_file_and_after_training_again() -> None:
    router = example_router()

    assert Router.from_json(json.loads(json.dumps(router.to_json()))) == router
    assert example_router() == router


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_buckets": 5}, "router: made by another version"),
        ({"domains": "medical"}, "router: domains must be a list of texts"),
        ({"biases_D": [1.0]}, "router: biases_D must be"),
        ({"weights_DB": [["x"]]}, "router: weights_DB must be numbers"),
        ({"weights_DB": [[float("nan")] * NUM_BUCKETS] * 2}, "router: weights_DB must be"),
        ({"least_probability": None}, "router: least_probability must be a finite number"),
    ],
)
def test_a_spoiled_router_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(CalibrationError, match=text):
        Router.from_json({**example_router().to_json(), **change})


def test_a_router_needs_prompts() -> None:
    with pytest.raises(CalibrationError, match="needs prompts"):
        train_router([], [])


def test_real_prompts_of_new_questions_are_routed() -> None:
    trained = load_rows("billed_train")[::8]
    router = train_router([r["prompt"] for r in trained], [r["domain"] for r in trained])
    pairs = sorted({(r["prompt"], r["domain"]) for r in load_rows("billed_calib")})[::4]

    routes = [(router.route(prompt).domain, domain) for prompt, domain in pairs]
    routed = [(found, domain) for found, domain in routes if found is not None]

    assert len(routed) >= 0.9 * len(pairs)
    assert sum(found == domain for found, domain in routed) >= 0.9 * len(routed)
