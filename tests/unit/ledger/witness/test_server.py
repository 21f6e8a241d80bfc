import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.errors import ConfigurationError
from audit.ledger.witness import server as module
from audit.ledger.witness.protocol import MAX_REQUEST_BYTES, PATH
from audit.ledger.witness.server import WitnessServer, serving
from tests.unit.ledger.witness.logs import FakeLog, make_witness

LOG = FakeLog()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WitnessServer]:
    with serving(WitnessServer(make_witness(tmp_path / "state.db"))) as running:
        yield running


def talk(server: WitnessServer, data: bytes) -> bytes:
    """Return all that is answered until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_it_listens_on_loopback_unless_told_otherwise(server: WitnessServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_connection_serves_several_requests(server: WitnessServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    statuses = []
    for body in (LOG.request(0, 3), LOG.request(0, 4), LOG.request(3, 4)):
        connection.request("POST", PATH, body)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    assert statuses == [200, 409, 200]


@pytest.mark.parametrize(
    ("request_head", "status", "text"),
    [
        (b"POST /other HTTP/1.1", 404, b"there is only /add-checkpoint here"),
        (b"POST /add-checkpoint/ HTTP/1.1", 404, b"there is only /add-checkpoint here"),
        (b"GET /add-checkpoint HTTP/1.1", 405, b"POST to /add-checkpoint"),
        (b"PUT /add-checkpoint HTTP/1.1", 405, b"POST to /add-checkpoint"),
        (b"BREW /add-checkpoint HTTP/1.1", 501, b"501 Unsupported method"),
        (b"POST /add-checkpoint HTTP/1.1", 411, b"state a Content-Length"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1", 411, b"state a Content-Length"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1e3", 411, b"state a Content-Length"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            411,
            b"state a Content-Length",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d" % (MAX_REQUEST_BYTES + 1),
            413,
            b"at most 131072 bytes are read",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: " + b"9" * 5000,
            413,
            b"at most 131072 bytes are read",
        ),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(
    server: WitnessServer, request_head: bytes, status: int, text: bytes
) -> None:
    answer = talk(server, request_head + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert text in answer
    assert b"<html" not in answer


def test_half_a_body_is_not_judged(tmp_path: Path, server: WitnessServer) -> None:
    body = LOG.request(0, 5)
    head = b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(head + body[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert server.witness._state.latest("log.test.example") is None


def test_a_connection_that_drips_is_cut(tmp_path: Path) -> None:
    witness = make_witness(tmp_path / "state.db")
    with serving(WitnessServer(witness, max_connection_s=0.2)) as server:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
            began = time.monotonic()
            connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Le")
            assert connection.recv(1) == b""
    # sooner than a connection that says nothing at all
    assert time.monotonic() - began < module.READ_TIMEOUT_S - 1


def test_too_many_connections_are_closed_and_others_served_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    with serving(WitnessServer(make_witness(tmp_path / "state.db"))) as server:
        address = ("127.0.0.1", server.server_port)
        with socket.create_connection(address, timeout=30) as first:
            first.sendall(b"POST")
            time.sleep(0.05)
            with socket.create_connection(address, timeout=30) as second:
                assert second.recv(1) == b""
        for _ in range(100):
            if b"404" in talk_if_open(server):
                return
            time.sleep(0.05)
        pytest.fail("the slot was never freed")


def talk_if_open(server: WitnessServer) -> bytes:
    try:
        return talk(server, b"POST /other HTTP/1.1\r\n\r\n")
    except ConnectionError:
        return b""


def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    server = WitnessServer(make_witness(tmp_path / "state.db"))
    began = time.monotonic()
    with serving(server):
        idle = socket.create_connection(("127.0.0.1", server.server_port), timeout=30)
        idle.sendall(b"POST")
        time.sleep(0.05)
    idle.close()
    assert time.monotonic() - began < module.READ_TIMEOUT_S - 1


def test_an_address_in_use_is_told(server: WitnessServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1"):
        WitnessServer(make_witness(tmp_path / "second.db"), port=server.server_port)
