"""What a checked request must be before it is added to an account's evidence."""

import math

from audit.billing_records import AccountKey, Reading, RequestCheck
from audit.errors import InvalidRequest
from audit.hidden_tokens.account.rules import BETTING_TIERS, CALIBRATED_TIERS


def require_own(check: RequestCheck, key: AccountKey) -> None:
    """Raise InvalidRequest for a request of another account, model, effort or domain."""
    request = check.request
    found = (request.account, request.provider, request.model, request.effort or "", check.domain)
    wanted = (key.account, key.provider, key.model, key.effort, key.domain)
    names = ("account", "provider", "model", "effort", "domain")
    for name, is_one, should_be in zip(names, found, wanted, strict=True):
        if is_one != should_be:
            raise InvalidRequest.of(
                name,
                f"request {request.request_id} has {is_one!r}, the account {should_be!r}: evidence "
                "is added up for one account, model, effort and domain at a time",
            )


def require_possible(reading: Reading) -> None:
    """Raise InvalidRequest for a reading that no channel can give."""
    if reading.tier not in BETTING_TIERS:
        raise InvalidRequest.of("tier", f"{reading.tier} gives violations, not p-values")
    for name, p_value in (("p_over", reading.p_over), ("p_under", reading.p_under)):
        if not 0.0 < p_value <= 1.0:
            raise InvalidRequest.of(name, f"must lie in (0, 1], found {p_value:g}")
    if not 0.0 <= reading.dkw_epsilon <= 1.0:
        raise InvalidRequest.of("dkw_epsilon", "must lie in [0, 1]")
    if reading.dkw_epsilon == 0.0 and reading.tier in CALIBRATED_TIERS:
        raise InvalidRequest.of(
            "dkw_epsilon", f"{reading.tier} rests on a finite calibration: its error must be stated"
        )
    expected = reading.expected_tokens
    if expected is not None and not 0.0 < expected < math.inf:
        raise InvalidRequest.of("expected_tokens", "must be finite and more than 0")
