"""Honest traffic that the reference makes itself: its variants, its requests, its replay."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from audit.errors import ConfigurationError
from audit.honest import (
    ARRANGEMENTS,
    FILTERS,
    MAX_PROMPT_TOKENS,
    TEMPERATURES,
    HonestTraffic,
    NumericVariant,
    numeric_variants,
)
from audit.ports import Reference
from audit.records import Measurement
from reference_runner.errors import BadSequence, CheckpointError
from reference_runner.records import GenerationRequest
from tests.support.fake_reference import FakeReference
from tests.support.measurements import PROFILE, info_of

VARIANT = NumericVariant(precision="bfloat16", attention="sdpa", batch_size=4)
PROMPTS = ["a bb ccc", "dddd", "eeeee ffffff"] * 5


@dataclass(slots=True)
class FakeGenerator:
    """Answers the n-th request with n tokens' worth of its number, and remembers what was asked."""

    batches: list[tuple[int, ...]] = field(default_factory=list)
    requests: list[GenerationRequest] = field(default_factory=list)
    providers: list[Reference] = field(default_factory=list)

    def __call__(
        self, provider: Reference, requests: Sequence[GenerationRequest], batch_size: int
    ) -> list[tuple[int, ...]]:
        self.providers.append(provider)
        self.batches.append((len(requests), batch_size))
        first = len(self.requests)
        self.requests.extend(requests)
        return [(first + i,) * min(3, r.num_tokens) for i, r in enumerate(requests)]


@dataclass(slots=True)
class Setting:
    """A traffic maker with fakes all round."""

    num_tokens: int = 50
    seed: int = 0
    reference: FakeReference = field(default_factory=FakeReference)
    generate: FakeGenerator = field(default_factory=FakeGenerator)
    opened: list[tuple[str, str]] = field(default_factory=list)
    provider: FakeReference = field(default_factory=FakeReference)

    def open_variant(self, precision: str, attention: str) -> Reference:
        self.opened.append((precision, attention))
        return self.provider

    def measure(
        self, prompts: Sequence[str] = PROMPTS, variant: NumericVariant = VARIANT
    ) -> list[Measurement]:
        traffic = HonestTraffic(
            open_variant=self.open_variant,
            generate=self.generate,
            profile_id=PROFILE,
            num_tokens=self.num_tokens,
            seed=self.seed,
        )
        return list(traffic.measure(self.reference, variant, prompts))


def test_variants_are_named_by_precision_kernel_and_batch() -> None:
    names = [v.name for v in numeric_variants("bfloat16", ())]
    assert names == [
        "bfloat16-sdpa-batch-1",
        "bfloat16-sdpa-batch-16",
        "bfloat16-eager-batch-1",
        "bfloat16-eager-batch-16",
    ]
    assert len(names) == len(ARRANGEMENTS)


def test_tolerated_precisions_are_honest_variants_and_the_own_one_is_no_other() -> None:
    names = [v.name for v in numeric_variants("bfloat16", ("float16", "bfloat16", "float32"))]
    assert names[4:] == ["float16-sdpa-batch-16", "float32-sdpa-batch-16"]
    assert len(set(names)) == len(names)


def test_what_is_replayed_is_what_was_generated() -> None:
    setting = Setting()
    found = setting.measure()
    requests = setting.generate.requests
    assert len(found) == len(requests) == len(PROMPTS)
    for index, (measured, request) in enumerate(zip(found, requests, strict=True)):
        sequence = measured.plan.sequence
        assert sequence.output_token_ids == (index,) * 3
        assert sequence.prompt_token_ids == request.prompt_token_ids
        assert sequence.prompt_token_ids == setting.reference.tokenize_text(PROMPTS[index])
        assert sequence.sampling == request.sampling
        assert sequence.profile_ids == (request.profile_id,) == (PROFILE,)
        assert [e.profile_id for e in measured.evidences] == [PROFILE]
        assert measured.info == setting.reference.info


def test_honest_exchanges_rest_on_nothing_assumed_or_inferred() -> None:
    for measured in Setting().measure():
        assert not measured.plan.ids_inferred
        assert measured.plan.assumed_parameters == () == measured.plan.notes


def test_the_variant_answers_and_the_reference_replays() -> None:
    setting = Setting(reference=FakeReference(info=info_of(precision="float32")))
    found = setting.measure()
    assert setting.opened == [("bfloat16", "sdpa")]
    assert all(p is setting.provider for p in setting.generate.providers)
    assert {m.info.precision for m in found} == {"float32"}


def test_requests_are_answered_in_batches_of_the_variant() -> None:
    setting = Setting()
    setting.measure()
    assert setting.generate.batches == [(4, 4), (4, 4), (4, 4), (3, 4)]


def test_every_temperature_meets_every_filter() -> None:
    number = len(TEMPERATURES) * len(FILTERS)
    setting = Setting()
    setting.measure()
    sampling = [r.sampling for r in setting.generate.requests]
    settings = {(s.temperature, s.top_k, s.top_p) for s in sampling[:number]}
    assert settings == {(t, k, p) for t in TEMPERATURES for k, p in FILTERS}
    assert all(s.seed is not None and s.seed > 0 for s in sampling)


def test_seeds_differ_between_requests_variants_and_runs_but_not_between_repeats() -> None:
    def seeds(setting: Setting, variant: NumericVariant = VARIANT) -> list[int | None]:
        setting.measure(variant=variant)
        return [r.sampling.seed for r in setting.generate.requests]

    first = seeds(Setting())
    assert len(set(first)) == len(first)
    assert seeds(Setting()) == first
    assert not set(seeds(Setting(seed=1))) & set(first)
    other = NumericVariant(precision="bfloat16", attention="eager", batch_size=4)
    assert not set(seeds(Setting(), other)) & set(first)


def test_a_long_prompt_is_cut() -> None:
    setting = Setting()
    setting.measure(["w " * 1000])
    (request,) = setting.generate.requests
    assert len(request.prompt_token_ids) == MAX_PROMPT_TOKENS
    assert request.num_tokens == 50


def test_an_answer_ends_where_the_model_does() -> None:
    positions = FakeReference().info.max_positions
    setting = Setting(num_tokens=10 * positions)
    setting.measure(["a b c", "w " * 1000])
    assert [r.num_tokens for r in setting.generate.requests] == [
        positions - 3,
        positions - MAX_PROMPT_TOKENS,
    ]


def test_empty_prompts_are_left_out() -> None:
    setting = Setting()
    found = setting.measure(["", "a b", "   "])
    assert [m.plan.sequence.prompt_token_ids for m in found] == [(1, 1)]


class RefusingReference(FakeReference):
    """Refuses one text."""

    def tokenize_text(self, text: str) -> tuple[int, ...]:
        """Return one id per word, of all texts but one."""
        if text == "bad":
            raise BadSequence("invalid_exchange", "not a text")
        return FakeReference.tokenize_text(self, text)


def test_a_prompt_that_cannot_be_tokenized_is_left_out() -> None:
    setting = Setting(reference=RefusingReference())
    assert len(setting.measure(["bad", "a b", "bad"])) == 1


@pytest.mark.parametrize("prompts", [[], [""], ["", " "]])
def test_without_any_prompt_there_is_nothing_to_make(prompts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="no prompt holds any token"):
        Setting().measure(prompts)


def test_a_variant_that_cannot_be_loaded_is_an_error() -> None:
    def refuse(precision: str, attention: str) -> Reference:
        raise CheckpointError("no eager kernel")

    traffic = HonestTraffic(
        open_variant=refuse, generate=FakeGenerator(), profile_id=PROFILE, num_tokens=5
    )
    with pytest.raises(CheckpointError, match="no eager kernel"):
        list(traffic.measure(FakeReference(), VARIANT, PROMPTS))
