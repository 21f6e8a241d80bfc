"""How good estimates are, in the paper's measures.

Legend: N rows, K replies a row.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from audit.errors import InvalidRequest
from audit.hidden_tokens.palace.reward import BAND, is_within, relative_error


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceScores:
    """Measures of the estimates of one set of rows; a missing estimate stands as zero tokens."""

    num_rows: int
    num_unreadable: int
    """Rows whose reply held no count."""
    pass_at_1: float
    """Share of rows within the band, with one greedy reply."""
    pass_at_5: float | None
    """Share of rows where one of the sampled replies is; None where none were sampled."""
    mean_relative_error: float
    median_relative_error: float
    mean_error_tokens: float
    aggregate_error: float
    """Sum of the estimates over the sum of the counts, less 1."""
    num_distinct: int
    """Different estimates; a single one means that the model answers with a constant."""
    log_deviation: float | None
    """Standard deviation of the logs, natural, of the estimates; None for fewer than two."""


def score_estimates(
    predicted_N: Sequence[int | None],
    actual_N: Sequence[int],
    sampled_NK: Sequence[Sequence[int | None]] | None = None,
    band: float = BAND,
) -> PalaceScores:
    """Return the measures of estimates against billed counts.

    `sampled_NK` are further replies to each row, drawn at a temperature; the paper takes five at
    0.8. Raises: InvalidRequest where there are no rows, or the lengths differ.
    """
    _check_lengths(predicted_N, actual_N, sampled_NK)
    read = [predicted for predicted in predicted_N if predicted is not None]
    logs = [math.log(max(predicted, 1)) for predicted in read]
    errors_N = [relative_error(p or 0, a) for p, a in zip(predicted_N, actual_N, strict=True)]
    misses_N = [abs((p or 0) - a) for p, a in zip(predicted_N, actual_N, strict=True)]
    return PalaceScores(
        num_rows=len(actual_N),
        num_unreadable=sum(p is None for p in predicted_N),
        pass_at_1=pass_at_k([[p] for p in predicted_N], actual_N, band),
        pass_at_5=None if sampled_NK is None else pass_at_k(sampled_NK, actual_N, band),
        mean_relative_error=statistics.fmean(errors_N),
        median_relative_error=statistics.median(errors_N),
        mean_error_tokens=statistics.fmean(misses_N),
        aggregate_error=sum(p or 0 for p in predicted_N) / max(sum(actual_N), 1) - 1.0,
        num_distinct=len(set(read)),
        log_deviation=statistics.stdev(logs) if len(logs) > 1 else None,
    )


def pass_at_k(
    sampled_NK: Sequence[Sequence[int | None]], actual_N: Sequence[int], band: float = BAND
) -> float:
    """Return the share of rows where at least one of the K estimates is within the band."""
    hits = (
        any(is_within(p, actual, band) for p in sampled_K)
        for sampled_K, actual in zip(sampled_NK, actual_N, strict=True)
    )
    return sum(hits) / len(actual_N)


def _check_lengths(
    predicted_N: Sequence[int | None],
    actual_N: Sequence[int],
    sampled_NK: Sequence[Sequence[int | None]] | None,
) -> None:
    if not actual_N:
        raise InvalidRequest.of("actual_N", "must hold at least one row")
    if len(predicted_N) != len(actual_N):
        raise InvalidRequest.of(
            "predicted_N", f"must hold {len(actual_N)} estimates, one a row, not {len(predicted_N)}"
        )
    if sampled_NK is not None and len(sampled_NK) != len(actual_N):
        raise InvalidRequest.of(
            "sampled_NK", f"must hold {len(actual_N)} rows of replies, not {len(sampled_NK)}"
        )
