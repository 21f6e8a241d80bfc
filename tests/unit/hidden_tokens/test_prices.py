"""Prices and money: exact, dated, and never without a currency."""

from pathlib import Path

import pytest

from audit.billing_records import Money
from audit.errors import InvalidRequest
from audit.hidden_tokens.money import cost_of, parse_amount, sum_money
from audit.hidden_tokens.prices import load_prices, parse_prices

TABLE = """
[[price]]
model = "o1*"
currency = "USD"
output_per_million = "60.00"
valid_from = "2024-12-17T00:00:00Z"
source = "price list"

[[price]]
model = "o1-mini"
currency = "USD"
output_per_million = "12.00"
valid_from = "2024-09-12T00:00:00Z"
source = "price list"

[[price]]
model = "o1-mini"
currency = "USD"
output_per_million = "4.40"
valid_from = "2025-01-31T00:00:00Z"
source = "price list"
"""


@pytest.mark.parametrize(
    ("model", "at", "expected"),
    [
        ("o1-mini", "2024-09-11T23:59:59.999Z", None),
        ("o1-mini", "2024-09-12T00:00:00Z", "12.00"),
        ("o1-mini", "2025-01-30T23:59:59Z", "12.00"),
        ("o1-mini", "2025-01-31T00:00:00.000Z", "4.40"),
        ("o1-preview", "2025-06-01T00:00:00Z", "60.00"),
        ("o1-preview", "2024-06-01T00:00:00Z", None),
        ("o3", "2025-06-01T00:00:00Z", None),
    ],
)
def test_the_price_is_the_latest_of_the_nearest_name(
    model: str, at: str, expected: str | None
) -> None:
    price = parse_prices(TABLE).price_of(model, at)
    assert (price and price.output_per_million) == expected


def test_costs_are_exact() -> None:
    price = parse_prices(TABLE).price_of("o1-mini", "2026-01-01T00:00:00Z")
    assert price is not None
    assert price.cost_of(1) == Money(amount="0.00000440", currency="USD")
    ten = sum_money([price.cost_of(1)] * 10, "USD")
    assert ten == Money(amount="0.00004400", currency="USD")
    huge = cost_of(10**15, parse_amount("0.000000000000000001", "p"), "EUR")
    assert huge.amount == "0.000000001000000000000000"


def test_no_amounts_make_zero_and_currencies_do_not_mix() -> None:
    assert sum_money([], "EUR") == Money(amount="0", currency="EUR")
    with pytest.raises(InvalidRequest, match="currency: EUR cannot be added to USD"):
        sum_money([Money(amount="1", currency="EUR")], "USD")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('currency = "USD"\n', "", r"price\[0\]\.currency: is missing: an amount without"),
        ('"USD"', '"ABC"', r"price\[0\]\.currency: 'ABC' is no ISO 4217 code"),
        ('"USD"', '"usd"', r"price\[0\]\.currency: 'usd' is no ISO 4217 code"),
        ('"60.00"', "60.0", r"price\[0\]\.output_per_million: must be an exact decimal in quotes"),
        ('"60.00"', '"1e3"', r"price\[0\]\.output_per_million: must be an exact decimal"),
        ('"60.00"', '"-1"', r"price\[0\]\.output_per_million: is negative"),
        ('"60.00"', '"NaN"', r"price\[0\]\.output_per_million: must be an exact decimal"),
        ('model = "o1*"', 'model = ""', r"price\[0\]\.model: must be text"),
        ('source = "price list"\n', "", r"price\[0\]\.source: must be text, and is missing"),
        ('source = "price list"', 'source = "s"\ntax = 1', r"price\[0\]\.tax: is no known field"),
        (
            '"2024-12-17T00:00:00Z"',
            '"2024-12-17"',
            r"price\[0\]\.valid_from: must be a time in UTC",
        ),
        (
            '"2025-01-31T00:00:00Z"',
            '"2024-09-12T00:00:00Z"',
            r"price\[2\]: o1-mini has another price from the same time on",
        ),
        ("[[price]]", "[price]", "prices: is not valid TOML|prices: must hold"),
    ],
)
def test_what_is_no_price_is_named(old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_prices(TABLE.replace(old, new, 1))


def test_a_table_without_prices_is_refused() -> None:
    for text in ("", "other = 1", "price = 3"):
        with pytest.raises(InvalidRequest, match=r"must hold \[\[price\]\] tables"):
            parse_prices(text)
    with pytest.raises(InvalidRequest, match=r"price\[0\]: must be a table"):
        parse_prices("price = [3]")


def test_files_are_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    with pytest.raises(InvalidRequest, match=r"prices: cannot read .*prices\.toml"):
        load_prices(path)
    path.write_text(TABLE, encoding="utf-8")
    assert len(load_prices(path).prices) == 3
