"""A field that may change the sampling is named as unsupported; harmless ones are not."""

import pytest

from audit.codec.sampling_fields import HARMLESS, MAX_TOKENS_NAMES, NEUTRAL_VALUES, read_sampling
from audit.records import SamplingRequest


def test_an_unknown_field_is_unsupported() -> None:
    assert read_sampling({"no_such_parameter": 1, "guided_json": {}}).unsupported == (
        "guided_json",
        "no_such_parameter",
    )


def test_harmless_fields_are_ignored_whatever_they_hold() -> None:
    assert read_sampling({name: [1, {"x": 2}] for name in HARMLESS}) == SamplingRequest()


def test_null_means_not_stated() -> None:
    names = [*NEUTRAL_VALUES, *HARMLESS, *MAX_TOKENS_NAMES, "temperature", "seed", "unknown"]
    assert read_sampling(dict.fromkeys(names)) == SamplingRequest()


@pytest.mark.parametrize("name", NEUTRAL_VALUES)
def test_a_parameter_is_supported_at_its_neutral_values_only(name: str) -> None:
    for value in NEUTRAL_VALUES[name]:
        found = read_sampling({name: value})
        assert (found.unsupported, found.stated_neutral) == ((), (name,))
    for value in (17, "other", {"a": 1}, [17]):
        found = read_sampling({name: value})
        assert (found.unsupported, found.stated_neutral) == ((name,), ())


@pytest.mark.parametrize(("name", "value"), [("n", True), ("min_p", False), ("mirostat", False)])
def test_true_and_false_are_no_neutral_numbers(name: str, value: bool) -> None:
    assert read_sampling({name: value}).unsupported == (name,)


def test_neutral_numbers_may_be_written_as_fractions() -> None:
    assert read_sampling({"n": 1.0, "min_p": 0.0, "repetition_penalty": 1}).unsupported == ()


@pytest.mark.parametrize("name", MAX_TOKENS_NAMES)
def test_every_name_of_the_token_limit_is_read(name: str) -> None:
    assert read_sampling({name: 7}).max_tokens == 7


def test_whole_fractions_are_integers() -> None:
    found = read_sampling({"top_k": 5.0, "seed": -1.0, "temperature": 1})
    assert (found.top_k, found.seed, found.temperature) == (5, -1, 1.0)
