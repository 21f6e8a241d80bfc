"""`witness`: what is refused before it serves, and its key.

The running service is in `tests/unit/ledger/witness/test_concurrency.py`.
"""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from audit.cli import witness
from audit.errors import ConfigurationError
from audit.ledger.notes import Algorithm, format_vkey, parse_vkey
from audit.ledger.witness.state import WitnessState
from tests.unit.ledger.witness.logs import LOG_SIGNER, key_of, witness_signer

LOG = format_vkey(LOG_SIGNER.key)
NAME = "witness.test.example/w1"


def run(*arguments: object) -> None:
    """Run one command of the group; what the root would turn into a message is raised."""
    root = typer.Typer()
    witness.register(root)
    command = typer.main.get_command(root)
    command.main([str(one) for one in ("witness", *arguments)], standalone_mode=False)


def serve(folder: Path, **changes: object) -> None:
    given: dict[str, object] = {
        "name": NAME,
        "log": LOG,
        "key": folder / "key.pem",
        "state": folder / "state.db",
        "listen": "127.0.0.1:0",
    } | changes
    run("serve", *(word for name, value in given.items() for word in (f"--{name}", value)))


def write_key(path: Path, private_key: Any = None) -> None:
    pem = (private_key or key_of(10)).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem)
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"listen": "localhost"}, "is not HOST:PORT, such as 127.0.0.1:50061"),
        ({"listen": "127.0.0.1:99999"}, "is not HOST:PORT"),
        ({"listen": "127.0.0.1:-1"}, "is not HOST:PORT"),
        ({"listen": "192.0.2.1:0"}, "cannot listen on 192.0.2.1:0"),
        ({"log": "nonsense"}, "--log: .*name the vkey that the log's operator publishes"),
        ({"log": LOG[:-4] + "AAAA"}, "--log: .*name the vkey"),
        ({"log": format_vkey(witness_signer().key)}, "a log signs with Ed25519 or ML-DSA-44"),
        ({"name": "a b"}, "--name: .*take one like witness.example.org/w1"),
        ({"name": "a+b"}, "--name: .*take one like witness.example.org/w1"),
        ({"name": ""}, "--name: .*take one like witness.example.org/w1"),
    ],
)
def test_a_bad_option_is_told(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        serve(tmp_path, **changes)


def test_a_key_whose_state_is_gone_does_not_serve(tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem")
    with pytest.raises(ConfigurationError, match="without it the witness would cosign a fork"):
        serve(tmp_path)
    assert not (tmp_path / "state.db").exists()


def test_a_logs_own_key_is_no_witness_key(tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem", key_of(1))
    WitnessState(tmp_path / "state.db", may_create=True)
    with pytest.raises(ConfigurationError, match="one key must not have two roles"):
        serve(tmp_path)


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))
    WitnessState(tmp_path / "state.db", may_create=True)
    with pytest.raises(ConfigurationError, match="is not an Ed25519 key"):
        serve(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to other users"):
        run("vkey", "--name", NAME, "--key", tmp_path / "key.pem")


def test_the_key_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen"):
        serve(tmp_path, listen="192.0.2.1:0")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("as_json", [True, False])
def test_vkey_prints_what_policies_want(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    write_key(tmp_path / "key.pem")
    run("vkey", "--name", NAME, "--key", tmp_path / "key.pem", *(["--json"] if as_json else []))
    out = capsys.readouterr().out
    text = json.loads(out)["vkey"] if as_json else out.removesuffix("\n")
    key = parse_vkey(text)
    assert (key.name, key.algorithm) == (NAME, Algorithm.COSIGNATURE_V1)
    assert key.public == key_of(10).public_key().public_bytes_raw()


def test_vkey_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="made at the first start of `witness serve`"):
        run("vkey", "--name", NAME, "--key", tmp_path / "key.pem")
    assert list(tmp_path.iterdir()) == []
