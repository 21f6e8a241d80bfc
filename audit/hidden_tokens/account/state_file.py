"""An account's evidence as text for the database, with a checksum: spoiled state is never built on.

Legend: B staked fractions.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

import rfc8785

from audit.billing_records import AccountKey, Adversary, Controller, Refusal, Tier, Violation
from audit.errors import CorruptState
from audit.hidden_tokens.account.bets import FRACTIONS_B
from audit.hidden_tokens.account.change import Cusum
from audit.hidden_tokens.account.ratio import RATIO_FIELDS, RatioSums
from audit.hidden_tokens.account.rules import BETTING_TIERS
from audit.hidden_tokens.account.state import AccountState, Alarm, ChannelState, Law

FORMAT = "inference-audit/billing-account/v1"

#: What the numbers in a state mean; under another meaning they cannot be added to.
_MEANING = hashlib.sha256(
    rfc8785.dumps({"fractions": FRACTIONS_B.tolist(), "ratio": list(RATIO_FIELDS)})
).hexdigest()


def state_to_json(state: AccountState) -> str:
    """Return the text of a state."""
    body = {"format": FORMAT, "meaning": _MEANING, **asdict(state)}
    return json.dumps({"sha256": _digest(body), **body}, separators=(",", ":"))


def state_from_json(text: str, *, finding_id: str) -> AccountState:
    """Return the state of a text. Raises: CorruptState, which names the account's finding."""
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        stated = body.pop("sha256", None)
        if stated != _digest(body):
            raise ValueError("its checksum does not fit its content")
        if body["meaning"] != _MEANING:
            raise ValueError("it was written by a version that weighs evidence differently")
        return _state(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptState(
            f"the evidence of the account {finding_id} cannot be used: {error}; it was left as it "
            "is. Restore the database from a backup, or upgrade inference-audit if a newer version "
            "wrote it"
        ) from error


def finding_id_of(key: AccountKey) -> str:
    """Return `sha256:<hex>` of an account's key as RFC 8785 JSON, as in the signed statement."""
    members = asdict(key)
    members["calibration"] = members.pop("calibration_id")
    return f"sha256:{_digest(members)}"


def _state(body: Mapping[str, Any]) -> AccountState:
    channels = tuple(_channel(item) for item in body["channels"])
    if len({channel.tier for channel in channels}) < len(channels):
        raise ValueError("it holds a channel twice")
    alarm, currency = body["alarm"], body["currency"]
    return AccountState(
        rules_id=str(body["rules_id"]),
        num_requests=_count(body["num_requests"]),
        billed_tokens=_count(body["billed_tokens"]),
        num_violations=_count(body["num_violations"]),
        violations=tuple(_violation(item) for item in body["violations"]),
        channels=channels,
        together_over_B=_wealth(body["together_over_B"]),
        together_under_B=_wealth(body["together_under_B"]),
        rise_over=_cusum(body["rise_over"]),
        rise_under=_cusum(body["rise_under"]),
        alarm=None if alarm is None else _alarm(alarm),
        unchecked=tuple((Tier(t), Refusal(r), _count(n)) for t, r, n in body["unchecked"]),
        cost=_decimal(body["cost"]),
        currency=None if currency is None else str(currency),
        num_unpriced=_count(body["num_unpriced"]),
    )


def _channel(body: Mapping[str, Any]) -> ChannelState:
    tier = Tier(body["tier"])
    if tier not in BETTING_TIERS:
        raise ValueError(f"{tier} is no tier that bets")
    sums = {name: _number(body["ratio"][name]) for name in RATIO_FIELDS}
    for name in ("num", "num_warm"):
        sums[name] = _count(body["ratio"][name])
    return ChannelState(
        tier=tier,
        laws=tuple(_law(item) for item in body["laws"]),
        controller=Controller(body["controller"]),
        stops=Adversary(body["stops"]),
        is_exact=_flag(body["is_exact"]),
        num_requests=_count(body["num_requests"]),
        num_other_law=_count(body["num_other_law"]),
        over_B=_wealth(body["over_B"]),
        under_B=_wealth(body["under_B"]),
        ratio=RatioSums(**sums),  # type: ignore[arg-type]
    )


def _law(body: Mapping[str, Any]) -> Law:
    return Law(**{name: str(body[name]) for name in ("channel", "cell", "calibration_id")})


def _violation(body: Mapping[str, Any]) -> Violation:
    excess = body["excess_tokens"]
    if excess is not None and type(excess) is not int:
        raise ValueError("an excess must be a whole number")
    return Violation(
        identity=str(body["identity"]),
        statement=str(body["statement"]),
        excess_tokens=excess,
        tier=Tier(body["tier"]),
    )


def _alarm(body: Mapping[str, Any]) -> Alarm:
    direction = body["direction"]
    if direction not in ("over", "under", None):
        raise ValueError("its direction makes no sense")
    return Alarm(
        request=_count(body["request"]),
        direction=direction,
        tier=Tier(body["tier"]),
        change_at=_count(body["change_at"]),
        is_violation=_flag(body["is_violation"]),
    )


def _cusum(body: Mapping[str, Any]) -> Cusum:
    since = body["since_request"]
    return Cusum(rise=_number(body["rise"]), since_request=None if since is None else _count(since))


def _wealth(values: Any) -> tuple[float, ...]:
    if len(values) != len(FRACTIONS_B):
        raise ValueError(f"{len(FRACTIONS_B)} fractions are expected")
    return tuple(_number(value) for value in values)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("a finite number is expected")
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count is expected")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false is expected")
    return value


def _decimal(value: Any) -> str:
    try:
        is_finite = Decimal(str(value)).is_finite()
    except InvalidOperation as error:
        raise ValueError("an exact decimal is expected") from error
    if not is_finite:
        raise ValueError("a finite decimal is expected")
    return str(value)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(dict(body))).hexdigest()
