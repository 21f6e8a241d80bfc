"""Evidence, plans, measurements and honest traffic made of numbers, without a model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.judge.calibration import Calibration
from audit.judge.collect import CalibrationCollector
from audit.judge.null_law import ExchangeDeviations
from audit.records import Measurement, ReplayPlan
from reference_runner.records import Evidence, ReferenceInfo, ReplaySequence, Sampling

DIGEST = "sha256:" + "ab" * 32
PROFILE = "vllm-v2-murmur32"
CREATED_AT = "2026-01-31T12:00:00.000000Z"

Float64Array = NDArray[np.float64]


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
    deviations: ArrayLike, gaps: ArrayLike | None = None, profile_id: str = PROFILE
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
        excluded_R=np.zeros(len(deviation), dtype=np.bool_),
    )


def sampling_of(temperature: float = 0.7, *, top_k: int = 0, top_p: float = 1.0) -> Sampling:
    """Return complete sampling parameters."""
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=1)


def measurement_of(
    *evidences: Evidence,
    sampling: Sampling | None = None,
    info: ReferenceInfo | None = None,
    ids_inferred: bool = False,
    assumed: tuple[str, ...] = (),
) -> Measurement:
    """Return a replayed exchange with the given evidence."""
    sequence = ReplaySequence(
        prompt_token_ids=(1,),
        output_token_ids=(2,) * evidences[0].num_tokens,
        sampling=sampling or sampling_of(),
        profile_ids=tuple(e.profile_id for e in evidences),
    )
    return Measurement(
        plan=ReplayPlan(
            sequence=sequence,
            ids_inferred=ids_inferred,
            assumed_parameters=assumed,
            notes=("a note",),
        ),
        evidences=evidences,
        info=info or info_of(),
    )


def honest_deviations(
    rng: np.random.Generator, num_tokens: int, *, rate: float = 0.02, dispersion: float = 0.0
) -> Float64Array:
    """Return deviations of an honest exchange: few, small, and clipped at half a logit.

    `dispersion` is the relative spread of the rate from exchange to exchange (gamma-distributed).
    """
    if dispersion > 0:
        rate = float(rng.gamma(dispersion**-2, rate * dispersion**2))
    hit = rng.random(num_tokens) < min(rate, 1.0)
    return np.where(hit, np.minimum(rng.exponential(0.05, num_tokens), 0.5), 0.0)


def exchange_of(deviations: Sequence[float] | Float64Array) -> ExchangeDeviations:
    """Return the sparse form that calibrations keep."""
    values = np.asarray(deviations, dtype=np.float64)
    positions = np.flatnonzero(values)
    return ExchangeDeviations(
        num_tokens=len(values),
        positions=tuple(int(p) for p in positions),
        deviations_logits=tuple(float(d) for d in values[positions]),
    )


def collect(measurements: Sequence[Measurement]) -> tuple[Calibration, tuple[str, ...]]:
    """Return the calibration of some measurements at 1 % and 95 %, with its warnings."""
    collector = CalibrationCollector(false_alarm_rate=0.01, confidence=0.95)
    for measured in measurements:
        collector.add(measured)
    return collector.finish(CREATED_AT)


def honest_calibration(num_exchanges: int = 60, num_tokens: int = 200) -> Calibration:
    """Return a calibration at temperature 0.7 without filters, and one greedy stratum beside it."""
    rng = np.random.default_rng(5)
    sampled = [
        measurement_of(evidence_of(honest_deviations(rng, num_tokens)))
        for _ in range(num_exchanges)
    ]
    greedy = [
        measurement_of(
            evidence_of(honest_deviations(rng, num_tokens)),
            sampling=Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None),
        )
        for _ in range(num_exchanges)
    ]
    return collect(sampled + greedy)[0]
