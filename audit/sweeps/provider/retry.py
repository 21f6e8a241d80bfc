"""When a request is tried again, and how long to wait: full jitter, and what the server asks for.

Source of full jitter: M. Brooker, "Exponential backoff and jitter" (2015): a delay drawn evenly
from zero to the exponential ceiling spreads clients out best.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Answers that say "later": time-out, rate limit, and every error of the server's own.
_LATER = (408, 429)

Uniform = Callable[[], float]
"""Draws evenly from [0, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How often and how patiently a request is tried."""

    max_attempts: int = 4
    base_delay_s: float = 0.5
    max_delay_s: float = 20.0
    max_retry_after_s: float = 120.0
    """A server that asks for a longer wait is not asked again."""

    def delay_s(
        self, num_attempts: int, retry_after_s: float | None, uniform: Uniform
    ) -> float | None:
        """Return how long to wait after so many attempts; None where no other is due.

        `Retry-After` is a minimum: the jitter comes on top, so that not all return at once.
        """
        if num_attempts >= self.max_attempts:
            return None
        ceiling_s = min(self.max_delay_s, self.base_delay_s * 2.0 ** (num_attempts - 1))
        jitter_s = uniform() * ceiling_s
        if retry_after_s is None:
            return jitter_s
        return None if retry_after_s > self.max_retry_after_s else retry_after_s + jitter_s


def is_worth_retrying(http_status: int) -> bool:
    """Return whether the same request may fare better later."""
    return http_status in _LATER or http_status >= 500


def parse_retry_after(value: str | None, now: str) -> float | None:
    """Return the seconds that a `Retry-After` header asks for; None where it is none.

    Seconds or an HTTP date (RFC 9110, section 10.2.3); `now` is RFC 3339 in UTC.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        start = datetime.fromisoformat(now.replace("Z", "+00:00"))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - start).total_seconds())
