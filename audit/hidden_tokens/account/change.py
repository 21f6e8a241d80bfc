"""Where a meter began to disagree, as far as can be told: an estimate, without an error bound.

The log growth of a fixed bet falls, on average, while the meter is right and rises once it is not.
Its sum since the last lowest point is Page's CUSUM; the request after that point is the estimate.
Source: Page, "Continuous inspection schemes" (1954).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cusum:
    """The sum since its last lowest point, and the request (from 1) after that point."""

    rise: float = 0.0
    since_request: int | None = None

    def after(self, growth: float, request: int) -> "Cusum":
        """Return the state after a request's log growth, which may be of either sign."""
        rise = self.rise + growth
        if rise <= 0.0:
            return Cusum()
        return Cusum(rise=rise, since_request=self.since_request or request)
