"""`keys`: what a log's keys are, their rotation and revocation, and the trust root, end to end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from audit.app import open_log
from audit.cli import keys
from audit.config import ServiceSettings, load_log_settings
from audit.ledger.trust_root import load_trust_root
from tests.integration.processes import Finished
from tests.unit.cli.command import run

ORIGIN = "log.example.org"


@pytest.fixture
def run_keys(tmp_path: Path) -> Callable[..., Finished]:
    settings = tmp_path / "log.toml"
    settings.write_text(f'origin = "{ORIGIN}"\n')
    database = f"sqlite:///{tmp_path / 'log.db'}"
    first = ServiceSettings(
        database=database, key_path=tmp_path / "first.pem", log=load_log_settings(settings)
    )
    with open_log(first):
        pass

    def run_them(*arguments: object, key: str = "first.pem") -> Finished:
        chosen = ("--database", database, "--log-settings", settings)
        return run("keys", *chosen, "--key", tmp_path / key, *arguments)

    return run_them


def test_a_log_without_entries_names_no_key(run_keys: Callable[..., Finished]) -> None:
    done = run_keys("show")
    assert done.code == 0
    assert "no verdict key yet" in done.stdout
    assert run_keys("show", "--json").lines == []


def test_a_rotation_and_a_revocation_reach_the_trust_root(
    run_keys: Callable[..., Finished], tmp_path: Path
) -> None:
    rotated = run_keys("rotate", "--new-key", tmp_path / "second.pem")
    assert rotated.code == 0, rotated.stderr
    old, new = run_keys("show", "--json", key="second.pem").lines
    assert (old["is_current"], new["is_current"]) == (False, True)
    assert (old["from_index"], old["below_index"]) == (0, 3)
    assert (new["from_index"], new["below_index"]) == (1, None)
    assert "in use" in run_keys("show", key="second.pem").stdout
    arguments = ("--below", 1, "--compromised-at", "2026-01-02T03:04:05Z", "--reason", "stolen")
    revoked = run_keys("revoke", old["key_id"], *arguments, key="second.pem")
    assert revoked.code == 0, revoked.stderr
    out, sigstore = tmp_path / "root.json", tmp_path / "sigstore.json"
    written = run_keys("trust-root", "--out", out, "--sigstore-out", sigstore, key="second.pem")
    assert written.code == 0, written.stderr
    first, second = load_trust_root(out.read_bytes()).verdict_keys
    assert (first.below_index, first.compromised_at) == (1, "2026-01-02T03:04:05Z")
    assert second.below_index is None
    assert json.loads(sigstore.read_bytes())["tlogs"][0]["baseUrl"] == f"https://{ORIGIN}"


def test_the_key_in_use_and_unknown_keys_are_not_revoked(
    run_keys: Callable[..., Finished], tmp_path: Path
) -> None:
    run_keys("rotate", "--new-key", tmp_path / "second.pem")
    new = run_keys("show", "--json", key="second.pem").lines[1]
    for key_id, problem in ((new["key_id"], "the key in use"), ("0" * 64, "no verdict key")):
        done = run_keys("revoke", key_id, key="second.pem")
        assert done.code == 64
        assert problem in done.stderr


def test_a_revocation_with_a_time_that_is_none_is_refused_before_it_is_logged(
    run_keys: Callable[..., Finished], tmp_path: Path
) -> None:
    run_keys("rotate", "--new-key", tmp_path / "second.pem")
    old = run_keys("show", "--json", key="second.pem").lines[0]
    done = run_keys("revoke", old["key_id"], "--compromised-at", "monday", key="second.pem")
    assert done.code == 65
    assert "compromised_at" in done.stderr
    assert run_keys("trust-root", key="second.pem").code == 0


def test_files_that_cannot_be_used_are_told(
    run_keys: Callable[..., Finished], tmp_path: Path
) -> None:
    run_keys("rotate", "--new-key", tmp_path / "second.pem")
    done = run_keys("trust-root", "--out", tmp_path / "no" / "root.json", key="second.pem")
    assert (done.code, "cannot write" in done.stderr) == (64, True)
    location = f"file2:{tmp_path / 'second.pem'}"
    done = run_keys("rotate", "--new-key", location, "--new-public-key", tmp_path / "none")
    assert (done.code, "cannot read" in done.stderr) == (64, True)


def test_the_log_key_is_the_one_that_the_trust_root_names(
    run_keys: Callable[..., Finished], tmp_path: Path
) -> None:
    run_keys("rotate", "--new-key", tmp_path / "second.pem")
    vkey = run_keys("log-key", key="second.pem").stdout.strip()
    assert vkey.startswith(f"{ORIGIN}+")
    assert f"log {vkey}" in run_keys("trust-root", key="second.pem").stdout


def test_the_group_has_its_five_commands() -> None:
    own = typer.Typer()
    keys.register(own)
    (group,) = own.registered_groups
    assert group.typer_instance is not None
    names = {
        c.name or getattr(c.callback, "__name__", "")
        for c in group.typer_instance.registered_commands
    }
    assert names == {"show", "trust-root", "log-key", "rotate", "revoke"}


def test_a_key_that_does_not_exist_is_told_and_not_made(
    run_keys: Callable[..., Finished], tmp_path: Path
) -> None:
    done = run_keys("show", key="mistyped.pem")
    assert done.code == 64
    assert "mistyped.pem does not exist" in done.stderr
    assert not (tmp_path / "mistyped.pem").exists()
