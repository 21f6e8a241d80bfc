"""Keys outside of our own file sign as well, and a broken one is found at opening."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from audit.errors import ConfigurationError
from audit.ledger.keys import SigningKey, pem_of
from audit.ledger.seal import seal
from audit.ledger.signers import Signer, SignerUnavailable, UriSigner, open_signer
from audit.ledger.verify import is_signed, verify_envelope
from audit.log_records import EntryKind
from tests.golden.ledger.examples import CHAIN, KEY, OTHER_KEY
from tests.unit.ledger.test_entries import ALL

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"


def _write(path: Path, key: PrivateKeyTypes) -> str:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)
    return str(path)


def _require_works(signer: Signer) -> None:
    public_key = load_pem_public_key(signer.public_key_pem)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert is_signed(public_key, signer.sign(b"message"), b"message")
    statement = ALL["audit-report"][0]
    sealed = seal(
        statement, signer, kind=EntryKind.REPORT, chain=CHAIN, entry_key="x", audit_id=None
    )
    assert verify_envelope(sealed.envelope, signer.public_key_pem) == statement


def test_a_plain_path_is_a_key_file_made_at_the_first_start(tmp_path: Path) -> None:
    path = tmp_path / "verdict.pem"
    signer = open_signer(str(path))
    assert isinstance(signer, SigningKey)
    assert open_signer(str(path)).key_id == signer.key_id
    _require_works(signer)


def test_a_key_behind_a_uri_signs_envelopes_that_verify(tmp_path: Path) -> None:
    location = _write(tmp_path / "key.pem", KEY.private_key)
    signer = open_signer(f"file2:{location}", public_key_pem=KEY.public_key_pem)
    assert (signer.key_id, signer.public_key_pem) == (KEY.key_id, KEY.public_key_pem)
    _require_works(signer)


def test_a_uri_without_its_public_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs its public key"):
        open_signer("file2:key.pem")


@pytest.mark.parametrize("uri", ["hv:key", "gnupg:key", "https://example.org/key"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no signer is called .* file2:, hsm:, awskms:"):
        open_signer(uri, public_key_pem=KEY.public_key_pem)


@pytest.mark.parametrize(
    "key",
    [
        ec.derive_private_key(7, ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32),
    ],
    ids=["P-384", "Ed25519"],
)
def test_other_algorithms_are_refused(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
) -> None:
    location = _write(tmp_path / "key.pem", key)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ConfigurationError, match="is not an ECDSA P-256 key"):
        open_signer(f"file2:{location}", public_key_pem=pem)


def test_a_public_key_of_another_private_key_is_refused(tmp_path: Path) -> None:
    location = _write(tmp_path / "key.pem", KEY.private_key)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_signer(f"file2:{location}", public_key_pem=OTHER_KEY.public_key_pem)


def test_a_key_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be opened .*FileNotFoundError"):
        open_signer(f"file2:{tmp_path / 'none'}", public_key_pem=KEY.public_key_pem)


@pytest.mark.parametrize("uri", ["awskms:key", "gcpkms:key", "azurekms:key"])
def test_a_key_service_that_cannot_be_reached_is_told_without_a_traceback(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"securesystemslib\[|cannot sign"):
        open_signer(uri, public_key_pem=KEY.public_key_pem)


def test_a_module_without_its_driver_or_token_is_told() -> None:
    with pytest.raises(ConfigurationError, match="the signer hsm:2"):
        open_signer(
            "hsm:2?label=none",
            public_key_pem=KEY.public_key_pem,
            secrets_handler=lambda _name: PIN,
        )


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a software token with a P-256 key in it; returns the token's label."""
    if shutil.which("softhsm2-util") is None or not SOFTHSM.is_file():
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    pytest.importorskip("pkcs11", reason="pip install 'securesystemslib[hsm]' to test modules")
    (tmp_path / "tokens").mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n", encoding="utf-8")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    monkeypatch.setenv("PYKCS11LIB", str(SOFTHSM))
    label = "inference-audit-test"
    command = ["softhsm2-util", "--init-token", "--free", "--label", label]
    subprocess.run([*command, "--pin", PIN, "--so-pin", PIN], check=True, capture_output=True)
    return label


def test_a_key_in_a_hardware_module_signs(token: str) -> None:
    # In a process of its own: the driver reads its configuration once for each process.
    script = Path(__file__).with_name("sign_with_token.py")
    done = subprocess.run(
        [sys.executable, str(script), token, PIN],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    key_id, signature = done.stdout.split()
    assert len(key_id) == 64
    public_key = load_der_public_key(bytes.fromhex(signature.partition(":")[0]))
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert pem_of(public_key)
    assert is_signed(public_key, bytes.fromhex(signature.partition(":")[2]), b"message")


def test_a_service_that_fails_later_is_worth_waiting_for() -> None:
    class Failing:
        def sign(self, _message: bytes) -> NoReturn:
            raise ConnectionError("the key service is away")

    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    signer = UriSigner("awskms:key", cast(Any, Failing()), key)
    with pytest.raises(SignerUnavailable, match=r"ConnectionError: the key service is away"):
        signer.sign(b"message")
