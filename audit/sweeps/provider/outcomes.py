"""What became of one try: a status, a sentence, and whether another try may help."""

import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from audit.sweep_records import AnswerStatus, Endpoint, RawAnswer
from audit.sweeps.provider.responses import Body
from audit.sweeps.provider.retry import is_worth_retrying, parse_retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One try's answer, and what follows from it."""

    raw: RawAnswer
    is_retryable: bool = False
    retry_after_s: float | None = None
    was_sent: bool = True
    """Whether the endpoint may have read the request."""


def of_response(response: httpx2.Response, body: Body, now: str) -> Outcome:
    """Return the outcome of a response, whatever its status; `now` dates `Retry-After`."""
    code = response.status_code
    status, error = _status(code, response)
    if status is AnswerStatus.ANSWERED and body.problem is not None:
        status, error = AnswerStatus.GARBAGE, body.problem
    return Outcome(
        raw=RawAnswer(
            status=status, http_status=code, body=body.text, is_cut=body.is_cut, error=error
        ),
        is_retryable=is_worth_retrying(code),
        retry_after_s=parse_retry_after(response.headers.get("retry-after"), now),
    )


def of_timeout(error: TimeoutError | httpx2.TimeoutException, endpoint: Endpoint) -> Outcome:
    """Return the outcome of a try that took too long; a connection that never stood is retried."""
    if isinstance(error, httpx2.ConnectTimeout):
        return _unreachable("no connection was made in time", was_sent=False)
    raw = RawAnswer(
        status=AnswerStatus.TIMED_OUT, error=f"no whole answer within {endpoint.timeout_s:g} s"
    )
    return Outcome(raw=raw)


def of_failure(error: httpx2.RequestError, endpoint: Endpoint) -> Outcome:
    """Return the outcome of a connection that failed or broke.

    The library's own text is left out: it may quote what the peer sent.
    """
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        raw = RawAnswer(
            status=AnswerStatus.UNREACHABLE,
            error=f"the host's certificate is not trusted: {cause.verify_message}",
        )
        return Outcome(raw=raw, was_sent=False)
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        text = "the request cannot be sent; is base_url an http or https address?"
        return Outcome(raw=RawAnswer(status=AnswerStatus.UNREACHABLE, error=text), was_sent=False)
    if isinstance(error, httpx2.ConnectError):
        host = urlsplit(endpoint.base_url).hostname
        reason = "its name is unknown" if isinstance(cause, socket.gaierror) else "no connection"
        return _unreachable(f"{host} cannot be reached: {reason}", was_sent=False)
    if isinstance(error, httpx2.RemoteProtocolError):
        return _unreachable("the connection ended before a whole HTTP answer", was_sent=True)
    return _unreachable("the connection broke", was_sent=True)


def _unreachable(text: str, *, was_sent: bool) -> Outcome:
    raw = RawAnswer(status=AnswerStatus.UNREACHABLE, error=text)
    return Outcome(raw=raw, is_retryable=True, was_sent=was_sent)


def _status(code: int, response: httpx2.Response) -> tuple[AnswerStatus, str | None]:
    if 200 <= code < 300:
        return AnswerStatus.ANSWERED, None
    if code == 429:
        return AnswerStatus.RATE_LIMITED, "the endpoint asks for fewer requests (429)"
    if 300 <= code < 400:
        return AnswerStatus.GARBAGE, (
            f"the endpoint redirects ({code}) to {_host(response)}, which is not followed; if that "
            "is right, put it into base_url"
        )
    if 400 <= code < 500:
        return AnswerStatus.REFUSED, f"the endpoint declined the request ({code})"
    if code >= 500:
        return AnswerStatus.SERVER_ERROR, f"the endpoint failed ({code})"
    return AnswerStatus.GARBAGE, f"the endpoint answered with HTTP status {code}"


def _host(response: httpx2.Response) -> str:
    """Return the host that a redirect names; the rest of the address may hold anything."""
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:
        host = None
    return "itself" if host is None else host[:253]


def _cause(error: BaseException) -> BaseException:
    """Return the error of the operating system behind the library's, or the last one."""
    seen = 0
    while seen < 10:
        inner = error.__cause__ or error.__context__
        if inner is None or isinstance(error, OSError):
            return error
        error, seen = inner, seen + 1
    return error
