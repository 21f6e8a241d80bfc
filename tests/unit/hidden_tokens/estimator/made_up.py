"""Made-up reference data: the count grows with the prompt, in two models of unlike habits."""

import random

from audit.billing_records import BilledRequest, BilledUsage, UsageSchema
from audit.hidden_tokens.estimator.cells import EstimatorRow, Quantity

_FACTORS = {"slow": 12.0, "quick": 3.0}
_WORDS = {
    "planning": "stack block table unstack goal move hand clear".split(),
    "medical": "patient fever dose nausea diagnosis therapy symptom chronic".split(),
}


def example_rows(name: str, num_rows: int, *, seed: int = 0) -> list[EstimatorRow]:
    """Return rows whose questions all begin with `name`, half of each model and domain."""
    drawn = random.Random(f"{name}:{seed}")  # noqa: S311 - made-up data
    rows = []
    for index in range(num_rows):
        domain, model = ("planning", "medical")[index % 2], ("slow", "quick")[index // 2 % 2]
        words = [drawn.choice(_WORDS[domain]) for _ in range(drawn.randint(5, 120))]
        num_tokens = len(words) * _FACTORS[model] * drawn.lognormvariate(0.0, 0.3)
        rows.append(
            EstimatorRow(
                model=model,
                domain=domain,
                effort="",
                prompt=f"{name} {index}: {' '.join(words)}?",
                answer="yes",
                quantity=Quantity.REASONING,
                num_tokens=round(num_tokens),
                group=f"{name}-{index}",
            )
        )
    return rows


def example_request(row: EstimatorRow, *, num_tokens: int | None = None) -> BilledRequest:
    """Return the row as a request that a client hands in."""
    reasoning = row.num_tokens if num_tokens is None else num_tokens
    return BilledRequest(
        request_id="r-1",
        account="a",
        provider="p",
        model=row.model,
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_CHAT,
            output_tokens=reasoning + 20,
            reasoning_tokens=reasoning,
        ),
        observed_at="2026-01-02T03:04:05Z",
        prompt=row.prompt,
        answer=row.answer,
    )
