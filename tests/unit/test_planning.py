"""A plan rests on what was stated; what would have to be guessed is no plan but a reason."""

from dataclasses import replace

import pytest

from audit.errors import CannotJudge
from audit.planning import plan_replay
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    ProviderClaims,
    Reason,
    ReplayPlan,
    SamplingRequest,
)
from tests.support.fake_reference import FakeReference, exchange_with

GPU, CPU, HF = "vllm-v2-murmur32", "vllm-cpu-splitmix64", "torch-cpu-exponential"
STATED = SamplingRequest(temperature=0.7, top_k=0, top_p=1.0, seed=5)
TRANSFORMERS = ProviderClaims(engine="transformers", device="cpu")
NOBODY = ProviderClaims()


def planned(
    exchange: Exchange | None = None,
    *,
    claim: Claim | None = None,
    profile: str | None = None,
    reference: FakeReference | None = None,
) -> ReplayPlan:
    request = AuditRequest(
        request_id="r", exchange=exchange or exchange_with(), claim=claim or Claim()
    )
    return plan_replay(request, reference or FakeReference(), profile)


def refused(exchange: Exchange, **others: object) -> CannotJudge:
    with pytest.raises(CannotJudge) as caught:
        planned(exchange, **others)  # type: ignore[arg-type]
    return caught.value


def test_a_fully_stated_exchange_needs_no_assumptions() -> None:
    plan = planned()
    sequence = plan.sequence
    assert sequence.prompt_token_ids == (1, 2) and sequence.output_token_ids == (3, 4)
    assert sequence.profile_ids == (CPU,)
    assert (sequence.sampling.temperature, sequence.sampling.seed) == (0.7, 5)
    assert plan.assumed_parameters == () and not plan.ids_inferred


@pytest.mark.parametrize(
    ("profile", "claimed", "provider", "expected"),
    [
        (HF, GPU, ProviderClaims(engine="vllm-cpu", engine_version="0.32.0"), (HF,)),
        (None, GPU, ProviderClaims(engine="vllm-cpu", engine_version="0.32.0"), (GPU,)),
        (None, None, TRANSFORMERS, (HF,)),
        (None, None, replace(TRANSFORMERS, system_fingerprint="vllm-0.32.0-abc"), (HF,)),
        (None, None, ProviderClaims(system_fingerprint="vllm-0.32.0-abc"), (GPU, CPU)),
        (None, None, ProviderClaims(engine="vllm", engine_version="0.32.0"), (GPU, CPU)),
    ],
)
def test_override_beats_claim_beats_engine_beats_fingerprint(
    profile: str | None,
    claimed: str | None,
    provider: ProviderClaims,
    expected: tuple[str, ...],
) -> None:
    plan = planned(
        exchange_with(provider=provider), claim=Claim(sampler_profile=claimed), profile=profile
    )
    assert plan.sequence.profile_ids == expected
    chosen = any(note.startswith("sampler chosen") for note in plan.notes)
    assert chosen is (profile is None and claimed is None)


def test_an_engine_that_nobody_named_is_no_reason_to_guess() -> None:
    error = refused(exchange_with(provider=NOBODY))
    assert error.reason is Reason.PROFILE_UNKNOWN and "--profile" in str(error)


def test_an_unknown_profile_is_named_with_the_known_ones() -> None:
    error = refused(exchange_with(), claim=Claim(sampler_profile="vllm-v9"))
    assert error.reason is Reason.PROFILE_UNKNOWN
    assert "'vllm-v9'" in str(error) and CPU in str(error)


def test_the_greedy_profile_cannot_explain_sampling() -> None:
    assert refused(exchange_with(), profile="greedy").reason is Reason.PROFILE_UNKNOWN


def test_without_noise_one_candidate_is_enough() -> None:
    sampling = SamplingRequest(temperature=0.0)
    provider = ProviderClaims(engine="vllm", engine_version="0.32.0")
    plan = planned(exchange_with(sampling=sampling, provider=provider))
    assert plan.sequence.profile_ids == (GPU,)
    assert plan.assumed_parameters == ()


def test_sampling_without_a_seed_cannot_be_replayed() -> None:
    error = refused(exchange_with(sampling=replace(STATED, seed=None)))
    assert error.reason is Reason.SEED_MISSING and "temperature 0.7" in str(error)


def test_seed_minus_one_is_no_seed_for_vllm_but_one_for_transformers() -> None:
    sampling = replace(STATED, seed=-1)
    assert refused(exchange_with(sampling=sampling)).reason is Reason.SEED_MISSING
    plan = planned(exchange_with(sampling=sampling, provider=TRANSFORMERS))
    assert plan.sequence.sampling.seed == -1


def test_vllm_raises_tiny_temperatures_and_transformers_does_not() -> None:
    sampling = replace(STATED, temperature=0.001)
    vllm = planned(exchange_with(sampling=sampling)).sequence.sampling
    assert vllm.temperature == 0.01
    other = planned(exchange_with(sampling=sampling, provider=TRANSFORMERS)).sequence.sampling
    assert other.temperature == 0.001


def test_top_k_minus_one_means_no_limit() -> None:
    plan = planned(exchange_with(sampling=replace(STATED, top_k=-1)))
    assert plan.sequence.sampling.top_k == 0


def test_neutral_server_defaults_are_noted_and_certain() -> None:
    plan = planned(exchange_with(sampling=SamplingRequest(seed=5)))
    sampling = plan.sequence.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (1.0, 0, 1.0)
    assert plan.assumed_parameters == ()
    assert sum("server's default" in note for note in plan.notes) == 3


def test_transformers_default_top_k_is_assumed_and_noted() -> None:
    exchange = exchange_with(sampling=replace(STATED, top_k=None), provider=TRANSFORMERS)
    plan = planned(exchange)
    assert plan.sequence.sampling.top_k == 50
    assert plan.assumed_parameters == ("top_k",)
    assert any("top_k" in note and "50" in note for note in plan.notes)


def test_the_checkpoints_defaults_are_assumed_where_the_request_is_silent() -> None:
    reference = FakeReference(generation_defaults={"temperature": 0.6, "top_k": 20, "top_p": 0.95})
    plan = planned(exchange_with(sampling=SamplingRequest(seed=5)), reference=reference)
    sampling = plan.sequence.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.6, 20, 0.95)
    assert plan.assumed_parameters == ("temperature", "top_k", "top_p")
    stated = planned(reference=reference).sequence.sampling
    assert (stated.temperature, stated.top_k, stated.top_p) == (0.7, 0, 1.0)


@pytest.mark.parametrize(("name", "value"), [("repetition_penalty", 1.05), ("min_p", 0.05)])
def test_a_checkpoint_default_that_no_profile_models_stops_the_plan(
    name: str, value: float
) -> None:
    reference = FakeReference(generation_defaults={name: value})
    error = refused(exchange_with(), reference=reference)
    assert error.reason is Reason.PARAMETER_UNSUPPORTED and name in str(error)
    neutral = replace(STATED, stated_neutral=(name,))
    assert planned(exchange_with(sampling=neutral), reference=reference).assumed_parameters == ()


def test_an_unsupported_parameter_stops_the_plan_by_name() -> None:
    error = refused(exchange_with(sampling=replace(STATED, unsupported=("mirostat", "n"))))
    assert error.reason is Reason.PARAMETER_UNSUPPORTED and "mirostat, n" in str(error)
