"""An invoice against the usage of the requests it bills.

An invoice states totals per model; a client has one usage object per request. Both must say the
same, in tokens and, where prices are known, in money.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from audit.billing_records import BilledRequest, Money, Refusal, Unchecked, Violation
from audit.codec.json_access import Json, get_list, get_object
from audit.errors import InvalidRequest, RequestConflict
from audit.hidden_tokens.money import parse_money, sum_money
from audit.hidden_tokens.prices import PriceTable
from audit.hidden_tokens.submission import request_digest
from audit.hidden_tokens.submission_fields import get_required_name, is_utc_time, refuse_unknown
from audit.hidden_tokens.visible import not_checked

#: More than one request's limit: an invoice covers a month of them.
MAX_INVOICE_TOKENS = 10**15
_KEYS = {"account", "provider", "period_start", "period_end", "lines"}
_LINE_KEYS = {"model", "output_tokens", "prompt_tokens", "num_requests", "output_amount"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """What is billed for one model."""

    model: str
    output_tokens: int
    prompt_tokens: int | None = None
    num_requests: int | None = None
    output_amount: Money | None = None
    """What the output tokens cost, without taxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """What is billed to one account over a period."""

    account: str
    provider: str
    period_start: str
    """RFC 3339 UTC, inclusive."""
    period_end: str
    """RFC 3339 UTC, exclusive."""
    lines: tuple[InvoiceLine, ...]


def parse_invoice(document: object) -> Invoice:
    """Return the invoice of a decoded JSON object. Raises: InvalidRequest naming the field."""
    if not isinstance(document, dict):
        raise InvalidRequest.of("invoice", f"must be an object, found {type(document).__name__}")
    refuse_unknown(document, _KEYS, "invoice")
    start, end = (_time(document, key) for key in ("period_start", "period_end"))
    if start.removesuffix("Z") >= end.removesuffix("Z"):
        raise InvalidRequest.of("invoice.period_end", "must be later than period_start")
    values = get_list(document, "lines", "invoice")
    if not values:
        raise InvalidRequest.of("invoice.lines", "are missing: state the totals of each model")
    lines = tuple(_line(value, f"invoice.lines[{i}]") for i, value in enumerate(values))
    models = [line.model for line in lines]
    for number, model in enumerate(models):
        if model in models[:number]:
            raise InvalidRequest.of(f"invoice.lines[{number}].model", f"{model} has a line already")
    return Invoice(
        account=get_required_name(document, "account", path="invoice"),
        provider=get_required_name(document, "provider", path="invoice"),
        period_start=start,
        period_end=end,
        lines=lines,
    )


def check_invoice(
    requests: Iterable[BilledRequest], invoice: Invoice, prices: PriceTable | None = None
) -> tuple[tuple[Violation, ...], tuple[str, ...], tuple[Unchecked, ...]]:
    """Return where invoice and requests differ, what agrees, and what could not be compared.

    A request that is submitted twice counts once. Raises: InvalidRequest for a request of another
    account, provider or period; RequestConflict where one id names two requests.
    """
    requests_of = _by_model(requests, invoice)
    findings: list[Violation | Unchecked | str] = []
    for line in invoice.lines:
        billed = requests_of.pop(line.model, [])
        findings += _compare_counts(line, billed)
        findings.append(_compare_money(line, billed, prices))
    for model, missing in sorted(requests_of.items()):
        tokens = sum(request.usage.output_tokens for request in missing)
        statement = f"{len(missing)} requests to {model} are not on the invoice: {tokens} tokens"
        findings.append(Violation(identity="invoice", statement=statement, excess_tokens=-tokens))
    return (
        tuple(item for item in findings if isinstance(item, Violation)),
        tuple(item for item in findings if isinstance(item, str)),
        tuple(item for item in findings if isinstance(item, Unchecked)),
    )


def _by_model(
    requests: Iterable[BilledRequest], invoice: Invoice
) -> dict[str, list[BilledRequest]]:
    requests_of: dict[str, list[BilledRequest]] = {}
    digest_of: dict[str, str] = {}
    start, end = (t.removesuffix("Z") for t in (invoice.period_start, invoice.period_end))
    for request in requests:
        where = f"request {request.request_id}"
        for field in ("account", "provider"):
            ours, theirs = getattr(request, field), getattr(invoice, field)
            if ours != theirs:
                raise InvalidRequest.of(
                    f"{where}: {field}", f"is {ours}; the invoice is {theirs}'s"
                )
        if not start <= request.observed_at.removesuffix("Z") < end:
            raise InvalidRequest.of(f"{where}: observed_at", "lies outside the invoice's period")
        digest = request_digest(request)
        known = digest_of.get(request.request_id)
        if known is None:
            digest_of[request.request_id] = digest
            requests_of.setdefault(request.model, []).append(request)
        elif known != digest:
            raise RequestConflict(f"the id {request.request_id} names two different requests")
    return requests_of


def _compare_counts(
    line: InvoiceLine, requests: list[BilledRequest]
) -> list[Violation | Unchecked | str]:
    prompts = [request.usage.prompt_tokens for request in requests]
    known_prompts = [count for count in prompts if count is not None]
    sums: dict[str, tuple[int | None, int | None]] = {
        "output_tokens": (line.output_tokens, sum(r.usage.output_tokens for r in requests)),
        "prompt_tokens": (
            line.prompt_tokens,
            sum(known_prompts) if len(known_prompts) == len(prompts) else None,
        ),
        "num_requests": (line.num_requests, len(requests)),
    }
    findings: list[Violation | Unchecked | str] = []
    for name, (invoiced, summed) in sums.items():
        identity, words = f"invoice_{name}", name.removeprefix("num_").replace("_", " ")
        if invoiced is None or summed is None:
            detail = f"{identity}: {line.model}: invoice or requests do not state {words}"
            findings.append(not_checked(Refusal.NO_EVIDENCE, detail))
        elif invoiced == summed:
            findings.append(f"{identity}:{line.model}")
        else:
            excess = invoiced - summed
            statement = (
                f"the invoice bills {invoiced} {words} of {line.model}; they sum to {summed}"
            )
            tokens = excess if name == "output_tokens" else None
            findings.append(Violation(identity=identity, statement=statement, excess_tokens=tokens))
    return findings


def _compare_money(
    line: InvoiceLine, requests: list[BilledRequest], prices: PriceTable | None
) -> Violation | Unchecked | str:
    """Compare an amount with what the requests cost, up to the rounding of the amount."""
    if line.output_amount is None:
        detail = f"invoice_amount: {line.model}: the invoice states no amount"
        return not_checked(Refusal.NO_EVIDENCE, detail)
    costs: list[Money] = []
    for request in requests:
        price = prices.price_of(request.model, request.observed_at) if prices else None
        if price is None:
            detail = f"invoice_amount: no price of {line.model} at {request.observed_at} is known"
            return not_checked(Refusal.NO_EVIDENCE, detail)
        costs.append(price.cost_of(request.usage.output_tokens))
    amount = Decimal(line.output_amount.amount)
    expected = sum_money(costs, line.output_amount.currency)
    # an amount with two places may be half a hundredth away from the exact one
    half_unit = Decimal(5).scaleb(int(amount.as_tuple().exponent) - 1)
    difference = amount - Decimal(expected.amount)
    if abs(difference) <= half_unit:
        return f"invoice_amount:{line.model}"
    currency = expected.currency
    statement = (
        f"the invoice bills {amount} {currency} for the output of {line.model}; at the known "
        f"prices it costs {expected.amount} {currency}"
    )
    return Violation(identity="invoice_amount", statement=statement)


def _line(value: Any, path: str) -> InvoiceLine:
    if not isinstance(value, dict):
        raise InvalidRequest.of(path, "must be an object")
    refuse_unknown(value, _LINE_KEYS, path)
    output_tokens = _count(value, "output_tokens", path)
    if output_tokens is None:
        raise InvalidRequest.of(f"{path}.output_tokens", "is missing")
    amount = get_object(value, "output_amount", path)
    return InvoiceLine(
        model=get_required_name(value, "model", path=path),
        output_tokens=output_tokens,
        prompt_tokens=_count(value, "prompt_tokens", path),
        num_requests=_count(value, "num_requests", path),
        output_amount=None
        if amount is None
        else parse_money(amount.get("amount"), amount.get("currency"), f"{path}.output_amount"),
    )


def _count(parent: Json, key: str, path: str) -> int | None:
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest.of(f"{path}.{key}", "must be an integer")
    if not 0 <= value <= MAX_INVOICE_TOKENS:
        raise InvalidRequest.of(f"{path}.{key}", f"must lie between 0 and {MAX_INVOICE_TOKENS:,}")
    return value


def _time(document: Json, key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not is_utc_time(value):
        raise InvalidRequest.of(
            f"invoice.{key}", "must be a time in UTC such as 2026-01-02T03:04:05Z"
        )
    return value
