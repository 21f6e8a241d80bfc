"""The rows that the estimator learns from, and what exactly is counted in them."""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from audit.billing_records import BilledRequest, BilledUsage
from audit.errors import InvalidRequest
from audit.hidden_tokens.conformal import cell_key


class Quantity(StrEnum):
    """Which billed count a row or a prediction is about."""

    REASONING = "reasoning"
    OUTPUT = "output"
    """All output tokens; of providers that do not state the reasoning apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorRow:
    """One request of reference data: its text, and the count that an honest meter gave."""

    model: str
    domain: str
    effort: str
    """Empty where none was stated."""
    prompt: str
    answer: str
    quantity: Quantity
    num_tokens: int
    group: str
    """The question; rows of one question are never split, and count as one where it matters."""
    is_aggregator: bool = False

    @property
    def cell(self) -> str:
        """The cell whose residuals the row belongs to."""
        return counted_cell(cell_key(self.model, self.domain, self.effort), self.quantity)


def counted_cell(cell: str, quantity: Quantity) -> str:
    """Return the name of a cell of rows that count the same thing.

    Calls with and without a stated reasoning count do not mix: their counts differ by the answer.
    """
    return f"{cell}#{quantity.value}"


def billed_count(usage: BilledUsage) -> tuple[int, Quantity]:
    """Return the count that the estimator compares: the reasoning, or else all output tokens."""
    if usage.reasoning_tokens is not None:
        return usage.reasoning_tokens, Quantity.REASONING
    return usage.output_tokens, Quantity.OUTPUT


def row_of_request(
    request: BilledRequest, domain: str, *, group: str | None = None
) -> EstimatorRow:
    """Return an honest reference request as a row; the group is its prompt where none is given.

    Raises: InvalidRequest without prompt or answer.
    """
    if request.prompt is None or request.answer is None:
        field = "prompt" if request.prompt is None else "answer"
        raise InvalidRequest.of(field, "the estimator needs prompt and answer: add it")
    num_tokens, quantity = billed_count(request.usage)
    return EstimatorRow(
        model=request.model,
        domain=domain,
        effort=request.effort or "",
        prompt=request.prompt,
        answer=request.answer,
        quantity=quantity,
        num_tokens=num_tokens,
        group=prompt_group(request.prompt) if group is None else group,
        is_aggregator=request.is_aggregator,
    )


def prompt_group(prompt: str) -> str:
    """Return a name for the question, the same for prompts that differ in case or spaces only."""
    folded = " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()


def effective_num(sizes: Iterable[int]) -> float:
    """Return how many single scores are worth as much as groups of scores of these sizes.

    The number of groups where they are alike; less where a few hold most. An average of scores that
    go together within a group is as sub-Gaussian as one over so many that do not, by Jensen's
    inequality. Source: Kish, "Survey Sampling" (1965). Raises ValueError without scores.
    """
    counts = list(sizes)
    if not sum(counts):
        raise ValueError("effective_num needs scores")
    return sum(counts) ** 2 / sum(count**2 for count in counts)
