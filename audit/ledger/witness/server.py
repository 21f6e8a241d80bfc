"""The witness as an HTTP service: `POST /add-checkpoint`, and nothing else.

A thread a connection, of which there are only so many; each is bounded in the size of its requests
and in how long it may last. Plain HTTP: requests and answers carry signatures, and hide nothing.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from audit.errors import ConfigurationError
from audit.ledger.witness.protocol import MAX_REQUEST_BYTES, PATH
from audit.ledger.witness.witness import TEXT_TYPE, Reply, Witness

MAX_CONNECTIONS = 64
READ_TIMEOUT_S = 5.0
#: After so long a connection is cut, whatever it does: else a byte a second would hold its thread.
MAX_CONNECTION_S = 60.0
#: How often it looks whether to stop, and for connections to cut.
_POLL_S = 0.1

_log = logging.getLogger(__name__)


class WitnessServer(ThreadingHTTPServer):
    """Listens once made; `serve_forever` answers. Port 0 takes a free one, see `server_port`."""

    daemon_threads = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(
        self,
        witness: Witness,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        max_connection_s: float = MAX_CONNECTION_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind the address. Raises: ConfigurationError."""
        self.witness = witness
        self._max_connection_s = max_connection_s
        self._monotonic_s = monotonic_s
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._began_s: dict[socket.socket, float] = {}
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error.strerror}): name another address"
            ) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection; close it where there are too many."""
        if not self._slots.acquire(blocking=False):
            _log.warning("more than %d connections: one was closed", MAX_CONNECTIONS)
            self.shutdown_request(request)
            return
        with self._lock:
            self._began_s[request] = self._monotonic_s()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._began_s.pop(request, None)
            self._slots.release()

    def service_actions(self) -> None:
        """Cut connections that have lasted too long; called at each poll."""
        self._cut(socket.SHUT_RDWR, older_than_s=self._max_connection_s)

    def server_close(self) -> None:
        """Stop listening; requests under way are answered, idle connections end."""
        self._cut(socket.SHUT_RD, older_than_s=0.0)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a connection died of; peers that hang up are no news."""
        _log.info("a connection ended early", exc_info=True)

    def _cut(self, how: int, *, older_than_s: float) -> None:
        now_s = self._monotonic_s()
        with self._lock:
            old = [one for one, began_s in self._began_s.items() if now_s - began_s >= older_than_s]
        for connection in old:
            try:
                connection.shutdown(how)
            except OSError:
                continue  # its thread was faster


@contextmanager
def serving(server: WitnessServer) -> Iterator[WitnessServer]:
    """Answer in a thread of its own; on leaving, end cleanly."""
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_S,), name="witness", daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    server_version = "inference-audit-witness"
    sys_version = ""
    timeout = READ_TIMEOUT_S
    error_content_type = TEXT_TYPE
    error_message_format = "%(code)d %(message)s\n"

    def do_POST(self) -> None:
        if self.path != PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is only {PATH} here")
            return
        body = self._body()
        if body is not None:
            self._answer(self.server.witness.add_checkpoint(body))

    def do_GET(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"POST to {PATH}")

    do_HEAD = do_PUT = do_DELETE = do_GET

    def _body(self) -> bytes | None:
        stated = self.headers.get("Content-Length", "")
        if not (stated.isascii() and stated.isdigit()) or "Transfer-Encoding" in self.headers:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "state a Content-Length")
            return None
        if len(stated) > 9 or int(stated) > MAX_REQUEST_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_REQUEST_BYTES} bytes are read"
            )
            return None
        body = self.rfile.read(int(stated))
        if len(body) < int(stated):
            self.close_connection = True
            return None
        return body

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        # What was not read would be taken for the next request.
        self.close_connection = True
        self._answer(Reply(status=status, content_type=TEXT_TYPE, body=f"{text}\n".encode()))

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        _log.info("%s: %s", self.address_string(), format % args)
