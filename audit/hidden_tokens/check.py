"""One billed request against every kind of evidence there is: `BilledRequest -> RequestCheck`.

A channel that cannot say anything is named with its reason; nothing is dropped silently. Whose word
a channel is, and whom it stops, stands in its reading.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from audit.billing_records import (
    AccountKey,
    BilledRequest,
    Reading,
    Refusal,
    RequestCheck,
    Tier,
    Unchecked,
    Violation,
)
from audit.hidden_tokens.calibration_file import BillingCalibration
from audit.hidden_tokens.estimator.router import Router
from audit.hidden_tokens.facts import Facts
from audit.hidden_tokens.identities import check_accounting
from audit.hidden_tokens.palace.channel import PalaceChannel
from audit.hidden_tokens.vocabularies import NoVocabularies, TokenCounter

#: The domain of a request whose client states none, and whose prompt the router cannot place.
UNKNOWN_DOMAIN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterChecker:
    """Checks requests with one set of facts and one calibration; safe to call from any thread."""

    facts: Facts
    calibration: BillingCalibration
    counter: TokenCounter = field(default_factory=NoVocabularies)
    palace: PalaceChannel | None = None
    """The estimating model; without one nothing is said of it."""

    def check(self, request: BilledRequest) -> RequestCheck:
        """Return all evidence about one request. Raises: InvalidRequest, ConfigurationError."""
        domain = self.domain_of(request)
        violations, checked, unchecked = check_accounting(request, self.facts, self.counter)
        timing = self.calibration.timing
        impossible = None if timing is None else timing.impossible(request, domain)
        read = list(self._channels(request, domain))
        return RequestCheck(
            request=request,
            domain=domain,
            violations=(*violations, *_stated(impossible)),
            readings=tuple(one for one in read if isinstance(one, Reading)),
            unchecked=(*unchecked, *(one for one in read if isinstance(one, Unchecked))),
            checked=checked,
        )

    def domain_of(self, request: BilledRequest) -> str:
        """Return the stated domain, or where the router puts the prompt.

        An account has one domain: the estimator's router goes before the estimating model's.
        """
        if request.domain is not None:
            return request.domain
        router = self._router()
        if router is None or request.prompt is None:
            return UNKNOWN_DOMAIN
        return router.route(request.prompt).domain or UNKNOWN_DOMAIN

    def key_of(self, tenant: str, request: BilledRequest) -> AccountKey:
        """Return the account that a request's evidence is added to."""
        return AccountKey(
            tenant=tenant,
            account=request.account,
            provider=request.provider,
            model=request.model,
            effort=request.effort or "",
            domain=self.domain_of(request),
            calibration_id=self.calibration.calibration_id,
        )

    def _router(self) -> Router | None:
        if self.calibration.estimator is not None:
            return self.calibration.estimator.core.router
        return None if self.palace is None else self.palace.router

    def _channels(self, request: BilledRequest, domain: str) -> Iterator[Reading | Unchecked]:
        calibration = self.calibration
        yield calibration.rank.read(request, domain)
        for tier, law in (
            (Tier.TIMING, calibration.timing),
            (Tier.OPAQUE, calibration.opaque),
            (Tier.ESTIMATOR, calibration.estimator),
        ):
            if law is None:
                yield Unchecked(
                    tier=tier,
                    reason=Refusal.TOO_LITTLE_CALIBRATION,
                    detail="the calibration in use holds nothing for this kind of evidence",
                )
            else:
                yield law.read(request, domain)
        if self.palace is not None:
            yield self.palace.read(request, domain)


def _stated(violation: Violation | None) -> tuple[Violation, ...]:
    return () if violation is None else (violation,)
