"""RFC 3161 stamps: published responses, and a live authority made of `openssl ts`."""

import builtins
import datetime
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.errors import ConfigurationError
from audit.ledger.timestamps import (
    REPLY_TYPE,
    TimestampError,
    TimestampUnavailable,
    request_timestamp,
    verify_timestamp,
    verify_timestamp_of,
)
from tests.support.vectors import vectors_folder
from tests.unit.ledger.witness.logs import scripted

pytest.importorskip("rfc3161_client", reason="the extra `timestamps` is not installed")

UTC = datetime.UTC
NOTE_TEXT = "log.test.example\n5\nqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\n"
TIMEOUT_S = 30.0


def vector(name: str) -> bytes:
    return (vectors_folder() / "rfc3161" / name).read_bytes()


def chain_of(folder: str, *, without: str | None = None) -> list[str]:
    found = x509.load_pem_x509_certificates(vector(f"{folder}/ts_chain.pem"))
    return [
        one.public_bytes(serialization.Encoding.PEM).decode()
        for one in found
        if without is None or without not in one.subject.rfc4514_string()
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigstage/response-sha256.tsr", (2025, 5, 9, 11, 58, 55)),
        ("sigstage/response-sha384.tsr", (2025, 5, 9, 11, 58, 55)),
        ("sigstage/response-sha512.tsr", (2025, 5, 9, 11, 58, 56)),
        ("test_tsa/response.tsr", (2024, 10, 8, 15, 40, 32)),
        # no certificate in it, but the chain has the signer's
        ("sigstage/response-no-embedded-cert.tsr", (2025, 6, 18, 8, 13, 2)),
    ],
)
def test_a_published_stamp_verifies(name: str, expected: tuple[int, ...]) -> None:
    chain = chain_of(name.split("/")[0])
    stamped = verify_timestamp(vector(name), "hello", chain)
    assert stamped.replace(tzinfo=None) == datetime.datetime(*expected)  # type: ignore[arg-type]  # noqa: DTZ001
    assert stamped.utcoffset() == datetime.timedelta(0)


def test_a_stamp_outlives_its_certificates() -> None:
    """They expired in 2024, but were good when the stamp was made."""
    stamped = verify_timestamp_of(
        vector("sigstore.mock/response-expired.tsr"),
        vector("sigstore.mock/payload"),
        chain_of("sigstore.mock"),
    )
    assert stamped == datetime.datetime(2023, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sigstage/response-invalid-signature.tsr", "signature failure"),
        ("test_tsa/other_response.tsr", "unable to get local issuer certificate"),
        (
            "test_tsa/response-injected-certs.tsr",
            "carries a certificate that is neither its signer's nor of the authority's chain",
        ),
    ],
)
def test_a_published_bad_stamp_is_refused(name: str, problem: str) -> None:
    with pytest.raises(TimestampError, match=problem):
        verify_timestamp(vector(name), "hello", chain_of(name.split("/")[0]))


def test_a_signer_that_nobody_names_is_told() -> None:
    chain = chain_of("sigstage", without="CN=sigstore-tsa,")
    with pytest.raises(TimestampError, match="carries no certificate, and the authority's chain"):
        verify_timestamp(vector("sigstage/response-no-embedded-cert.tsr"), "hello", chain)


def test_a_stamp_over_another_text_is_refused() -> None:
    with pytest.raises(TimestampError, match="Mismatch between messages"):
        verify_timestamp(vector("test_tsa/response.tsr"), "hullo", chain_of("test_tsa"))


def test_another_authoritys_chain_is_refused() -> None:
    with pytest.raises(TimestampError, match="certificate"):
        verify_timestamp(vector("test_tsa/response.tsr"), "hello", chain_of("sigstage"))


@pytest.mark.parametrize("response", [b"", b"junk", b"0" * 100, b"\x30\x03\x02\x01\x00"])
def test_what_is_no_response_is_refused(response: bytes) -> None:
    with pytest.raises(TimestampError, match="not a readable RFC 3161"):
        verify_timestamp(response, "hello", chain_of("test_tsa"))


@pytest.mark.filterwarnings("ignore:Parsed a serial number:Warning")
def test_no_flipped_bit_of_a_stamp_gives_another_time_or_a_traceback() -> None:
    good, chain = vector("test_tsa/response.tsr"), chain_of("test_tsa")
    expected = verify_timestamp(good, "hello", chain)
    accepted = 0
    for index in range(len(good)):
        spoilt = bytearray(good)
        spoilt[index] ^= 1 << index % 8
        try:
            assert verify_timestamp(bytes(spoilt), "hello", chain) == expected
        except TimestampError:
            continue
        accepted += 1
    # versions and algorithm parameters, which no signature covers
    assert accepted <= 16


@pytest.mark.parametrize(
    ("chain", "problem"),
    [
        ([], "has no self-signed root"),
        (["not PEM"], "is not PEM certificates"),
        (["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"], "is not PEM"),
    ],
)
def test_a_bad_chain_is_a_configuration_error(chain: list[str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        verify_timestamp(vector("test_tsa/response.tsr"), "hello", chain)


def test_a_bad_chain_is_told_before_the_authority_is_asked() -> None:
    with pytest.raises(ConfigurationError, match="has no self-signed root"):
        request_timestamp(NOTE_TEXT, "http://127.0.0.1:1", [])


def test_a_chain_without_its_root_is_a_configuration_error() -> None:
    chain = chain_of("test_tsa", without="Root")
    with pytest.raises(ConfigurationError, match="add its root certificate"):
        verify_timestamp(vector("test_tsa/response.tsr"), "hello", chain)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "rfc3161_client":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    command = r"pip install 'inference-audit\[timestamps\]'"
    with pytest.raises(ConfigurationError, match=command):
        verify_timestamp(b"", "hello", chain_of("test_tsa"))
    with pytest.raises(ConfigurationError, match=command):
        request_timestamp("hello", "http://127.0.0.1:1", [])


CONFIG = """\
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
ess_cert_id_alg = sha256
"""


@dataclass
class Authority:
    """A certificate authority of its own, and `openssl ts` behind HTTP."""

    folder: Path
    chain: list[str]
    digests: str = "sha256"
    query: bytes | None = None
    """Answered instead of what was asked."""

    def answer(self, body: bytes) -> tuple[int, str, bytes]:
        (self.folder / "tsa.cnf").write_text(
            CONFIG.format(folder=self.folder, digests=self.digests), encoding="utf-8"
        )
        (self.folder / "query.tsq").write_bytes(self.query or body)
        command = ["openssl", "ts", "-reply", "-config", str(self.folder / "tsa.cnf")]
        for option, name in (
            ("-queryfile", "query.tsq"),
            ("-signer", "tsa.pem"),
            ("-inkey", "tsa.key"),
            ("-out", "reply.tsr"),
        ):
            command += [option, str(self.folder / name)]
        subprocess.run(command, check=True, capture_output=True)
        return 200, REPLY_TYPE, (self.folder / "reply.tsr").read_bytes()


def make_authority(
    folder: Path, *, usage: x509.ObjectIdentifier, years: tuple[int, int]
) -> Authority:
    """Write the authority's key and certificate; it is good for the given years from now."""
    folder.mkdir()
    now = datetime.datetime.now(UTC)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
        for text in ("Test root", "Test TSA")
    )

    def certificate(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, first: int, last: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=365 * first - 1))
            .not_valid_after(now + datetime.timedelta(days=365 * last - 1))
        )

    root = (
        certificate(root_name, root_key.public_key(), -9, 9)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    own = (
        certificate(name, key.public_key(), *years)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    (folder / "tsa.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    (folder / "tsa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "serial").write_text("01\n", encoding="utf-8")
    return Authority(folder, [root.public_bytes(serialization.Encoding.PEM).decode()])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine: it is the live authority")
    return make_authority(tmp_path / "tsa", usage=ExtendedKeyUsageOID.TIME_STAMPING, years=(0, 2))


def test_a_live_authority_stamps_a_note(authority: Authority) -> None:
    before = datetime.datetime.now(UTC).replace(microsecond=0)
    with scripted(authority.answer) as url:
        response = request_timestamp(NOTE_TEXT, url, authority.chain, timeout_s=TIMEOUT_S)
    stamped = verify_timestamp(response, NOTE_TEXT, authority.chain)
    assert before <= stamped <= datetime.datetime.now(UTC)
    with pytest.raises(TimestampError, match="Mismatch between messages"):
        verify_timestamp(response, NOTE_TEXT.replace("5", "6"), authority.chain)


def test_a_replayed_answer_is_refused_by_its_nonce(authority: Authority) -> None:
    with scripted(authority.answer) as url:
        request_timestamp(NOTE_TEXT, url, authority.chain, timeout_s=TIMEOUT_S)
        authority.query = (authority.folder / "query.tsq").read_bytes()
        with pytest.raises(TimestampError, match="Nonce mismatch"):
            request_timestamp(NOTE_TEXT, url, authority.chain, timeout_s=TIMEOUT_S)


def test_an_answer_over_another_text_is_refused(authority: Authority) -> None:
    with scripted(authority.answer) as url:
        request_timestamp("another\n", url, authority.chain, timeout_s=TIMEOUT_S)
    other = (authority.folder / "reply.tsr").read_bytes()
    with scripted(lambda body: (200, REPLY_TYPE, other)) as url:
        with pytest.raises(TimestampError, match=r"Nonce mismatch|Mismatch between messages"):
            request_timestamp(NOTE_TEXT, url, authority.chain, timeout_s=TIMEOUT_S)


def test_a_certificate_that_had_expired_is_refused(authority: Authority, tmp_path: Path) -> None:
    expired = make_authority(
        tmp_path / "old", usage=ExtendedKeyUsageOID.TIME_STAMPING, years=(-3, 0)
    )
    with scripted(expired.answer) as url:
        with pytest.raises(TimestampError, match="certificate has expired"):
            request_timestamp(NOTE_TEXT, url, expired.chain, timeout_s=TIMEOUT_S)


def test_an_authority_of_another_root_is_refused(authority: Authority, tmp_path: Path) -> None:
    other = make_authority(
        tmp_path / "other", usage=ExtendedKeyUsageOID.TIME_STAMPING, years=(0, 2)
    )
    with scripted(authority.answer) as url:
        with pytest.raises(TimestampError, match="certificate"):
            request_timestamp(NOTE_TEXT, url, other.chain, timeout_s=TIMEOUT_S)


def test_an_authority_that_grants_nothing_is_told(authority: Authority) -> None:
    authority.digests = "sha512"
    with scripted(authority.answer) as url:
        with pytest.raises(TimestampError, match=r"the authority granted no timestamp: .*digest"):
            request_timestamp(NOTE_TEXT, url, authority.chain, timeout_s=TIMEOUT_S)


@contextmanager
def answering(status: int, content_type: str, body: bytes) -> Iterator[str]:
    script: Callable[[bytes], tuple[int, str, bytes]] = lambda asked: (status, content_type, body)  # noqa: E731
    with scripted(script) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "content_type", "problem"),
    [
        (500, "text/plain", "answered 500 with text/plain"),
        (200, "text/html", "answered 200 with text/html instead of 200 with application/timestamp"),
    ],
)
def test_what_is_no_authority_is_told(status: int, content_type: str, problem: str) -> None:
    with answering(status, content_type, b"x") as url:
        with pytest.raises(TimestampUnavailable, match=problem):
            request_timestamp(NOTE_TEXT, url, chain_of("test_tsa"), timeout_s=TIMEOUT_S)


def test_an_endless_answer_is_not_read() -> None:
    with answering(200, REPLY_TYPE, b"x" * 100_000) as url:
        with pytest.raises(TimestampUnavailable, match="longer than 65536 bytes"):
            request_timestamp(NOTE_TEXT, url, chain_of("test_tsa"), timeout_s=TIMEOUT_S)


def test_a_dead_authority_is_unavailable() -> None:
    with pytest.raises(TimestampUnavailable, match="Connection refused"):
        request_timestamp(
            NOTE_TEXT, "http://127.0.0.1:1", chain_of("test_tsa"), timeout_s=TIMEOUT_S
        )
