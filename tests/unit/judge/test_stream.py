"""A provider's evidence: any look may stop it, order does not matter, spoiled state is refused."""

import hashlib
import json
import math
from dataclasses import fields, replace
from functools import cache
from random import Random

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audit.errors import CorruptState
from audit.findings import Growth
from audit.judge.alternatives import NUM_ALTERNATIVES, EvidenceLaw, mix
from audit.judge.bins import RateBounds, bin_of, bound_rates
from audit.judge.calls import FAR_MARGIN_STEPS
from audit.judge.eprocess import weigh
from audit.judge.noise import LEVELS_LOGITS_G
from audit.judge.stream import MAX_RECENT, STAKES_S, StreamState, add_exchange, empty_state
from audit.judge.stream_file import state_from_json, state_to_json
from tests.support.measurements import calls_of, counts_of, outcomes_at_the_bound

THRESHOLD = -math.log(0.0075)
NAME = "sha256:" + "12" * 32

log_es = st.lists(st.floats(-5.0, 6.0), min_size=NUM_ALTERNATIVES, max_size=NUM_ALTERNATIVES)


def growth(
    log_e_nats_K: list[float] | None = None, digest: str = "q", *, is_tell: bool = False
) -> Growth:
    log_e_K = np.asarray(log_e_nats_K or [0.0] * NUM_ALTERNATIVES)
    return Growth(
        num_tokens=100,
        num_mismatches=3,
        log_e_nats_K=tuple(float(x) for x in log_e_K),
        log_e_nats=float(mix(log_e_K[:, None])[0]),
        log_likelihood_G=tuple(float(x) for x in -np.linspace(0.0, 9.0, len(LEVELS_LOGITS_G))),
        is_tell=is_tell,
        exchange_digest=digest,
        honest_noise_logits=0.02,
    )


def after(*growths: Growth, threshold: float = THRESHOLD) -> StreamState:
    state = empty_state()
    for one in growths:
        state = add_exchange(state, one, threshold)
    return state


def against(count: int, nats: float = 2.0) -> list[Growth]:
    return [growth([nats] * NUM_ALTERNATIVES, str(i), is_tell=True) for i in range(count)]


def assert_same(one: StreamState, other: StreamState) -> None:
    for field in fields(StreamState):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, its)
        else:
            assert mine == its, field.name


def test_a_provider_begins_without_evidence() -> None:
    state = empty_state()
    assert state.log_e_nats == pytest.approx(0.0)
    assert state.noise.low_logits == 0.0 and state.noise.high_logits is None


def test_exchanges_add_up() -> None:
    state = after(*against(3))
    assert (state.num_exchanges, state.num_tokens, state.num_tells) == (3, 300, 3)
    np.testing.assert_allclose(state.log_e_nats_K, 6.0)
    assert (state.runs.n11, state.runs.first) == (2, True)
    staked = [math.log(1.0 - s + s * math.exp(2.0)) * 3 for s in STAKES_S]
    np.testing.assert_allclose(state.log_stakes_nats_S, staked)
    carried, spread = math.exp(6.0), np.mean(np.exp(staked))
    assert state.log_e_nats == pytest.approx(math.log((carried + spread) / 2))


def test_a_repeated_question_adds_nothing() -> None:
    first = after(growth([1.0] * NUM_ALTERNATIVES, "a"), growth(None, "b"))
    again = add_exchange(first, growth([9.0] * NUM_ALTERNATIVES, "a", is_tell=True), THRESHOLD)
    assert again.num_repeated == 1
    assert_same(replace(again, num_repeated=0), first)


def test_a_question_asked_long_ago_may_count_again() -> None:
    state = replace(empty_state(), recent=tuple(str(i) for i in range(MAX_RECENT)))
    state = add_exchange(state, growth(None, "new"), THRESHOLD)
    assert len(state.recent) == MAX_RECENT and state.recent[-1] == "new"
    assert add_exchange(state, growth(None, "0"), THRESHOLD).num_exchanges == 2
    assert add_exchange(state, growth(None, "1"), THRESHOLD).num_exchanges == 1


def test_a_fail_stays_with_the_exchange_it_came_with() -> None:
    state = after(*against(9))
    assert state.failed_at_exchange == 3
    for index in range(50):
        state = add_exchange(state, growth([-2.0] * NUM_ALTERNATIVES, f"x{index}"), THRESHOLD)
    assert state.log_e_nats < THRESHOLD
    assert state.failed_at_exchange == 3 and state.peak_log_e_nats >= 17.0


def test_the_evidence_at_the_threshold_fails() -> None:
    value = after(*against(4)).log_e_nats
    assert after(*against(4), threshold=value).failed_at_exchange == 4
    assert after(*against(4), threshold=value + 1e-9).failed_at_exchange is None


def test_rare_substitution_is_found_by_the_second_bet() -> None:
    good = [growth([-0.5] * NUM_ALTERNATIVES, f"g{i}") for i in range(95)]
    bad = [growth([4.5] * NUM_ALTERNATIVES, f"b{i}") for i in range(8)]
    state = after(*good, *bad)
    assert (state.log_e_nats_K < 0.0).all()
    assert state.failed_at_exchange is not None


@settings(max_examples=60, deadline=None)
@given(st.lists(log_es, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_exchanges_does_not_change_the_evidence(
    values: list[list[float]], rng: Random
) -> None:
    growths = [growth(log_e_K, str(i)) for i, log_e_K in enumerate(values)]
    shuffled = list(growths)
    rng.shuffle(shuffled)
    one, other = after(*growths), after(*shuffled)
    assert one.log_e_nats == pytest.approx(other.log_e_nats, abs=1e-9)
    assert one.noise == other.noise
    assert sorted(one.recent) == sorted(other.recent)


@settings(max_examples=60, deadline=None)
@given(st.lists(log_es, min_size=1, max_size=12))
def test_the_peak_is_the_largest_value_at_any_look(values: list[list[float]]) -> None:
    state, looks = empty_state(), [0.0]
    for index, log_e_K in enumerate(values):
        state = add_exchange(state, growth(log_e_K, str(index)), THRESHOLD)
        looks.append(state.log_e_nats)
    assert state.peak_log_e_nats == max(looks)
    crossed = [i for i, value in enumerate(looks) if value >= THRESHOLD]
    assert state.failed_at_exchange == (crossed[0] if crossed else None)


@cache
def sample_state() -> StreamState:
    mixed = [growth([0.3 * i - 1.0] * NUM_ALTERNATIVES, f"{i:016x}") for i in range(9)]
    state = after(*mixed, *against(4))
    return replace(state, num_repeated=2, substituted_share_low=0.125)


@pytest.mark.parametrize(
    "state", [empty_state(), after(growth()), after(*against(3))], ids=["empty", "one", "failed"]
)
def test_a_state_survives_its_text(state: StreamState) -> None:
    assert_same(state_from_json(state_to_json(state), stream_id=NAME), state)


def test_a_full_state_survives_its_text() -> None:
    state = sample_state()
    text = state_to_json(state)
    assert_same(state_from_json(text, stream_id=NAME), state)
    assert state_to_json(state_from_json(text, stream_id=NAME)) == text


def test_huge_evidence_survives_its_text() -> None:
    state = after(*against(5, nats=1e6))
    assert_same(state_from_json(state_to_json(state), stream_id=NAME), state)


@pytest.mark.parametrize("kind", ["raised", "replaced", "dropped", "doubled"])
def test_a_changed_character_is_refused_or_changes_nothing(kind: str) -> None:
    text = state_to_json(sample_state())
    rng = np.random.default_rng(len(kind))
    refused = 0
    for where in rng.choice(len(text), 80, replace=False):
        here = text[where]
        new = {
            "raised": chr(ord(here) + 1),
            "replaced": str(rng.choice(list('019.-e"[]{},:aN \\'))),
            "dropped": "",
            "doubled": here * 2,
        }[kind]
        changed = text[:where] + new + text[where + 1 :]
        try:
            found = state_from_json(changed, stream_id=NAME)
        except CorruptState as error:
            refused += 1
            assert NAME in str(error) and "it was left as it is" in str(error)
        else:
            assert_same(found, sample_state())
    assert refused >= 60


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "[" * 100_000, '{"format": NaN}', "\ud800", '{"a": 1e999}'],
    ids=["empty", "object", "list", "null", "nested", "nan", "surrogate", "infinite"],
)
def test_a_text_that_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(CorruptState, match="cannot be used"):
        state_from_json(text, stream_id=NAME)


def sealed(**changes: object) -> str:
    """Return a state with changes and the checksum that fits them."""
    body = json.loads(state_to_json(sample_state())) | changes
    del body["sha256"]
    digest = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    return json.dumps({"sha256": digest, **body})


def test_a_checksum_that_fits_is_accepted() -> None:
    assert_same(state_from_json(sealed(), stream_id=NAME), sample_state())


RUNS = {"n00": 0, "n01": 0, "n10": 0, "n11": 0, "first": None, "last": None}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": "inference-audit/stream/v2"}, "not of format"),
        ({"meaning": "00" * 32}, "weighs evidence differently"),
        ({"log_e_nats_K": [0.0]}, "finite numbers"),
        ({"log_e_nats_K": ["x"] * NUM_ALTERNATIVES}, "cannot be used"),
        ({"log_likelihood_G": None}, "cannot be used"),
        ({"num_tokens": "many"}, "cannot be used"),
        ({"failed_at_exchange": "never"}, "cannot be used"),
        ({"recent": 5}, "cannot be used"),
        ({"runs": {}}, "cannot be used"),
        ({"runs": RUNS | {"n01": -1}}, "counts of tells"),
        ({"runs": RUNS | {"first": 1}}, "counts of tells"),
    ],
)
def test_a_state_that_means_something_else_is_refused_though_its_checksum_fits(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(CorruptState, match=complaint):
        state_from_json(sealed(**changes), stream_id=NAME)


def bounds() -> RateBounds:
    counted = counts_of(0.2, 3000, 600) + counts_of(1.5, 3000, 60)
    return bound_rates((counted,), 0.01)


def test_an_honest_provider_at_the_very_bound_is_seldom_ever_failed() -> None:
    alpha, num_streams, num_exchanges, num_calls = 0.2, 250, 12, 60
    law, rng = EvidenceLaw(bounds()), np.random.default_rng(21)
    failed, moved = 0, 0.0
    for _ in range(num_streams):
        gap = np.exp(rng.uniform(np.log(0.02), np.log(60.0), num_exchanges * num_calls))
        here = bin_of(gap)
        far = bounds().far_B[here]
        near = np.where(gap < FAR_MARGIN_STEPS, bounds().mismatch_B[here] - far, 0.0)
        outcome = outcomes_at_the_bound(rng, gap, near, far)
        state = empty_state()
        for index in range(num_exchanges):
            part = slice(index * num_calls, (index + 1) * num_calls)
            weight = weigh(calls_of(gap[part], outcome[part]), law)
            one = replace(
                growth(None, str(index)),
                log_e_nats_K=tuple(float(x) for x in weight.log_e_nats_K),
                log_e_nats=weight.log_e_nats,
            )
            state = add_exchange(state, one, -math.log(alpha))
        failed += state.failed_at_exchange is not None
        moved += state.peak_log_e_nats
    assert failed <= stats.binom.ppf(0.999, num_streams, alpha)
    # evidence that never moved would fail nobody either
    assert moved / num_streams > 0.1
