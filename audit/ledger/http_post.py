"""One bounded HTTP POST: how the log asks witnesses and time-stamp authorities.

No redirects, no proxies, no credentials, and one deadline for the whole exchange: a peer that sends
a byte a second cannot hold its caller. What the answer says is for the caller to judge.
"""

import http.client
import socket
import threading
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from audit.errors import AuditError, ConfigurationError


class PostFailed(AuditError):
    """The peer could not be reached, or gave no whole answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a peer answered; the content type is without parameters, in lower case."""

    status: int
    content_type: str
    body: bytes


def post(
    url: str, body: bytes, *, content_type: str, timeout_s: float, max_answer_bytes: int
) -> Answer:
    """Send a body and return the answer, whatever its status.

    The timeout holds for connecting, and again for the exchange after it; looking up a host name is
    the system's business.
    Raises: PostFailed; ConfigurationError for a URL that is not http or https.
    """
    parts = _split(url)
    connection = _connection(parts, timeout_s)
    expired = threading.Event()
    try:
        connection.connect()
        watchdog = threading.Timer(timeout_s, _cut, (connection.sock, expired))
        watchdog.daemon = True
        watchdog.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, {"Content-Type": content_type})
            with connection.getresponse() as response:
                answer = _read(response, url, max_answer_bytes)
        finally:
            watchdog.cancel()
    except (OSError, http.client.HTTPException) as error:
        late = expired.is_set() or isinstance(error, TimeoutError)
        reason = f"no answer within {timeout_s:g} s" if late else _reason(error)
        raise PostFailed(f"{url}: {reason}") from error
    finally:
        connection.close()
    if expired.is_set():
        # an answer without a length ends where the connection does: it may be half a one
        raise PostFailed(f"{url}: no answer within {timeout_s:g} s")
    return answer


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # what the socket does with a name, and fails at for empty or endless labels
        (parts.hostname or "").encode("idna")
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = None
    if not is_usable or any(not 0x20 < ord(character) < 0x7F for character in url):
        raise ConfigurationError(f"{url!r} is not a URL: name one like https://host.example/path")
    if "@" in parts.netloc or parts.fragment:
        raise ConfigurationError(f"the URL of {parts.hostname} must not hold a user or a fragment")
    return parts


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def _read(response: http.client.HTTPResponse, url: str, max_bytes: int) -> Answer:
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise PostFailed(f"{url}: the answer is longer than {max_bytes} bytes")
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    content_type = response.headers.get_content_type()
    return Answer(status=response.status, content_type=content_type, body=body)


def _cut(connected: socket.socket, expired: threading.Event) -> None:
    expired.set()
    try:
        # unlike closing, this wakes a thread that waits in a read
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _reason(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"no whole HTTP answer ({type(error).__name__})"
