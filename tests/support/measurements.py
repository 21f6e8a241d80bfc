"""Evidence, plans, measurements, calls and honest traffic made of numbers, without a model."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.findings import Growth
from audit.judge.alternatives import EvidenceLaw
from audit.judge.bins import BinCounts, bin_of, no_counts
from audit.judge.calibration import Calibration
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR, Calls, read_calls
from audit.judge.collect import RECORDED, CalibrationCollector
from audit.judge.eprocess import weigh
from audit.judge.noise import log_likelihood_G
from audit.judge.policy import Policy, load_policy
from audit.records import Measurement, ReplayPlan
from reference_runner.records import Evidence, ReferenceInfo, ReplaySequence, Sampling

DIGEST = "sha256:" + "ab" * 32
PROFILE = "vllm-v2-murmur32"
CREATED_AT = "2026-01-31T12:00:00.000000Z"

#: Contenders of this size have a step of 1/16 logit.
CONTENDER_LOGITS = 10.0
STEP_LOGITS = 2.0**-4

#: Noise of honest traffic made here; two variants that differ a little.
HONEST_NOISE_LOGITS = {"batch-1": 0.02, "batch-16": 0.025}

Float64Array = NDArray[np.float64]


@cache
def default_policy() -> Policy:
    """Return the bundled policy."""
    return load_policy()


def info_of(digest: str = DIGEST, precision: str = "bfloat16") -> ReferenceInfo:
    """Return the facts of a reference that was never loaded."""
    return ReferenceInfo(
        model_digest=digest,
        precision=precision,
        vocab_size=4096,
        max_positions=1024,
        device="cpu x86_64",
        libraries=(("numpy", "2.0"), ("torch", "2.13")),
        num_threads=1,
    )


def evidence_of(
    deviations: ArrayLike,
    gaps: ArrayLike | None = None,
    profile_id: str = PROFILE,
    contender: ArrayLike = CONTENDER_LOGITS,
) -> Evidence:
    """Return evidence of tokens that lie `deviations` logits from the reference's draw."""
    deviation = np.asarray(deviations, dtype=np.float32)
    gap = np.full(len(deviation), 1.0) if gaps is None else np.asarray(gaps)
    matched = deviation == 0
    return Evidence(
        profile_id=profile_id,
        signed_margin_logits_R=np.where(matched, gap, -deviation).astype(np.float32),
        matched_R=matched,
        rank_R=np.zeros(len(deviation), dtype=np.int32),
        logprob_nats_R=np.full(len(deviation), -1.0, dtype=np.float32),
        top_two_gap_logits_R=gap.astype(np.float32),
        contender_logit_R=np.broadcast_to(
            np.asarray(contender, dtype=np.float32), deviation.shape
        ).copy(),
        excluded_R=np.zeros(len(deviation), dtype=np.bool_),
    )


def sampling_of(
    temperature: float = 0.7, *, top_k: int = 0, top_p: float = 1.0, seed: int | None = 1
) -> Sampling:
    """Return complete sampling parameters."""
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)


def measurement_of(
    *evidences: Evidence,
    sampling: Sampling | None = None,
    info: ReferenceInfo | None = None,
    ids_inferred: bool = False,
    assumed: tuple[str, ...] = (),
    claimed_precision: str | None = None,
    prompt: tuple[int, ...] = (1,),
) -> Measurement:
    """Return a replayed exchange with the given evidence; no context in it returns."""
    sequence = ReplaySequence(
        prompt_token_ids=prompt,
        output_token_ids=tuple(range(evidences[0].num_tokens)),
        sampling=sampling or sampling_of(),
        profile_ids=tuple(e.profile_id for e in evidences),
    )
    return Measurement(
        plan=ReplayPlan(
            sequence=sequence,
            ids_inferred=ids_inferred,
            assumed_parameters=assumed,
            notes=("a note",),
            claimed_precision=claimed_precision,
        ),
        evidences=evidences,
        info=info or info_of(),
    )


def calls_of(
    gap_steps: ArrayLike, outcomes: ArrayLike | None = None, counts: ArrayLike | None = None
) -> Calls:
    """Return calls; all match and all count where nothing else is said."""
    gap_R = np.asarray(gap_steps, dtype=np.float64)
    outcome_R = np.full(len(gap_R), MATCH) if outcomes is None else np.asarray(outcomes)
    counts_R = np.full(len(gap_R), True) if counts is None else np.asarray(counts, dtype=np.bool_)
    return Calls(
        gap_logits_R=gap_R * STEP_LOGITS,
        gap_steps_R=gap_R,
        outcome_R=outcome_R.astype(np.int8),
        counts_R=counts_R,
    )


def counts_of(gap_steps: float, num_calls: int, num_mismatches: int, num_far: int = 0) -> BinCounts:
    """Return counts of calls that all have one gap."""
    calls_B, mismatches_B, far_B = (no_counts().num_calls_B.copy() for _ in range(3))
    here = int(bin_of(np.asarray([gap_steps]))[0])
    calls_B[here], mismatches_B[here], far_B[here] = num_calls, num_mismatches, num_far
    return BinCounts(num_calls_B=calls_B, num_mismatches_B=mismatches_B, num_far_B=far_B)


def noisy_evidence(
    rng: np.random.Generator,
    num_tokens: int,
    *,
    noise: float = 0.02,
    stray: float = 0.0,
    profile_id: str = PROFILE,
) -> Evidence:
    """Return evidence of an answer with Gaussian noise on logit differences, and stray tokens."""
    gap_R = rng.exponential(1.0, num_tokens) + 1e-4
    turned_R = rng.random(num_tokens) < special.ndtr(-gap_R / noise)
    stray_R = rng.random(num_tokens) < stray
    away_R = gap_R + rng.exponential(3.0, num_tokens)
    deviation_R = np.where(stray_R, away_R, np.where(turned_R, gap_R, 0.0))
    return evidence_of(deviation_R, gap_R, profile_id)


def noisy_measurement(
    rng: np.random.Generator,
    num_tokens: int = 200,
    *,
    noise: float = 0.02,
    stray: float = 0.0,
    sampling: Sampling | None = None,
    ids_inferred: bool = False,
) -> Measurement:
    """Return a replayed exchange of a question that was never asked before."""
    return measurement_of(
        noisy_evidence(rng, num_tokens, noise=noise, stray=stray),
        sampling=sampling,
        ids_inferred=ids_inferred,
        prompt=tuple(int(i) for i in rng.integers(0, 4096, 12)),
    )


def outcomes_at_the_bound(
    rng: np.random.Generator, gap_steps_R: Float64Array, near_R: ArrayLike, far_R: ArrayLike
) -> NDArray[np.int8]:
    """Draw outcomes at the given rates; beyond the far margin every mismatch is a far one."""
    draw_R = rng.random(len(gap_steps_R))
    is_far_R = draw_R < np.asarray(far_R)
    is_near_R = (draw_R < np.asarray(far_R) + np.asarray(near_R)) & ~is_far_R
    is_near_R &= gap_steps_R < FAR_MARGIN_STEPS
    return np.where(is_far_R, FAR, np.where(is_near_R, NEAR, MATCH)).astype(np.int8)


def growth_of(calls: Calls, law: EvidenceLaw, digest: str, tell_rate: float = 0.02) -> Growth:
    """Return what one exchange adds to its provider's evidence."""
    weight = weigh(calls, law)
    return Growth(
        num_tokens=calls.num_tokens,
        num_mismatches=int((calls.outcome_R != MATCH).sum()),
        log_e_nats_K=tuple(float(x) for x in weight.log_e_nats_K),
        log_e_nats=weight.log_e_nats,
        log_likelihood_G=tuple(float(x) for x in log_likelihood_G(calls)),
        is_tell=weight.peak_log_e_nats >= -math.log(tell_rate),
        exchange_digest=digest,
        honest_noise_logits=0.02,
    )


def growth_of_measured(measured: Measurement, law: EvidenceLaw, digest: str) -> Growth:
    """Return what one replayed exchange adds to its provider's evidence."""
    calls = read_calls(measured.evidences[0], measured.plan.sequence)
    return growth_of(calls, law, digest)


def collect(
    named: Sequence[tuple[str, Measurement]], policy: Policy | None = None
) -> tuple[Calibration, tuple[str, ...]]:
    """Return the calibration of measurements, each under its variant's name, and its warnings."""
    collector = CalibrationCollector(policy or default_policy())
    for variant, measured in named:
        collector.add(measured, variant, engine="engine 1.0, cpu", source=RECORDED)
    return collector.finish(CREATED_AT)


def honest_traffic(
    num_exchanges: int, num_tokens: int, *, sampling: Sampling | None = None, seed: int = 5
) -> list[tuple[str, Measurement]]:
    """Return honest exchanges of two variants."""
    rng = np.random.default_rng(seed)
    return [
        (variant, noisy_measurement(rng, num_tokens, noise=noise, sampling=sampling))
        for variant, noise in HONEST_NOISE_LOGITS.items()
        for _ in range(num_exchanges)
    ]


@cache
def honest_calibration(num_exchanges: int = 60, num_tokens: int = 200) -> Calibration:
    """Return a calibration of two variants at temperature 0.7, without filters."""
    return collect(honest_traffic(num_exchanges, num_tokens))[0]
