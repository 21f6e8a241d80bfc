"""Honest requests as the estimating model learns from them, and is calibrated on them."""

import hashlib
from collections.abc import Iterable, Sequence

from audit.billing_records import BilledRequest
from audit.errors import CalibrationError
from audit.hidden_tokens.estimator.cells import EstimatorRow, Quantity
from audit.hidden_tokens.fitting import estimator_rows
from audit.hidden_tokens.palace.channel import CountObservation
from audit.hidden_tokens.palace.prompts import PalaceQuestion


def usable_rows(requests: Iterable[BilledRequest]) -> tuple[list[EstimatorRow], int]:
    """Return the rows of requests to learn from, and how many requests are none.

    Neither output with the answer in it nor a middleman's count is a meter's reading.
    """
    given = list(requests)
    rows = [
        row
        for row in estimator_rows(given)
        if row.quantity is Quantity.REASONING and not row.is_aggregator
    ]
    return rows, len(given) - len(rows)


def require_enough(rows: Sequence[EstimatorRow], least: int) -> None:
    """Raise CalibrationError unless every domain has `least` rows."""
    if not rows:
        raise CalibrationError(
            "there is nothing to train on: give honest requests with domain, prompt, answer and "
            "reasoning count"
        )
    domains = [row.domain for row in rows]
    for domain in sorted(set(domains)):
        if domains.count(domain) < least:
            raise CalibrationError(
                f"{domains.count(domain)} training requests of the domain {domain!r} are too few: "
                f"give at least {least}, best hundreds, or leave the domain out"
            )


def require_unseen(rows: Sequence[EstimatorRow], trained_groups: frozenset[str]) -> None:
    """Raise CalibrationError for a row on a question that the model was trained on."""
    num_seen = sum(group_digest(row) in trained_groups for row in rows)
    if num_seen:
        raise CalibrationError(
            f"{num_seen} calibration requests are on questions of the training: split by question, "
            "so that no question is in both"
        )


def one_a_question(rows: Sequence[EstimatorRow]) -> list[EstimatorRow]:
    """Return the first row of each question in each cell.

    Scores of one question go together; as many of them would pass for more than they are.
    """
    first = {(row.cell, row.group): row for row in reversed(rows)}
    return list(reversed(first.values()))


def group_digest(row: EstimatorRow) -> str:
    """Return how a folder's manifest names a row's question."""
    return hashlib.sha256(row.group.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def question_of(row: EstimatorRow) -> PalaceQuestion:
    """Return what the model is asked about a row."""
    return PalaceQuestion(
        prompt=row.prompt,
        answer=row.answer,
        model=row.model,
        domain=row.domain,
        effort=row.effort,
    )


def observation_of(row: EstimatorRow, predicted: int | None) -> CountObservation:
    """Return a row with its estimate, to calibrate on."""
    return CountObservation(
        model=row.model,
        domain=row.domain,
        effort=row.effort,
        billed_tokens=row.num_tokens,
        predicted_tokens=predicted,
    )
