"""Prices of output tokens, as data: which model, which currency, from when on.

[[price]]
model = "o1-mini"              # a shell pattern of whole names
currency = "USD"
output_per_million = "12.00"   # exact, hence in quotes
valid_from = "2024-09-12T00:00:00Z"
source = "the vendor's price list"
"""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from audit.billing_records import Money
from audit.errors import InvalidRequest
from audit.hidden_tokens.money import cost_of, parse_amount, parse_currency
from audit.hidden_tokens.submission_fields import is_utc_time

_KEYS = {"model", "currency", "output_per_million", "valid_from", "source"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million output tokens of a model cost from some time on."""

    model: str
    """Shell pattern of model names."""
    currency: str
    output_per_million: str
    """Exact decimal."""
    valid_from: str
    """RFC 3339 UTC."""
    source: str

    def cost_of(self, num_tokens: int) -> Money:
        """Return what so many output tokens cost, exactly."""
        return cost_of(num_tokens, Decimal(self.output_per_million), self.currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices of many models at many times."""

    prices: tuple[Price, ...]

    def price_of(self, model: str, at: str) -> Price | None:
        """Return the price of a model at an RFC 3339 UTC time, or None where none is known.

        A price for the very name comes before patterns, a longer pattern before a shorter one, and
        then the latest that is valid already.
        """
        valid = [
            price
            for price in self.prices
            if fnmatchcase(model, price.model) and _instant(price.valid_from) <= _instant(at)
        ]
        return max(
            valid,
            key=lambda p: (p.model == model, len(p.model), _instant(p.valid_from)),
            default=None,
        )


def load_prices(path: Path) -> PriceTable:
    """Return the price table of a TOML file. Raises: InvalidRequest naming file and field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest.of("prices", f"cannot read {path}: {error}") from error
    return parse_prices(text)


def parse_prices(text: str) -> PriceTable:
    """Return the price table of a TOML text. Raises: InvalidRequest naming the field."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest.of("prices", f"is not valid TOML: {error}") from error
    tables = document.get("price")
    if set(document) != {"price"} or not isinstance(tables, list):
        raise InvalidRequest.of("prices", "must hold [[price]] tables, one or more, and no others")
    prices = tuple(_price(table, f"price[{number}]") for number, table in enumerate(tables))
    seen: set[tuple[str, str]] = set()
    for number, price in enumerate(prices):
        key = (price.model, _instant(price.valid_from))
        if key in seen:
            raise InvalidRequest.of(
                f"price[{number}]", f"{price.model} has another price from the same time on"
            )
        seen.add(key)
    return PriceTable(prices=prices)


def _price(table: Any, path: str) -> Price:
    if not isinstance(table, dict):
        raise InvalidRequest.of(path, "must be a table")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise InvalidRequest.of(f"{path}.{unknown[0]}", "is no known field of a price")
    amount = parse_amount(table.get("output_per_million"), f"{path}.output_per_million")
    if amount < 0:
        raise InvalidRequest.of(f"{path}.output_per_million", "is negative")
    valid_from = _text(table, "valid_from", path)
    if not is_utc_time(valid_from):
        raise InvalidRequest.of(
            f"{path}.valid_from", "must be a time in UTC such as 2026-01-02T03:04:05Z, in quotes"
        )
    return Price(
        model=_text(table, "model", path),
        currency=parse_currency(table.get("currency"), f"{path}.currency"),
        output_per_million=table["output_per_million"],
        valid_from=valid_from,
        source=_text(table, "source", path),
    )


def _text(table: dict[str, Any], key: str, path: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidRequest.of(f"{path}.{key}", "must be text, and is missing or empty")
    return value


def _instant(time: str) -> str:
    # without the Z, a whole second sorts before its fractions
    return time.removesuffix("Z")
