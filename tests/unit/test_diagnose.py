"""A diagnosis replays rivals and finds the one that was simulated, in a world without a model."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy import special

from audit.cases import Case, failed_case
from audit.diagnose import Diagnoser, build_diagnoser
from audit.errors import CannotJudge
from audit.findings import Disposition, Explanation
from audit.judge.alternatives import EvidenceLaw
from audit.judge.bins import EDGES_B, RateBounds
from audit.judge.calibration import Calibration, StratumKey
from audit.judge.policy import load_policy
from audit.ports import Reference
from audit.records import (
    AuditRequest,
    Claim,
    Examination,
    Message,
    Outcome,
    Prompt,
    Reason,
    ReplayPlan,
    Verdict,
)
from reference_runner.errors import BadSequence, CheckpointError, RunnerError
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling
from tests.support.fake_reference import FakeLibrary, FakeReference, exchange_with

PROFILE = "vllm-cpu-splitmix64"
NUM_TOKENS = 400
SAMPLING = Sampling(temperature=0.7, top_k=0, top_p=1.0, seed=5)
GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=5)
KEY = StratumKey(profile_id=PROFILE, precision="bfloat16", ids_inferred=False)
MISMATCH_B = np.maximum(0.3 * np.exp(-2.0 * EDGES_B), 2e-4)
BOUNDS = RateBounds(mismatch_B=MISMATCH_B, far_B=np.minimum(MISMATCH_B, 5e-4))

#: Noise under which the stated seed says nothing.
CHANCE = np.inf

Strays = Callable[[ReplaySequence], float]
"""How far the tokens stray from a replay, as noise in logits."""


@dataclass(slots=True, kw_only=True)
class World(FakeReference):
    """A reference whose replays stray from the tokens as a test says."""

    strays: Strays
    copies: dict[str, Strays] = field(default_factory=dict)
    burst: slice = field(default_factory=lambda: slice(0, 0))
    refuses: Callable[[ReplaySequence], bool] = lambda sequence: False
    lengths: list[int] = field(default_factory=list)

    def rounded(self, kind: str) -> "World":
        if kind not in self.copies:
            raise CheckpointError(f"no {kind} here")
        return World(strays=self.copies[kind])

    def replay(self, batch: ReplayBatch) -> tuple[tuple[Evidence, ...], ...]:
        for sequence in batch.sequences:
            if self.refuses(sequence):
                raise BadSequence("context_exceeded", "too long")
            self.lengths.append(len(sequence.output_token_ids))
        return tuple((self._evidence(sequence),) for sequence in batch.sequences)

    def _evidence(self, sequence: ReplaySequence) -> Evidence:
        num_tokens = len(sequence.output_token_ids)
        rng = np.random.default_rng(zlib.crc32(repr(sequence).encode()))
        gap = rng.exponential(2.0, num_tokens)
        sigma = self.strays(sequence)
        rate = 1.0 / (1.0 + gap) if sigma == CHANCE else special.ndtr(-gap / max(sigma, 1e-9))
        rate[self.burst] = 0.8
        turned = rng.random(num_tokens) < rate
        margin = np.where(turned, -gap - rng.exponential(0.5, num_tokens), gap)
        return Evidence(
            profile_id=sequence.profile_ids[0],
            signed_margin_logits_R=margin.astype(np.float32),
            matched_R=~turned,
            rank_R=np.zeros(num_tokens, dtype=np.int32),
            logprob_nats_R=np.zeros(num_tokens, dtype=np.float32),
            top_two_gap_logits_R=gap.astype(np.float32),
            contender_logit_R=np.full(num_tokens, 10.0, dtype=np.float32),
            excluded_R=np.zeros(num_tokens, dtype=np.bool_),
        )


def case_of(
    world: World, sampling: Sampling = SAMPLING, prompt: Prompt | None = None, start: int = 0
) -> Case:
    prompt = prompt or Prompt(token_ids=(1, 2))
    sequence = ReplaySequence(
        prompt_token_ids=(1, 2),
        output_token_ids=tuple(range(start, start + NUM_TOKENS)),
        sampling=sampling,
        profile_ids=(PROFILE, "another-candidate"),
    )
    plan = ReplayPlan(sequence=sequence, ids_inferred=False, assumed_parameters=(), notes=())
    one = replace(sequence, profile_ids=(PROFILE,))
    ((evidence,),) = world.replay(ReplayBatch(sequences=(one,)))
    return Case(
        request=AuditRequest(request_id="r", exchange=exchange_with(prompt=prompt), claim=Claim()),
        plan=plan,
        evidence=evidence,
        reference=world,
    )


def diagnoser(
    *copies: str,
    max_tokens: int = 10_000,
    siblings: dict[str, Reference] | None = None,
    system_prompts: tuple[str, ...] = (),
) -> Diagnoser:
    return Diagnoser(
        laws={KEY: EvidenceLaw(BOUNDS)},
        bounds={KEY: BOUNDS},
        dispositions={"temperature": Disposition.MISCONFIGURED},
        copies=copies,
        max_tokens=max_tokens,
        threshold_nats=6.0,
        siblings=siblings or {},
        system_prompts=system_prompts,
    )


def first_of(
    world: World, sampling: Sampling = SAMPLING, prompt: Prompt | None = None
) -> Explanation:
    return diagnoser()([case_of(world, sampling, prompt)])[0]


def zero_if(condition: Callable[[ReplaySequence], bool], otherwise: float = CHANCE) -> Strays:
    return lambda sequence: 0.0 if condition(sequence) else otherwise


def noise(sigma: float) -> Strays:
    """Return what another model under the stated seed does."""
    return lambda sequence: sigma if sequence.sampling.seed in (5, None) else CHANCE


@pytest.mark.parametrize("truth", [0.4, 0.644, 0.77, 1.3])
def test_another_temperature_is_fitted(truth: float) -> None:
    found = first_of(World(strays=lambda s: 4.0 * abs(np.log(s.sampling.temperature / truth))))
    assert found.name == "temperature" and found.disposition is Disposition.MISCONFIGURED
    assert found.estimate == pytest.approx(truth, abs=0.005)
    assert found.statement == f"sampled at temperature {found.estimate:.3g} instead of 0.7"
    assert found.probability > 0.99


def test_a_ratio_is_fitted_to_several_temperatures() -> None:
    def strays(sequence: ReplaySequence) -> float:
        stated = 0.7 if sequence.output_token_ids[0] == 0 else 1.0
        return 4.0 * abs(float(np.log(sequence.sampling.temperature / (1.2 * stated))))

    world = World(strays=strays)
    cases = [case_of(world), case_of(world, replace(SAMPLING, temperature=1.0), start=1000)]
    found = diagnoser()(cases)[0]
    assert found.name == "temperature" and found.estimate == pytest.approx(1.2, abs=0.01)
    assert found.statement.endswith("times the stated temperature")


def test_sampling_where_greedy_was_asked_for_is_found() -> None:
    def strays(sequence: ReplaySequence) -> float:
        temperature = sequence.sampling.temperature
        return 1.0 if temperature == 0.0 else 4.0 * abs(float(np.log(temperature / 0.9)))

    found = first_of(World(strays=strays), GREEDY)
    assert found.name == "temperature" and found.estimate == pytest.approx(0.9, abs=0.01)
    assert found.statement.endswith("instead of 0")


def test_a_greedy_request_without_a_seed_ends_as_unknown() -> None:
    names = {
        e.name for e in diagnoser()([case_of(World(strays=noise(0.5)), replace(GREEDY, seed=None))])
    }
    assert not names & {"temperature", "unseeded", "other_seed", "filters_off", "other_profile"}


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("other_seed", lambda s: s.sampling.seed == 6),
        ("other_profile", lambda s: s.profile_ids == ("vllm-v2-murmur32",)),
        ("filters_off", lambda s: s.sampling.top_k == 0 and s.sampling.top_p == 0.9),
    ],
)
def test_other_sampling_is_named(name: str, condition: Callable[[ReplaySequence], bool]) -> None:
    found = first_of(World(strays=zero_if(condition)), replace(SAMPLING, top_k=50, top_p=0.9))
    assert found.name == name and found.probability > 0.99


def test_the_seed_that_was_used_is_told() -> None:
    found = first_of(World(strays=zero_if(lambda s: s.sampling.seed == 42)))
    assert (found.name, found.estimate, found.statement) == ("other_seed", 42, "drawn with seed 42")


def test_different_seeds_have_no_common_figure() -> None:
    world = World(strays=zero_if(lambda s: s.sampling.seed in (6, 10)))
    cases = [case_of(world), case_of(world, replace(SAMPLING, seed=9), start=1000)]
    found = diagnoser()(cases)[0]
    assert (found.name, found.estimate) == ("other_seed", None)
    assert found.statement == "drawn with the stated seed plus one"


def test_a_seed_that_was_ignored_is_named() -> None:
    found = first_of(World(strays=lambda s: CHANCE))
    assert found.name == "unseeded" and found.probability > 0.9


def test_a_hidden_system_prompt_is_named() -> None:
    world = World(strays=zero_if(lambda s: s.prompt_token_ids == (99, 4, 5, 2), 1.0))
    prompt = Prompt(messages=(Message(role="user", content="hi"),))
    found = diagnoser(system_prompts=("obey quick",))([case_of(world, prompt=prompt)])[0]
    assert found.name == "system_prompt"
    assert found.statement == "answered behind the hidden system prompt 'obey quick'"


def test_a_rounded_copy_is_named_and_others_are_not_fatal() -> None:
    world = World(strays=noise(0.5), copies={"int8-g32": noise(0.4), "int4-g32": lambda s: 0.0})
    ranked = diagnoser("int8-g32", "int4-g32", "fp8-e4m3")([case_of(world)])
    assert ranked[0].name == "int4-g32"
    assert "fp8-e4m3" not in {e.name for e in ranked}


def test_a_copy_that_leaves_a_fail_stays_behind_unknown() -> None:
    world = World(strays=noise(0.5), copies={"int4-g32": noise(0.35)})
    names = [e.name for e in diagnoser("int4-g32")([case_of(world)])]
    assert names[0] == "unknown" and "int4-g32" in names


def test_a_sibling_is_named() -> None:
    world = World(strays=noise(1.0))
    siblings: dict[str, Reference] = {
        "small": World(strays=lambda s: 0.0),
        "large": World(strays=noise(1.0)),
    }
    found = diagnoser(siblings=siblings)([case_of(world)])[0]
    assert found.name == "sibling"
    assert found.statement == "answered by small instead of the claimed model"


def test_a_burst_is_placed_in_one_answer_and_only_counted_in_two() -> None:
    world = World(strays=lambda s: 0.01, burst=slice(200, 260))
    one = diagnoser()([case_of(world)])[0]
    assert one.name == "burst" and one.first_token is not None and one.last_token is not None
    assert abs(one.first_token - 200) < 6 and abs(one.last_token - 259) < 6
    two = diagnoser()([case_of(world), case_of(world, start=1000)])[0]
    assert (two.name, two.first_token, two.last_token) == ("burst", None, None)
    assert "2 answers" in two.statement


def test_noise_that_nothing_explains_is_unknown() -> None:
    found = first_of(World(strays=noise(0.5)))
    assert (found.name, found.disposition) == ("unknown", Disposition.UNKNOWN)
    assert found.estimate == pytest.approx(0.5, rel=0.5)


def test_of_an_honest_exchange_nothing_is_said() -> None:
    ranked = diagnoser()([case_of(World(strays=zero_if(lambda s: s.sampling == SAMPLING)))])
    assert [e.name for e in ranked] == ["unknown"]


def test_a_rival_must_be_possible_for_every_exchange() -> None:
    world = World(
        strays=zero_if(lambda s: s.prompt_token_ids[0] == 99, 0.5),
        refuses=lambda s: s.prompt_token_ids[0] == 99 and s.output_token_ids[0] == 1000,
    )
    prompt = Prompt(messages=(Message(role="user", content="hi"),))
    alone = diagnoser()([case_of(world, prompt=prompt)])
    both = diagnoser()([case_of(world, prompt=prompt), case_of(world, prompt=prompt, start=1000)])
    assert alone[0].name == "system_prompt"
    assert "system_prompt" not in {e.name for e in both}


@pytest.mark.parametrize(("budget", "longest"), [(150, {150}), (500, {400, 100})])
def test_no_more_tokens_are_replayed_than_allowed(budget: int, longest: set[int]) -> None:
    world = World(strays=noise(0.5))
    cases = [case_of(world), case_of(world, start=1000), case_of(world, start=2000)]
    world.lengths.clear()
    assert diagnoser(max_tokens=budget)(cases)
    assert set(world.lengths) == longest


def test_nothing_to_diagnose_and_kinds_without_calibration() -> None:
    assert diagnoser()([]) == ()
    case = case_of(World(strays=noise(0.5)))
    plan = replace(case.plan, ids_inferred=True)
    with pytest.raises(KeyError):
        diagnoser()([replace(case, plan=plan)])


def test_a_claim_that_cannot_be_replayed_again_is_an_error() -> None:
    world = World(strays=noise(0.5))
    case = case_of(world)
    world.refuses = lambda sequence: True
    with pytest.raises(RunnerError):
        diagnoser()([case])


def test_only_failed_exchanges_become_cases() -> None:
    case = case_of(World(strays=noise(0.5)))
    library = FakeLibrary()
    verdict = Verdict(outcome=Outcome.FAIL, precision="float32")
    failed = Examination(verdict=verdict, evidence=case.evidence)
    found = failed_case(case.request, failed, library, PROFILE)
    assert found is not None and found.evidence is case.evidence
    assert found.plan.sequence.profile_ids == (PROFILE,)
    passed = replace(failed, verdict=replace(verdict, outcome=Outcome.PASS))
    assert failed_case(case.request, passed, library, None) is None
    assert failed_case(case.request, replace(failed, evidence=None), library, None) is None
    library.refusal = CannotJudge(Reason.MODEL_UNAVAILABLE, "gone")
    with pytest.raises(CannotJudge):
        failed_case(case.request, failed, library, None)


def test_the_bundled_policy_names_all_that_can_be_found() -> None:
    calibration = Calibration(
        calibration_id="sha256:0", created_at="", model_digest="sha256:1", strata=()
    )
    policy = load_policy()
    built = build_diagnoser(calibration, policy, {}, system_prompts=["a"])
    assert built.copies == policy.diagnosis.rounded_copies
    assert built.threshold_nats == policy.log_threshold_nats
    assert built.max_tokens == policy.diagnosis.max_tokens and built.system_prompts == ("a",)
    assert set(built.dispositions) >= {
        *("temperature", "filters_off", "other_seed", "unseeded", "other_profile", "template"),
        *("system_prompt", "sibling", "burst", "unknown", *built.copies),
    }
