"""Pools of real honest requests to draw streams from: text, time, and runs of one prompt.

Text and time: laws are fitted on one part of the training questions and calibrated on the rest of
them, and streams are drawn from `billed_calib`, whose questions neither has seen. A few hundred
calls of a cell fit a law; more scores make its p-values surer, so the larger part calibrates.
Reference sampling needs no fit: all groups of runs of one model on one prompt serve, each draw a
fresh set without replacement.

An inflation multiplies the billed reasoning tokens of a real request and leaves everything else.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.billing_records import (
    AccountKey,
    BilledRequest,
    BilledUsage,
    CallTiming,
    Reading,
    RequestCheck,
    UsageSchema,
)
from audit.hidden_tokens.estimator.cells import EstimatorRow
from audit.hidden_tokens.estimator.files import row_of_record
from audit.hidden_tokens.estimator.training import calibrate_estimator, train_estimator
from audit.hidden_tokens.reference_sampling import RankChannel
from audit.hidden_tokens.timing_evidence import TimedSample, timed_sample
from audit.hidden_tokens.timing_fit import fit_speed_laws
from tests.support.hidden_tokens import Row, load_rows

FIT_SHARE = 0.4

#: Cells with fewer tested requests would repeat the same few in every stream.
MIN_POOL = 40

Draw = Callable[[np.random.Generator, str], RequestCheck]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Honest requests of one account, billed at one factor."""

    name: str
    key: AccountKey
    num_requests: int
    draw: Draw
    """Gives a request with the id that it is told."""


def key_of(model: str, domain: str, effort: str) -> AccountKey:
    """Return the key that all requests of a cell share."""
    return AccountKey(
        tenant="study",
        account="account",
        provider="provider",
        model=model,
        effort=effort,
        domain=domain,
        calibration_id="study",
    )


def split_training(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Return the part to fit on and the part to calibrate on; they share no question."""
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        digest = hashlib.sha256(f"streams:{row['prompt_group']}".encode()).digest()
        parts[int(digest[0] >= 256 * FIT_SHARE)].append(row)
    return parts


def request_of(
    key: AccountKey, count: int, *, is_reasoning: bool = True, timing: CallTiming | None = None
) -> BilledRequest:
    """Return a request of an account that bills so many tokens."""
    usage = BilledUsage(
        schema=UsageSchema.OPENAI_CHAT,
        output_tokens=count,
        reasoning_tokens=count if is_reasoning else None,
    )
    return BilledRequest(
        request_id="",
        account=key.account,
        provider=key.provider,
        model=key.model,
        effort=key.effort or None,
        usage=usage,
        timing=timing,
        observed_at="2026-01-01T00:00:00Z",
    )


def text_pools(factors: Sequence[float], seed: int) -> dict[float, list[Pool]]:
    """Return, for each factor, a pool for each cell that the learned estimator answers for."""
    fitted, held = split_training(load_rows("billed_train"))
    core = train_estimator([row_of_record(row) for row in fitted], seed)
    estimator = calibrate_estimator(core, [row_of_record(row) for row in held])
    tested = [row_of_record(row) for row in load_rows("billed_calib")]
    pools: dict[float, list[Pool]] = {}
    for factor in factors:
        billed = [replace(row, num_tokens=round(row.num_tokens * factor)) for row in tested]
        cells: dict[str, list[tuple[EstimatorRow, Reading]]] = defaultdict(list)
        for row, reading in zip(billed, estimator.read_rows(billed), strict=True):
            if isinstance(reading, Reading):
                cells[row.cell].append((row, reading))
        pools[factor] = [
            _fixed_pool(name, [_text_check(row, reading) for row, reading in pairs])
            for name, pairs in sorted(cells.items())
            if len(pairs) >= MIN_POOL
        ]
    return pools


def _text_check(row: EstimatorRow, reading: Reading) -> RequestCheck:
    key = key_of(row.model, row.domain, row.effort)
    request = request_of(key, row.num_tokens, is_reasoning=row.quantity == "reasoning")
    return _check(request, row.domain, reading)


def timing_pools(factors: Sequence[float]) -> dict[float, list[Pool]]:
    """Return, for each factor, a pool for each cell that has a speed law."""
    fitted, held = split_training(load_rows("billed_train"))
    laws = fit_speed_laws(_timed(fitted), _timed(held))
    tested = [row for row in load_rows("billed_calib") if _timed([row])]
    pools: dict[float, list[Pool]] = {}
    for factor in factors:
        cells: dict[str, list[RequestCheck]] = defaultdict(list)
        for row in tested:
            request = _timed_request(row, factor)
            reading = laws.read(request, row["domain"])
            if isinstance(reading, Reading):
                cells[reading.cell].append(_check(request, row["domain"], reading))
        pools[factor] = [
            _fixed_pool(name, checks)
            for name, checks in sorted(cells.items())
            if len(checks) >= MIN_POOL
        ]
    return pools


def _timed(rows: Iterable[Row]) -> list[TimedSample]:
    samples = [
        timed_sample(_timed_request(row, 1.0), row["domain"])
        for row in rows
        if row["elapsed_s"] and row["target_kind"] == "billed_reasoning"
    ]
    return [sample for sample in samples if isinstance(sample, TimedSample)]


def _timed_request(row: Row, factor: float) -> BilledRequest:
    return request_of(
        key_of(row["model"], row["domain"], row["effort"] or ""),
        round(row["reasoning_tokens_billed"] * factor),
        timing=CallTiming(elapsed_s=row["elapsed_s"]),
    )


def sampling_pools(factors: Sequence[float], salt: str) -> dict[float, list[Pool]]:
    """Return, for each factor, pools of prompts that a model answered several times.

    `same prompt`: five runs of one prompt by each of 26 models (K = 4), and three runs of puzzles
    by seven (K = 2), drawn together under one name, as a rank needs no more of a request than its
    own reference runs. `variants`: eight variants of one question to claude-haiku (K = 7), whole
    outputs, as no reasoning is billed apart. Which run is the billed one is drawn anew each time,
    so the null is exact for all of them.
    """
    same: dict[tuple[str, ...], list[int]] = defaultdict(list)
    variants: dict[str, list[int]] = defaultdict(list)
    for row in (*load_rows("billed_train"), *load_rows("billed_calib")):
        place = (row["model"], row["effort"] or "", row["prompt"], row["target_kind"])
        same[place].append(int(row["target_tokens"]))
        if row["model"].startswith("claude-haiku"):
            variants[row["prompt_group"]].append(int(row["target_tokens"]))
    named = (
        ("same prompt, K = 4", [runs for runs in same.values() if len(runs) >= 5], 4),
        ("same prompt, K = 2", [runs for runs in same.values() if len(runs) == 3], 2),
        ("variants of a question, K = 7", [r for r in variants.values() if len(r) >= 8], 7),
    )
    channel = RankChannel(salt=salt)
    return {
        factor: [_rank_pool(name, runs, factor, channel, num) for name, runs, num in named]
        for factor in factors
    }


def _rank_pool(
    name: str,
    groups: Sequence[Sequence[int]],
    factor: float,
    channel: RankChannel,
    num_reference: int,
) -> Pool:
    key = key_of(name, "any", "")

    def draw(rng: np.random.Generator, request_id: str) -> RequestCheck:
        runs = groups[int(rng.integers(len(groups)))]
        billed, *counts = rng.choice(runs, size=num_reference + 1, replace=False)
        request = replace(
            request_of(key, round(int(billed) * factor)),
            request_id=request_id,
            reference_counts=tuple(int(count) for count in counts),
        )
        reading = channel.read(request, key.domain)
        if not isinstance(reading, Reading):
            raise TypeError(f"a rank was refused: {reading.detail}")
        return _check(request, key.domain, reading)

    return Pool(name=name, key=key, num_requests=len(groups), draw=draw)


def _fixed_pool(name: str, checks: Sequence[RequestCheck]) -> Pool:
    request = checks[0].request

    def draw(rng: np.random.Generator, request_id: str) -> RequestCheck:
        check = checks[int(rng.integers(len(checks)))]
        return replace(check, request=replace(check.request, request_id=request_id))

    return Pool(
        name=name,
        key=key_of(request.model, checks[0].domain, request.effort or ""),
        num_requests=len(checks),
        draw=draw,
    )


def _check(request: BilledRequest, domain: str, reading: Reading) -> RequestCheck:
    return RequestCheck(
        request=request, domain=domain, violations=(), readings=(reading,), unchecked=()
    )
