"""`log`: what it shows is checked, what it writes verifies, what does not add up ends in exit 1."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.cli import log as log_commands
from audit.cli.exits import exit_code_of
from audit.errors import AuditError
from audit.ledger.notes import Ed25519NoteSigner, format_vkey, open_note
from audit.ledger.tlog_proof import parse_tlog_proof
from audit.ledger.verify import verify_bundle
from audit.log_records import LogEntry
from tests.integration.processes import Finished
from tests.support.logs import ORIGIN, log_signer
from tests.unit.service.logs import VKEY, Scene, ServedLog, scene
from tests.unit.service.running import running

STRANGER = format_vkey(
    Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32))).key
)
APP = typer.Typer()
log_commands.register(APP)


def run(*arguments: object) -> Finished:
    """Run one command as the entry point does."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    command = typer.main.get_command(APP)
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            command.main(args=["log", *map(str, arguments)], standalone_mode=False)
        except AuditError as error:
            stderr.write(f"{type(error).__name__}: {error}")
            code = exit_code_of(error)
    return Finished(code=code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A log of 7 entries, of which a checkpoint of 5 was witnessed."""
    with scene(tmp_path_factory.mktemp("log")) as found:
        found.audit("request-1")
        found.policies(0, 3)
        found.witness()
        found.audit("request-2")
        yield found


@pytest.fixture(scope="module")
def address(full: Scene) -> Iterator[str]:
    with running(full.audits, log=full.served) as service:
        yield service.address


@pytest.fixture
def old_checkpoint(tmp_path: Path, address: str) -> Path:
    path = tmp_path / "old.note"
    done = run("checkpoint", "--witnessed", "--out", path, "--address", address)
    assert done.code == 0, done.stderr
    return path


def test_the_checkpoint_is_shown_and_its_signature_checked(address: str, full: Scene) -> None:
    root = full.served.checkpoint().root.hex()
    done = run("checkpoint", "--address", address, "--log-key", VKEY)
    assert done.code == 0, done.stderr
    assert f"{ORIGIN}: 7 entries, root {root}" in done.stdout
    assert "witnessed: no" in done.stdout
    assert "its signature verifies" in done.stdout
    assert "signatures not checked" in run("checkpoint", "--address", address).stdout


def test_the_checkpoint_as_a_line(address: str, full: Scene) -> None:
    (line,) = run("checkpoint", "--witnessed", "--json", "--address", address).lines
    stored = full.served.checkpoint(witnessed=True)
    assert line == {
        "origin": ORIGIN,
        "tree_size": 5,
        "root_hash": stored.root.hex(),
        "issued_at": stored.issued_at,
        "is_witnessed": True,
        "note": stored.note.decode(),
        "is_signature_checked": False,
    }


def test_the_log_key_may_be_in_a_file(address: str, tmp_path: Path) -> None:
    path = tmp_path / "log.vkey"
    path.write_text(VKEY + "\n", encoding="utf-8")
    done = run("checkpoint", "--address", address, "--log-key", path)
    assert "its signature verifies" in done.stdout


@pytest.mark.parametrize(
    ("key", "code", "says"),
    [
        (STRANGER, 1, "no known key has signed"),
        ("no-such-file", 64, "cannot read no-such-file"),
        ("a+b+c", 64, "--log-key cannot be used"),
    ],
    ids=["another-key", "no-file", "no-key"],
)
def test_a_key_that_does_not_fit_is_refused(address: str, key: str, code: int, says: str) -> None:
    done = run("checkpoint", "--address", address, "--log-key", key)
    assert (done.code, done.stdout) == (code, "")
    assert says in done.stderr


def test_entries_are_listed_and_proven(address: str) -> None:
    done = run("entries", "--address", address, "--log-key", VKEY)
    assert done.code == 0, done.stderr
    for cell in ("verdict:audit-1", "policy:policy-2", "intent:audit-2", "default 7"):
        assert cell in done.stdout
    assert "each is proven to be in the log" in done.stdout
    assert "signatures not checked" in run("entries", "--address", address).stdout


def test_entries_can_be_chosen(address: str) -> None:
    done = run("entries", "--json", "--first", 1, "--limit", 2, "--address", address)
    assert [line["log_index"] for line in done.lines] == [1, 2]
    kinds = ("--kind", "verdict", "--kind", "intent")
    done = run("entries", "--json", "--log-key", VKEY, *kinds, "--address", address)
    assert [line["entry_key"] for line in done.lines] == [
        "intent:audit-1",
        "verdict:audit-1",
        "intent:audit-2",
        "verdict:audit-2",
    ]
    assert all(line["is_proof_checked"] for line in done.lines)
    done = run("entries", "--first", 99, "--address", address)
    assert (done.code, done.stdout) == (0, "the log has no such entries\n")


@pytest.mark.parametrize(
    ("target", "index"), [("audit-1", 1), ("1", 1), ("0", 0), ("3", 3)], ids=str
)
def test_a_proof_is_written_as_bundle_and_as_tlog_proof(
    address: str, full: Scene, tmp_path: Path, target: str, index: int
) -> None:
    bundle, proof = tmp_path / "bundle.json", tmp_path / "entry.tlog-proof"
    files = ("--out", bundle, "--tlog-proof", proof)
    done = run("prove", target, *files, "--log-key", VKEY, "--address", address)
    assert done.code == 0, done.stderr
    assert f"is entry {index} of 7; proof and signature verify" in done.stdout
    assert verify_bundle(bundle.read_bytes(), full.served.trust_root()).log_index == index
    parsed = parse_tlog_proof(proof.read_bytes())
    assert parsed.index == index
    assert parsed.hashes == full.served.inclusion(index, 7)
    assert open_note(parsed.checkpoint, [log_signer().key]).verified


def test_a_proof_can_be_for_the_witnessed_checkpoint(address: str, tmp_path: Path) -> None:
    proof = tmp_path / "entry.tlog-proof"
    done = run("prove", 2, "--witnessed", "--tlog-proof", proof, "--address", address)
    assert "is entry 2 of 5; the proof holds; signatures not checked" in done.stdout
    assert b"witness.test.example" in proof.read_bytes()


@pytest.mark.parametrize("target", ["7", "none"])
def test_what_is_not_in_the_log_is_not_proven(address: str, target: str) -> None:
    done = run("prove", target, "--address", address)
    assert (done.code, done.stdout) == (66, "")
    assert "EntryNotFound" in done.stderr


def test_a_kept_checkpoint_is_the_beginning_of_the_log(address: str, old_checkpoint: Path) -> None:
    done = run("consistency", old_checkpoint, "--log-key", VKEY, "--address", address)
    assert done.code == 0, done.stderr
    assert "7 entries, root" in done.stdout
    assert "begin with the 5 of root" in done.stdout
    assert "proof and signature verify" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [(("3",), (3, 7)), (("3", "6"), (3, 6)), (("7", "7"), (7, 7)), (("1", "5"), (1, 5))],
)
def test_sizes_are_proven_consistent(
    address: str, arguments: tuple[str, ...], sizes: tuple[int, int]
) -> None:
    done = run("consistency", *arguments, "--json", "--log-key", VKEY, "--address", address)
    assert done.code == 0, done.stderr
    (line,) = done.lines
    assert (line["old"]["tree_size"], line["new"]["tree_size"]) == sizes
    assert line["is_consistent"]
    assert line["is_signature_checked"]


def test_a_larger_size_is_not_the_beginning_of_a_smaller(address: str) -> None:
    done = run("consistency", "5", "3", "--address", address)
    assert (done.code, done.stdout) == (65, "")
    assert "OLD: is 5, above NEW, 3" in done.stderr


@pytest.mark.parametrize("arguments", [("0",), ("8",), ("3", "8")])
def test_sizes_that_cannot_be_are_refused(address: str, arguments: tuple[str, ...]) -> None:
    done = run("consistency", *arguments, "--address", address)
    assert (done.code, done.stdout) == (65, "")
    assert "size" in done.stderr


def test_another_log_is_not_consistent_with_this_one(tmp_path: Path, old_checkpoint: Path) -> None:
    with scene(tmp_path) as other:
        other.policies(0, 9)
        with running(other.audits, log=other.served) as service:
            done = run("consistency", old_checkpoint, "--address", service.address)
    assert (done.code, done.stdout) == (1, "")
    assert "consistency proof leads to another" in done.stderr


@pytest.mark.parametrize(
    ("num_entries", "says"),
    [(4, "the log has 4 entries, and once stated 5: it was cut back"), (5, "another")],
    ids=["cut-back", "rewritten"],
)
def test_a_log_that_forgot_is_caught(
    tmp_path: Path, old_checkpoint: Path, num_entries: int, says: str
) -> None:
    with scene(tmp_path) as other:
        other.policies(0, num_entries)
        with running(other.audits, log=other.served) as service:
            done = run("consistency", old_checkpoint, "--address", service.address)
    assert (done.code, done.stdout) == (1, "")
    assert says in done.stderr


def test_the_evidence_of_a_verdict_verifies(address: str, tmp_path: Path) -> None:
    bundle, root = tmp_path / "bundle.json", tmp_path / "root.json"
    files = ("--out", bundle, "--trust-root", root)
    done = run("bundle", "audit-2", *files, "--log-key", VKEY, "--address", address)
    assert done.code == 0, done.stderr
    assert "verdict:audit-2 is entry 6; proof and signature verify" in done.stdout
    assert verify_bundle(bundle.read_bytes(), root.read_bytes()).log_index == 6


def test_the_trust_root_is_written_in_both_renderings(
    address: str, full: Scene, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    files = ("--out", ours, "--sigstore", theirs)
    done = run("trust-root", *files, "--log-key", VKEY, "--address", address)
    assert done.code == 0, done.stderr
    assert "names the given log key" in done.stdout
    assert ours.read_bytes() == full.served.trust_root()
    assert len(json.loads(theirs.read_bytes())["tlogs"]) == 1
    assert "not compared" in run("trust-root", "--out", ours, "--address", address).stdout
    refused = run("trust-root", "--out", ours, "--log-key", STRANGER, "--address", address)
    assert refused.code == 1
    assert "does not name the given log key" in refused.stderr


def test_a_file_that_cannot_be_written_is_a_usage_error(address: str, tmp_path: Path) -> None:
    done = run("trust-root", "--out", tmp_path / "no" / "root.json", "--address", address)
    assert done.code == 64
    assert "cannot write" in done.stderr


class LyingLog(ServedLog):
    """Tells one lie in each kind of answer."""

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        first, *rest = super().inclusion(index, size)
        return (bytes(32), *rest) if first else (first, *rest)

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        return tuple(bytes(32) for _ in super().consistency(old_size, new_size))

    def bundle(self, audit_id: str) -> bytes:
        return super().bundle("audit-1" if audit_id == "audit-2" else audit_id)


class SwappingLog(ServedLog):
    """Answers with another entry than the one asked for, under the asked one's name."""

    def entry(self, index: int) -> LogEntry:
        return super().entry(0)


def test_lies_are_not_shown_nor_written(full: Scene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(full.audits, log=LyingLog(full.log.store)) as service:
        for arguments in (
            ("entries", "--log-key", VKEY),
            ("prove", "1", "--out", out),
            ("consistency", "3"),
            ("bundle", "audit-2", "--out", out),
        ):
            done = run(*arguments, "--address", service.address)
            assert (done.code, done.stdout) == (1, ""), arguments
            assert "proof" in done.stderr or "bundle" in done.stderr, done.stderr
    assert not out.exists()


def test_an_entry_under_anothers_index_is_refused(full: Scene) -> None:
    with running(full.audits, log=SwappingLog(full.log.store)) as service:
        done = run("prove", "5", "--address", service.address)
    assert (done.code, done.stdout) == (1, "")
    assert "is not the entry asked for" in done.stderr


def test_an_unreachable_service_says_how_to_start_it() -> None:
    done = run("checkpoint", "--address", "127.0.0.1:1")
    assert done.code == 64
    assert "inference-audit serve" in done.stderr
