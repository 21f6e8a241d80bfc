import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from audit.errors import ConfigurationError, VerificationError
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.notes import parse_note
from audit.ledger.witness.client import (
    Cosignature,
    WitnessAhead,
    WitnessRefused,
    WitnessUnavailable,
    ask_witness,
)
from audit.ledger.witness.protocol import SIZE_TYPE, parse_add_checkpoint
from tests.unit.ledger.witness.logs import (
    NOW_S,
    OTHER_SIGNER,
    FakeLog,
    key_of,
    running_witness,
    scripted,
    witness_signer,
)

LOG = FakeLog()
KEY = witness_signer().key
TEXT = parse_note(LOG.note(9)).text
TIMEOUT_S = 30.0
Script = Callable[[bytes], tuple[int, str, bytes]]


def ask(
    url: str, size: int = 9, *, old: int = 0, log: FakeLog = LOG, timeout_s: float = TIMEOUT_S
) -> Cosignature:
    note = log.note(size)
    return ask_witness(url, KEY, note, old_size=old, prove=log.prove, timeout_s=timeout_s)


def always(status: int, content_type: str, body: bytes) -> Script:
    return lambda request: (status, content_type, body)


def cosigned(text: str = TEXT, *, signer: WitnessSigner | None = None, at: int = NOW_S) -> bytes:
    return (signer or witness_signer()).cosign(text, at).encode()


def test_a_witness_is_asked_and_its_line_returned(tmp_path: Path) -> None:
    with running_witness(tmp_path / "state.db") as url:
        first = ask(url, 9)
        assert (first.line.name, first.line.key_hash) == (KEY.name, KEY.key_hash)
        assert first.timestamp_s == NOW_S
        ask(url, 20, old=9)
        # the same tree once more, and a URL with a slash at its end
        ask(url + "/", 20, old=20)


@pytest.mark.parametrize("thought", [0, 5, 15, 300])
def test_409_is_answered_by_a_proof_from_the_size_that_it_names(
    tmp_path: Path, thought: int
) -> None:
    with running_witness(tmp_path / "state.db") as url:
        ask(url, 9)
        assert ask(url, 20, old=thought).timestamp_s == NOW_S


def test_409_is_retried_once_only() -> None:
    asked: list[int] = []

    def answer(body: bytes) -> tuple[int, str, bytes]:
        asked.append(parse_add_checkpoint(body).old_size)
        return 409, SIZE_TYPE, b"%d\n" % len(asked)

    with scripted(answer) as url, pytest.raises(WitnessRefused, match="answered 409") as caught:
        ask(url)
    assert asked == [0, 1]
    assert caught.value.status == HTTPStatus.CONFLICT


def test_409_that_names_what_was_said_is_not_retried() -> None:
    asked: list[bytes] = []

    def answer(body: bytes) -> tuple[int, str, bytes]:
        asked.append(body)
        return 409, SIZE_TYPE, b"4\n"

    with scripted(answer) as url, pytest.raises(WitnessRefused, match="answered 409"):
        ask(url, old=4)
    assert len(asked) == 1


def test_a_log_that_was_set_back_is_told(tmp_path: Path) -> None:
    with running_witness(tmp_path / "state.db") as url:
        ask(url, 20)
        with pytest.raises(WitnessAhead, match="set back to an older copy") as caught:
            ask(url, 9, old=5)
    assert caught.value.size == 20


def test_a_forked_log_is_refused(tmp_path: Path) -> None:
    with running_witness(tmp_path / "state.db") as url:
        ask(url, 9)
        for size in (9, 20):
            with pytest.raises(WitnessRefused, match="answered 422") as caught:
                ask(url, size, old=9, log=FakeLog(forked_at=3))
            assert caught.value.status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (always(404, "text/plain", b"unknown"), "answered 404: 'unknown'"),
        (always(403, "text/plain", b"x" * 5000), "answered 403: 'x{200}'$"),
        (always(400, "text/plain", b"\xff\x1b[31m"), r"answered 400: '\ufffd\\x1b\[31m'$"),
        (always(302, "text/plain", b""), "answered 302"),
        (always(204, "text/plain", b""), "answered 204"),
        (always(409, "text/plain", b"4\n"), "409 with text/plain instead of text/x.tlog.size"),
        (always(409, SIZE_TYPE, b"04\n"), "not a decimal number without leading zeroes"),
        (always(200, "text/plain", b""), "malformed lines: .*no signature lines"),
        (always(200, "text/plain", b"hello\n"), "malformed lines"),
        (always(200, "text/plain", cosigned()[:-1]), "malformed lines: .*newline"),
        (always(200, "text/plain", cosigned(parse_note(LOG.note(8)).text)), "does not verify"),
        (
            always(200, "text/plain", cosigned(signer=witness_signer(11))),
            "no good cosignature.*see that the policy has the witness' present key",
        ),
        (
            always(200, "text/plain", cosigned(signer=WitnessSigner(KEY.name, key_of(11)))),
            "no good cosignature",
        ),
        (always(200, "text/plain", cosigned(at=0)), "without stating a time"),
        (
            # a good line, then a second note: the last empty line decides what the text is
            always(200, "text/plain", cosigned() + b"\n" + cosigned()),
            "malformed lines: an empty line among",
        ),
    ],
)
def test_a_lying_witness_is_refused(script: Script, problem: str) -> None:
    with scripted(script) as url, pytest.raises(WitnessRefused, match=problem):
        ask(url)


def test_a_witness_that_cosigns_a_longer_text_is_refused() -> None:
    added = cosigned() + b"\n"
    longer = TEXT + "\n" + added.decode().removesuffix("\n")

    def answer(body: bytes) -> tuple[int, str, bytes]:
        signature = key_of(10).sign(f"cosignature/v1\ntime {NOW_S}\n{longer}".encode())
        line = parse_note((TEXT + "\n").encode() + cosigned()).signatures[0]
        forged = type(line)(line.name, line.key_hash, NOW_S.to_bytes(8, "big") + signature)
        return 200, "text/plain", added + forged.line().encode()

    with scripted(answer) as url, pytest.raises(WitnessRefused, match="an empty line"):
        ask(url)


def test_lines_of_unknown_keys_are_ignored() -> None:
    liar = WitnessSigner(KEY.name, key_of(11))
    body = cosigned(signer=liar) + cosigned(signer=witness_signer(12)) + cosigned()
    with scripted(always(200, "text/plain", body)) as url:
        assert ask(url).line.key_hash == KEY.key_hash


def test_an_answer_without_a_length_is_read_to_its_end() -> None:
    with scripted(always(200, "text/plain", cosigned()), is_length_stated=False) as url:
        assert ask(url).timestamp_s == NOW_S


@pytest.mark.parametrize("is_length_stated", [True, False])
def test_an_answer_without_end_is_not_read(is_length_stated: bool) -> None:
    script = always(200, "text/plain", b"x" * 1_000_000)
    with scripted(script, is_length_stated=is_length_stated) as url:
        with pytest.raises(WitnessUnavailable, match="longer than 65536 bytes"):
            ask(url)


@pytest.mark.parametrize("status", [500, 503])
def test_a_witness_in_trouble_is_unavailable(status: int) -> None:
    with scripted(always(status, "text/plain", b"later")) as url:
        with pytest.raises(WitnessUnavailable, match=f"answered {status}: 'later'"):
            ask(url)


def test_a_dead_witness_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WitnessUnavailable, match="Connection refused"):
        ask(f"http://127.0.0.1:{port}")


def raw_server(serve: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listening, listening.accept()[0] as connection:
            connection.settimeout(TIMEOUT_S)
            serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", thread


def drain(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    try:
        for _ in range(2000):
            connection.sendall(b"x")
            time.sleep(0.02)
    except OSError:
        pass  # the client has hung up


@pytest.mark.parametrize("serve", [drain, drip])
def test_a_witness_that_stalls_or_drips_is_left_in_time(
    serve: Callable[[socket.socket], None],
) -> None:
    url, thread = raw_server(serve)
    began = time.monotonic()
    with pytest.raises(WitnessUnavailable, match=r"no answer within 0\.3 s"):
        ask(url, timeout_s=0.3)
    assert time.monotonic() - began < 10
    thread.join()


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"", "closed connection without response"),
        (b"SSH-2.0-x\r\n\r\n", "no whole HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "no whole HTTP answer"),
    ],
)
def test_half_an_answer_is_none(sent: bytes, problem: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        drain(connection)

    url, thread = raw_server(serve)
    with pytest.raises(WitnessUnavailable, match=problem):
        ask(url)
    thread.join()


def test_https_needs_a_certificate_that_the_system_trusts(tmp_path: Path) -> None:
    write_self_signed(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    def serve(connection: socket.socket) -> None:
        with pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True):
            pass

    url, thread = raw_server(serve)
    with pytest.raises(WitnessUnavailable, match="certificate"):
        ask(url.replace("http:", "https:"))
    thread.join()


def write_self_signed(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http://h:x/",
        "http://a b/",
        "http://a..b/",
    ],
)
def test_what_is_no_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a URL"):
        ask(url)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="must not hold a user") as caught:
        ask("http://user:secret@host/")
    assert "secret" not in str(caught.value)


def test_a_note_that_is_no_checkpoint_is_not_sent() -> None:
    note = b"text\n\n" + b"\n".join(LOG.note(9, (OTHER_SIGNER,)).splitlines()[-1:]) + b"\n"
    with pytest.raises(VerificationError, match="1 lines instead of 3"):
        ask_witness("http://127.0.0.1:1", KEY, note, old_size=0, prove=LOG.prove)
