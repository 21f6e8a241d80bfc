"""Servers on loopback that misbehave to order: raw sockets, one script a connection."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Script = Callable[[socket.socket, "Seen"], None]
"""Answers one request on an open connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Loopback:
    """A running server."""

    base_url: str
    seen: list[Seen] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    num_open: int = 0
    most_open: int = 0


@contextmanager
def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Serve the scripts in order, the last one for ever; connections close after each answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    scheme = "http" if tls is None else "https"
    server = Loopback(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/v1")
    stop, lock = threading.Event(), threading.Lock()
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket, script: Script) -> None:
        with connection, lock_count(server, lock):
            connection.settimeout(5.0)
            try:
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                seen = _read(connection)
                with lock:
                    server.seen.append(seen)
                    server.times_s.append(time.monotonic())
                script(connection, seen)
            except OSError:
                # the client gave up first, as it may
                return
            finally:
                # wrapping takes the socket over
                connection.close()

    def accept() -> None:
        num = 0
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            script = scripts[min(num, len(scripts) - 1)]
            num += 1
            thread = threading.Thread(target=handle, args=(connection, script), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        stop.set()
        acceptor.join(5.0)
        for thread in threads:
            thread.join(8.0)
        listener.close()


@contextmanager
def lock_count(server: Loopback, lock: threading.Lock) -> Iterator[None]:
    """Count a connection while it is open."""
    with lock:
        server.num_open += 1
        server.most_open = max(server.most_open, server.num_open)
    try:
        yield
    finally:
        with lock:
            server.num_open -= 1


def answering(
    body: bytes | str | Callable[[Seen], bytes],
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: tuple[tuple[str, str], ...] = (),
) -> Script:
    """Return a script that answers with a whole HTTP response."""

    def script(connection: socket.socket, seen: Seen) -> None:
        found = body(seen) if callable(body) else body
        data = found.encode() if isinstance(found, str) else found
        lines = [f"HTTP/1.1 {status} Status", f"Content-Type: {content_type}"]
        lines += [f"Content-Length: {len(data)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    return script


def after(delay_s: float, script: Script) -> Script:
    """Return a script that waits before it answers."""

    def delayed(connection: socket.socket, seen: Seen) -> None:
        time.sleep(delay_s)
        script(connection, seen)

    return delayed


def silent(connection: socket.socket, seen: Seen) -> None:
    """Never answer; return when the client hangs up."""
    connection.recv(1)


def resetting(connection: socket.socket, seen: Seen) -> None:
    """Break the connection off with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def dripping(connection: socket.socket, seen: Seen) -> None:
    """Send a byte every tenth of a second, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def cut_short(connection: socket.socket, seen: Seen) -> None:
    """Promise more bytes than are sent."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [')


def not_http(connection: socket.socket, seen: Seen) -> None:
    """Speak another protocol."""
    connection.sendall(b"220 mail.example ESMTP ready\r\n")


def completion(text: str = "yes", **members: object) -> str:
    """Return the body of a good completion."""
    return json.dumps(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": "m",
            "choices": [{"index": 0, "text": text, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 1},
            **members,
        }
    )


def _read(connection: socket.socket) -> Seen:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("the client hung up")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Seen(path=first.split(" ")[1], headers=headers, body=body)
