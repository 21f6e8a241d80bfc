"""First-party rows of the real data as bills, for what must hold of every bill.

Answers are counted as the data counts them, so that no rank file is needed. Rows of
medagents-benchmark hold the option letter instead of the answer, and their reasoning was worked out
from the steps: they test neither sum nor lattice on their own, and are left out of `whole_rows`.
"""

from dataclasses import replace
from functools import cache

from audit.billing_records import BilledRequest, BilledUsage, UsageSchema
from audit.hidden_tokens.facts import load_facts
from audit.hidden_tokens.identities import check_accounting
from audit.hidden_tokens.vocabularies import TokenCounter
from tests.support.hidden_tokens import Row, load_rows

CUT_ANSWERS = "gersteinlab/medagents-benchmark"


class RecordedCounts:
    """The counts that the data states for its own answers."""

    def __init__(self, counts: dict[str, int]) -> None:
        """Count each text as `counts` says."""
        self._counts = counts

    def count(self, vocabulary: str, text: str) -> int | None:
        """Return the recorded count, which was made with one vocabulary."""
        return self._counts[text] if vocabulary == "o200k_base" else None


@cache
def stepped_rows(name: str) -> tuple[Row, ...]:
    """Return the first-party o-series rows with a billed reasoning count."""
    facts = load_facts()
    return tuple(
        row
        for row in load_rows(name)
        if (model := facts.of(row["model"])) is not None
        and model.family == "openai-o"
        and row["reasoning_tokens_billed"] is not None
    )


def whole_rows(name: str) -> list[Row]:
    """Return the o-series rows with all of the answer."""
    return [row for row in stepped_rows(name) if row["source"] != CUT_ANSWERS]


@cache
def recorded(name: str) -> RecordedCounts:
    """Return the counts of the answers of a part of the data."""
    return RecordedCounts({row["answer"]: row["answer_tokens_approx"] for row in whole_rows(name)})


def bill_of(row: Row) -> BilledRequest:
    """Return the bill of a row, its total worked out."""
    prompt, output = row["prompt_tokens_billed"] or 0, row["completion_tokens_billed"]
    return BilledRequest(
        request_id=row["id"],
        account="study",
        provider="openai",
        model=row["model"],
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_CHAT,
            output_tokens=output,
            prompt_tokens=prompt,
            reasoning_tokens=row["reasoning_tokens_billed"],
            total_tokens=prompt + output,
        ),
        observed_at="2026-01-02T03:04:05Z",
        answer=None if row["source"] == CUT_ANSWERS else row["answer"],
    )


def with_more(
    request: BilledRequest, *, reasoning: int = 0, output: int = 0, total: int | None = None
) -> BilledRequest:
    """Return the request with more tokens billed; the total follows the output by default."""
    usage = request.usage
    if usage.reasoning_tokens is None or usage.total_tokens is None:
        raise ValueError("the bill states no reasoning, or no total")
    changed = replace(
        usage,
        reasoning_tokens=usage.reasoning_tokens + reasoning,
        output_tokens=usage.output_tokens + output,
        total_tokens=usage.total_tokens + (output if total is None else total),
    )
    return replace(request, usage=changed)


def identities_of(request: BilledRequest, counter: TokenCounter) -> set[str]:
    """Return the identities that a bill violates."""
    violations, _, _ = check_accounting(request, load_facts(), counter)
    return {violation.identity for violation in violations}


def shown_chains(name: str, model_name: str) -> list[Row]:
    """Return the rows of a model that show the reasoning which they bill."""
    facts = load_facts()
    return [
        row
        for row in load_rows(name)
        if row["reasoning"]
        and row["reasoning_tokens_billed"]
        and (model := facts.of(row["model"])) is not None
        and model.name == model_name
    ]


def chain_bill(row: Row, factor: float = 1.0) -> BilledRequest:
    """Return the bill of a shown chain, its reasoning billed at a factor."""
    # the rows state no more than the reasoning
    row = {**row, "completion_tokens_billed": row["reasoning_tokens_billed"]}
    request = replace(bill_of(row), disclosed_reasoning=row["reasoning"])
    extra = round((factor - 1.0) * row["reasoning_tokens_billed"])
    return with_more(request, reasoning=extra, output=extra)
