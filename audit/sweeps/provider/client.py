"""Asks endpoints over HTTP: one probe in, what came back out, within budget, pace and patience.

Every try is paid for beforehand (`limits`), redirects are not followed, since they would carry the
key to where nobody sent it, and no proxy or certificate comes from the environment. What an
endpoint does wrong ends as a status of its `RawAnswer`; only a wrong set-up raises.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http.cookiejar import DefaultCookiePolicy
from ssl import SSLContext
from types import TracebackType
from typing import Protocol, Self

import httpx2

from audit.errors import InvalidRequest
from audit.ports import Clock
from audit.sweep_records import AnswerStatus, Budget, Endpoint, Probe, RawAnswer, Spending
from audit.sweeps.probe import request_body, request_path
from audit.sweeps.provider.answers import parse_answer
from audit.sweeps.provider.limits import BudgetGuard, Monotonic, Pace, Sleep, Tokens
from audit.sweeps.provider.outcomes import Outcome, of_failure, of_response, of_timeout
from audit.sweeps.provider.responses import MAX_BODY_BYTES, read_response
from audit.sweeps.provider.retry import RetryRules, Uniform
from audit.sweeps.provider.secrets import Keyring, LogGuard, Secret, without_keys

#: Reaching a host takes no longer than this, whatever an answer may take.
MAX_CONNECT_S = 10.0

#: Part of an endpoint's time-out for the connection, and again for its encryption: both then end
#: by themselves, since the library leaves a socket open where it is cancelled amid a handshake.
_CONNECT_SHARE = 1.0 / 3.0


class Asker(Protocol):
    """Sends probes to endpoints."""

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        """Return what came back; never raises for what the endpoint does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client measures time, draws and waits."""

    clock: Clock
    monotonic: Monotonic
    uniform: Uniform
    sleep: Sleep = asyncio.sleep
    retry: RetryRules = field(default_factory=RetryRules)
    max_body_bytes: int = MAX_BODY_BYTES
    tls: SSLContext | None = None
    """Which certificates are trusted; None takes the public ones."""


@dataclass(slots=True)
class _Lane:
    """Everything that the tries of one endpoint share."""

    secret: Secret | None
    guard: BudgetGuard
    pace: Pace
    slots: asyncio.Semaphore


@dataclass(slots=True)
class _Tally:
    num_attempts: int = 0
    num_rate_limited: int = 0


class ProviderClient:
    """Asks the endpoints of one run; an async context manager.

    Its records and messages never hold a key.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        budget: Budget,
        keys: Keyring,
        settings: ClientSettings,
    ) -> None:
        """Resolve all keys and prepare the budgets. Raises: ConfigurationError, InvalidRequest."""
        self._settings = settings
        self._lanes = {e.name: self._lane(e, budget, keys) for e in endpoints}
        self._secrets = tuple(s for s in (lane.secret for lane in self._lanes.values()) if s)
        self._log_guard = LogGuard(self._secrets)
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Open the connections' pool."""
        # the library's own name for itself is kept: an endpoint must not tell probes by it
        http = httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            verify=self._settings.tls or True,
            headers={"Accept-Encoding": "gzip, deflate"},
        )
        # a cookie would tie requests together that users send apart
        http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._log_guard.install()
        self._http = http
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()
        self._log_guard.remove()

    def spending(self, endpoint: str) -> Spending:
        """Return what an endpoint has cost so far."""
        return self._lanes[endpoint].guard.spending

    def charge(self, endpoint: str, probe: Probe, raw: RawAnswer) -> None:
        """Count an answer that was recorded before this client began, as when a run is resumed."""
        guard = self._lanes[endpoint].guard
        guard.charge(probe, raw.status, _usage(probe, raw), raw.num_attempts)

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        """Send a probe, again where that may help, and return what came back last."""
        lane = self._lanes.get(endpoint.name)
        if lane is None:
            raise InvalidRequest.of("endpoint", f"{endpoint.name} is none of this client's")
        settings, tally, last = self._settings, _Tally(), None
        while True:
            outcome = await self._try(endpoint, probe, lane, tally)
            if outcome.raw.status is AnswerStatus.NOT_SENT:
                return self._final(last or outcome, tally, stopped_by=outcome.raw.error)
            last = outcome
            if not outcome.is_retryable:
                return self._final(outcome, tally)
            delay_s = settings.retry.delay_s(
                tally.num_attempts, outcome.retry_after_s, settings.uniform
            )
            if delay_s is None:
                return self._final(outcome, tally)
            if outcome.raw.status is AnswerStatus.RATE_LIMITED:
                lane.pace.hold(delay_s)
            await settings.sleep(delay_s)

    async def _try(self, endpoint: Endpoint, probe: Probe, lane: _Lane, tally: _Tally) -> Outcome:
        async with lane.slots:
            await lane.pace.wait()
            refusal = lane.guard.reserve(probe)
            if refusal is not None:
                raw = RawAnswer(status=AnswerStatus.NOT_SENT, error=f"not sent: {refusal}")
                return Outcome(raw=raw)
            tally.num_attempts += 1
            # a try that is cancelled may have been billed
            status, usage = AnswerStatus.TIMED_OUT, None
            try:
                outcome = await self._post(endpoint, probe, lane)
                status, usage = outcome.raw.status, _usage(probe, outcome.raw)
                if usage is None and not outcome.was_sent:
                    usage = Tokens(prompt=0, output=0)
            finally:
                lane.guard.settle(probe, status, usage)
        tally.num_rate_limited += status is AnswerStatus.RATE_LIMITED
        return outcome

    async def _post(self, endpoint: Endpoint, probe: Probe, lane: _Lane) -> Outcome:
        settings = self._settings
        sent_at, start_s = settings.clock(), settings.monotonic()
        try:
            # the read time-out starts anew with each byte; this one does not
            async with asyncio.timeout(endpoint.timeout_s):
                outcome = await self._exchange(endpoint, probe, lane, sent_at)
        except (TimeoutError, httpx2.TimeoutException) as error:
            outcome = of_timeout(error, endpoint)
        except httpx2.RequestError as error:
            outcome = of_failure(error, endpoint)
        except httpx2.InvalidURL:
            outcome = of_failure(httpx2.ConnectError("the base_url is no URL"), endpoint)
        elapsed_s = round(settings.monotonic() - start_s, 6)
        raw = self._cleaned(replace(outcome.raw, sent_at=sent_at, elapsed_s=elapsed_s))
        parsed = parse_answer(probe, raw)
        if parsed.status is not raw.status:
            raw = replace(raw, status=parsed.status, error=parsed.error)
        return replace(outcome, raw=raw)

    async def _exchange(
        self, endpoint: Endpoint, probe: Probe, lane: _Lane, sent_at: str
    ) -> Outcome:
        if self._http is None:
            raise RuntimeError("the client is used outside its context")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if lane.secret is not None:
            headers["Authorization"] = f"Bearer {lane.secret.reveal()}"
        limit_s = endpoint.timeout_s
        async with self._http.stream(
            "POST",
            endpoint.base_url.rstrip("/") + request_path(probe),
            content=json.dumps(request_body(probe, endpoint), ensure_ascii=False).encode(),
            headers=headers,
            timeout=httpx2.Timeout(
                limit_s, connect=min(limit_s * _CONNECT_SHARE, MAX_CONNECT_S), pool=None
            ),
        ) as response:
            body = await read_response(response, self._settings.max_body_bytes, self._secrets)
            return of_response(response, body, sent_at)

    def _final(self, outcome: Outcome, tally: _Tally, stopped_by: str | None = None) -> RawAnswer:
        raw = outcome.raw
        error = raw.error
        if stopped_by is not None and error != stopped_by:
            error = f"{error or 'it failed'}; no further try: {stopped_by}"
        return replace(
            raw,
            num_attempts=tally.num_attempts,
            num_rate_limited=tally.num_rate_limited,
            error=error,
        )

    def _cleaned(self, raw: RawAnswer) -> RawAnswer:
        error = None if raw.error is None else without_keys(raw.error, self._secrets)
        return replace(raw, error=error)

    def _lane(self, endpoint: Endpoint, budget: Budget, keys: Keyring) -> _Lane:
        settings = self._settings
        return _Lane(
            secret=keys.resolve(endpoint.key_ref),
            guard=BudgetGuard(endpoint, budget),
            pace=Pace(endpoint.max_requests_per_s, settings.monotonic, settings.sleep),
            slots=asyncio.Semaphore(endpoint.max_concurrency),
        )


def _usage(probe: Probe, raw: RawAnswer) -> Tokens | None:
    answer = parse_answer(probe, raw)
    if answer.prompt_tokens is None or answer.completion_tokens is None:
        return None
    return Tokens(prompt=answer.prompt_tokens, output=answer.completion_tokens)
