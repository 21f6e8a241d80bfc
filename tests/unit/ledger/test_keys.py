"""The key file is private, made once however many processes start, and never shown."""

import hashlib
import multiprocessing
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from audit.errors import ConfigurationError
from audit.ledger.keys import SigningKey, load_or_create_key
from tests.golden.ledger.examples import KEY


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _write_key(path: Path, key: PrivateKeyTypes, password: bytes | None = None) -> None:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)


def test_the_first_start_makes_a_private_key_and_its_public_half(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "verdict.pem"
    key = load_or_create_key(path)
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    published = path.with_name("verdict.pem.pub")
    assert published.read_bytes() == key.public_key_pem
    assert sorted(path.parent.iterdir()) == [path, published]


def test_the_next_start_loads_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "verdict.pem"
    assert load_or_create_key(path).key_id == load_or_create_key(path).key_id


def test_a_lost_public_key_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "verdict.pem"
    key = load_or_create_key(path)
    (tmp_path / "verdict.pem.pub").unlink()
    load_or_create_key(path)
    assert (tmp_path / "verdict.pem.pub").read_bytes() == key.public_key_pem


def test_a_public_key_of_another_private_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "verdict.pem.pub").write_bytes(KEY.public_key_pem)
    with pytest.raises(ConfigurationError, match="not the public key of the private key"):
        load_or_create_key(tmp_path / "verdict.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "verdict.pem"
    load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        load_or_create_key(path)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (ec.derive_private_key(7, ec.SECP384R1()), "P-256, not secp384r1"),
        (ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32), "not an ECDSA P-256 key"),
    ],
    ids=["P-384", "Ed25519"],
)
def test_keys_of_other_kinds_are_refused(
    tmp_path: Path, key: PrivateKeyTypes, problem: str
) -> None:
    _write_key(tmp_path / "verdict.pem", key)
    with pytest.raises(ConfigurationError, match=problem):
        load_or_create_key(tmp_path / "verdict.pem")


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    _write_key(tmp_path / "verdict.pem", KEY.private_key, password=b"secret")
    with pytest.raises(ConfigurationError, match="not an unencrypted PEM private key"):
        load_or_create_key(tmp_path / "verdict.pem")


def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "verdict.pem"
    path.touch(mode=0o600)
    with pytest.raises(ConfigurationError, match="move it away"):
        load_or_create_key(path)
    assert path.read_bytes() == b""


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="choose a folder"):
        load_or_create_key(tmp_path / "file" / "verdict.pem")


def test_the_key_never_shows_itself(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "verdict.pem")
    secret = key.private_key.private_numbers().private_value
    pem = (tmp_path / "verdict.pem").read_text().splitlines()[1]
    for shown in (repr(key), str(key), f"{key}", f"{key!r}"):
        assert key.key_id in shown
        assert str(secret) not in shown
        assert f"{secret:x}" not in shown
        assert pem not in shown


def test_the_key_id_is_the_digest_of_the_public_key() -> None:
    assert SigningKey.of(KEY.private_key) == KEY
    der = load_pem_public_key(KEY.public_key_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashlib.sha256(der).hexdigest()
    assert digest == KEY.key_id


def key_id_of(path: Path) -> str:
    return load_or_create_key(path).key_id


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["audit.ledger.keys"])
    with ProcessPoolExecutor(4, mp_context=processes) as pool:
        for number in range(5):
            path = tmp_path / str(number) / "verdict.pem"
            key_ids = set(pool.map(key_id_of, [path] * 8))
            assert key_ids == {load_or_create_key(path).key_id}
            assert len(list(path.parent.iterdir())) == 2
