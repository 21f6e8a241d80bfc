"""Amounts of money: exact decimals, never floating point, never two currencies in one sum."""

import re
from collections.abc import Iterable
from decimal import Context, Decimal, Inexact

from audit.billing_records import Money
from audit.errors import InvalidRequest

#: Any result that would have to be rounded raises instead.
_EXACT = Context(prec=100, traps=[Inexact])
_DECIMAL = re.compile(r"-?\d{1,18}(\.\d{1,18})?")

# ISO 4217, active codes of currencies
_CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD
    KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO
    NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND
    VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()
)


def parse_amount(value: object, path: str) -> Decimal:
    """Return an amount written as a decimal string. Raises: InvalidRequest, for numbers too."""
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        raise InvalidRequest.of(path, 'must be an exact decimal in quotes, such as "12.50"')
    return Decimal(value)


def parse_currency(value: object, path: str) -> str:
    """Return a currency's code. Raises: InvalidRequest where it is missing or not in ISO 4217."""
    if value is None:
        raise InvalidRequest.of(path, "is missing: an amount without a currency is no price")
    if value not in _CURRENCIES:
        raise InvalidRequest.of(path, f"{value!r} is no ISO 4217 code such as USD or EUR")
    return str(value)


def parse_money(amount: object, currency: object, path: str) -> Money:
    """Return an amount with its currency. Raises: InvalidRequest."""
    return money_of(
        parse_amount(amount, f"{path}.amount"), parse_currency(currency, f"{path}.currency")
    )


def money_of(amount: Decimal, currency: str) -> Money:
    """Return the record of an amount, without an exponent."""
    return Money(amount=f"{amount:f}", currency=currency)


def cost_of(num_tokens: int, per_million: Decimal, currency: str) -> Money:
    """Return what so many tokens cost at a price per million of them, exactly."""
    return money_of(_EXACT.scaleb(_EXACT.multiply(Decimal(num_tokens), per_million), -6), currency)


def sum_money(amounts: Iterable[Money], currency: str) -> Money:
    """Return the exact sum; no amounts make 0 of `currency`. Raises: InvalidRequest for others."""
    total = Decimal(0)
    for money in amounts:
        if money.currency != currency:
            raise InvalidRequest.of(
                "currency", f"{money.currency} cannot be added to {currency}: bill them apart"
            )
        total = _EXACT.add(total, Decimal(money.amount))
    return money_of(total, currency)
