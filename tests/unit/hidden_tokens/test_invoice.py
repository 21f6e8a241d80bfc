"""Invoices against the usage of their requests."""

from dataclasses import replace
from typing import Any

import pytest

from audit.billing_records import BilledRequest, BilledUsage, UsageSchema
from audit.errors import InvalidRequest, RequestConflict
from audit.hidden_tokens.invoice import Invoice, check_invoice, parse_invoice
from audit.hidden_tokens.prices import parse_prices

PRICES = parse_prices(
    """
[[price]]
model = "o1-mini"
currency = "USD"
output_per_million = "4.40"
valid_from = "2025-01-31T00:00:00Z"
source = "price list"
"""
)
LINE = {
    "model": "o1-mini",
    "output_tokens": 3000,
    "prompt_tokens": 30,
    "num_requests": 3,
    # exactly 0.0132
    "output_amount": {"amount": "0.01", "currency": "USD"},
}
DOCUMENT: dict[str, Any] = {
    "account": "acme",
    "provider": "openai",
    "period_start": "2026-01-01T00:00:00Z",
    "period_end": "2026-02-01T00:00:00Z",
    "lines": [LINE],
}


def request(number: int, *, model: str = "o1-mini", prompt: int | None = 10) -> BilledRequest:
    usage = BilledUsage(schema=UsageSchema.OPENAI_CHAT, output_tokens=1000, prompt_tokens=prompt)
    return BilledRequest(
        request_id=f"r-{number}",
        account="acme",
        provider="openai",
        model=model,
        usage=usage,
        observed_at=f"2026-01-0{number}T03:04:05Z",
    )


REQUESTS = [request(1), request(2), request(3)]


def invoice(**changes: object) -> Invoice:
    return parse_invoice({**DOCUMENT, "lines": [{**LINE, **changes}]})


def test_an_invoice_that_agrees() -> None:
    violations, agreeing, unchecked = check_invoice([*REQUESTS, REQUESTS[0]], invoice(), PRICES)
    assert (violations, unchecked) == ((), ())
    assert agreeing == (
        "invoice_output_tokens:o1-mini",
        "invoice_prompt_tokens:o1-mini",
        "invoice_num_requests:o1-mini",
        "invoice_amount:o1-mini",
    )


@pytest.mark.parametrize(
    ("changes", "identity", "excess", "words"),
    [
        ({"output_tokens": 3064}, "invoice_output_tokens", 64, "bills 3064 output tokens"),
        ({"output_tokens": 2000}, "invoice_output_tokens", -1000, "they sum to 3000"),
        ({"prompt_tokens": 31}, "invoice_prompt_tokens", None, "bills 31 prompt tokens"),
        ({"num_requests": 4}, "invoice_num_requests", None, "bills 4 requests of o1-mini"),
        (
            {"output_amount": {"amount": "0.02", "currency": "USD"}},
            "invoice_amount",
            None,
            "bills 0.02 USD for the output of o1-mini; at the known prices it costs 0.01320000 USD",
        ),
        (
            {"output_amount": {"amount": "0.0133", "currency": "USD"}},
            "invoice_amount",
            None,
            "bills 0.0133 USD",
        ),
    ],
)
def test_where_they_differ(
    changes: dict[str, object], identity: str, excess: int | None, words: str
) -> None:
    (found,), _, _ = check_invoice(REQUESTS, invoice(**changes), PRICES)
    assert (found.identity, found.excess_tokens) == (identity, excess)
    assert words in found.statement


def test_models_on_one_side_only() -> None:
    (found,), _, _ = check_invoice([*REQUESTS, request(4, model="o3-mini")], invoice(), PRICES)
    assert found.statement == "1 requests to o3-mini are not on the invoice: 1000 tokens"
    assert found.excess_tokens == -1000
    (tokens, prompts, count, amount), _, _ = check_invoice([], invoice(), PRICES)
    assert (tokens.excess_tokens, prompts.identity) == (3000, "invoice_prompt_tokens")
    assert (count.identity, amount.identity) == ("invoice_num_requests", "invoice_amount")


def test_what_is_not_stated_is_not_compared() -> None:
    bare = invoice(prompt_tokens=None, num_requests=None, output_amount=None)
    violations, agreeing, unchecked = check_invoice(REQUESTS, bare)
    assert (violations, agreeing) == ((), ("invoice_output_tokens:o1-mini",))
    assert len(unchecked) == 3
    silent = [request(1, prompt=None), *REQUESTS[1:]]
    _, _, unchecked = check_invoice(silent, invoice())
    assert [one.detail.partition(":")[0] for one in unchecked] == [
        "invoice_prompt_tokens",
        "invoice_amount",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"account": "other"}, "request r-1: account: is other; the invoice is acme's"),
        ({"provider": "other"}, "request r-1: provider: is other"),
        ({"observed_at": "2026-02-01T00:00:00Z"}, "r-1: observed_at: lies outside the invoice's"),
    ],
)
def test_requests_of_another_invoice_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_invoice([replace(REQUESTS[0], **changed)], invoice())


def test_one_id_for_two_requests_is_refused() -> None:
    with pytest.raises(RequestConflict, match="the id r-1 names two different requests"):
        check_invoice([request(1), replace(request(2), request_id="r-1")], invoice())


def test_another_currency_than_the_prices_is_refused() -> None:
    euros = invoice(output_amount={"amount": "0.01", "currency": "EUR"})
    with pytest.raises(InvalidRequest, match="USD cannot be added to EUR"):
        check_invoice(REQUESTS, euros, PRICES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"account": None}, r"invoice\.account: is missing"),
        ({"provider": 3}, r"invoice\.provider: must be a string"),
        ({"total": 3}, r"invoice\.total: is no known field"),
        ({"period_start": "2026"}, r"invoice\.period_start: must be a time in UTC"),
        ({"period_end": "2026-01-01T00:00:00Z"}, r"period_end: must be later than period_start"),
        ({"lines": []}, r"invoice\.lines: are missing"),
        ({"lines": [3]}, r"invoice\.lines\[0\]: must be an object"),
        ({"lines": [LINE, LINE]}, r"invoice\.lines\[1\]\.model: o1-mini has a line already"),
        ({"lines": [{**LINE, "model": None}]}, r"invoice\.lines\[0\]\.model: is missing"),
        ({"lines": [{**LINE, "output_tokens": None}]}, r"lines\[0\]\.output_tokens: is missing"),
        ({"lines": [{**LINE, "output_tokens": -1}]}, r"lines\[0\]\.output_tokens: must lie"),
        ({"lines": [{**LINE, "output_tokens": 1.5}]}, r"output_tokens: must be an integer"),
        ({"lines": [{**LINE, "tax": 1}]}, r"lines\[0\]\.tax: is no known field"),
        (
            {"lines": [{**LINE, "output_amount": {"amount": "1"}}]},
            r"output_amount\.currency: is mi",
        ),
        (
            {"lines": [{**LINE, "output_amount": {"amount": 1.0, "currency": "USD"}}]},
            r"output_amount\.amount: must be an exact decimal in quotes",
        ),
    ],
)
def test_what_is_no_invoice_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_invoice({**DOCUMENT, **changes})
    with pytest.raises(InvalidRequest, match="invoice: must be an object, found list"):
        parse_invoice([])
