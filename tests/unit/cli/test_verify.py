"""`verify`: exit 0 for a verdict that verifies, 1 for one that does not, 64 without files."""

from pathlib import Path

import pytest

from tests.unit.cli.command import run
from tests.unit.ledger.small_log import VERDICT_INDEX, bundle, trust_root

TESTS = Path(__file__).parents[2]
GOLDEN = TESTS / "golden" / "ledger"
KEY = GOLDEN / "verdict.pub"
MALFORMED = sorted((TESTS / "assets" / "ledger").glob("envelope_*.json"))


@pytest.mark.parametrize(
    ("name", "word"),
    [("passed", "PASSED"), ("failed", "FAILED"), ("inconclusive", "INCONCLUSIVE")],
)
def test_a_signed_verdict_verifies_whatever_it_says(name: str, word: str) -> None:
    file = GOLDEN / f"{name}.envelope.json"
    done = run("verify", file, "--json", "--key", KEY)
    assert done.code == 0
    (line,) = done.lines
    assert (line["file"], line["verified"]) == (str(file), True)
    assert line["statement"]["predicate"]["verdict"] == word
    told = run("verify", file, "--key", KEY)
    assert told.code == 0
    assert f"the verdict is {word}" in " ".join(told.stdout.split())


@pytest.mark.parametrize("file", MALFORMED, ids=lambda path: path.stem)
def test_a_malformed_or_forged_verdict_does_not_verify(file: Path) -> None:
    done = run("verify", file, "--json", "--key", KEY)
    assert done.code == 1
    (line,) = done.lines
    assert line["verified"] is False
    assert line["error"].startswith("step ")
    told = run("verify", file, "--key", KEY)
    assert (told.code, told.stdout) == (1, "")
    assert "do not rely on this verdict" in told.stderr


def test_a_file_that_is_no_key_does_not_verify(tmp_path: Path) -> None:
    no_key = tmp_path / "no.pub"
    no_key.write_bytes(b"\x00\x01")
    done = run("verify", GOLDEN / "passed.envelope.json", "--json", "--key", no_key)
    assert done.code == 1
    assert done.lines[0]["error"].startswith("step 4")


@pytest.mark.parametrize("missing", ["file", "key"])
def test_a_missing_file_is_a_usage_error_not_a_failed_verification(
    missing: str, tmp_path: Path
) -> None:
    none = tmp_path / "none"
    file = none if missing == "file" else GOLDEN / "passed.envelope.json"
    done = run("verify", file, "--json", "--key", none if missing == "key" else KEY)
    assert (done.code, done.stdout) == (64, "")
    assert f"cannot read {none}" in done.stderr


@pytest.fixture
def bundled(tmp_path: Path) -> tuple[Path, Path]:
    """Write a fresh bundle and the trust root that it verifies under."""
    file, root = tmp_path / "verdict.sigstore.json", tmp_path / "trust-root.json"
    file.write_bytes(bundle())
    root.write_bytes(trust_root())
    return file, root


def test_a_bundle_verifies_with_numbered_steps_and_its_witnesses(
    bundled: tuple[Path, Path],
) -> None:
    file, root = bundled
    told = run("verify", file, "--trust-root", root)
    assert told.code == 0
    lines = told.stdout.splitlines()
    assert [line.partition(".")[0].strip() for line in lines[:15]] == [str(n) for n in range(1, 16)]
    assert "verified; the verdict is PASSED" in lines[15]
    assert f"entry {VERDICT_INDEX} of 300" in lines[16]
    assert lines[17:] == [
        "witness w1 cosigned at 2026-01-02T03:10:00Z",
        "witness w2 cosigned at 2026-01-02T03:10:00Z",
    ]


def test_a_bundle_as_json_is_one_line(bundled: tuple[Path, Path]) -> None:
    file, root = bundled
    (line,) = run("verify", file, "--trust-root", root, "--json").lines
    assert (line["verified"], line["log_index"], line["tree_size"]) == (True, VERDICT_INDEX, 300)
    assert line["witnesses"][0] == {"name": "w1", "cosigned_at": "2026-01-02T03:10:00Z"}
    assert len(line["steps"]) == 15


def test_a_bundle_that_does_not_verify_names_the_step(bundled: tuple[Path, Path]) -> None:
    file, root = bundled
    file.write_bytes(bundle().replace(b'"treeSize":"300"', b'"treeSize":"301"'))
    told = run("verify", file, "--trust-root", root)
    assert (told.code, told.stdout) == (1, "")
    assert "step 11" in told.stderr
    (line,) = run("verify", file, "--trust-root", root, "--json").lines
    assert line["verified"] is False


def test_a_verdict_alone_says_that_the_log_was_not_checked() -> None:
    file = GOLDEN / "passed.envelope.json"
    assert "inclusion in the log was NOT checked" in run("verify", file, "--key", KEY).stdout
    assert run("verify", file, "--key", KEY, "--json").lines[0]["log_checked"] is False


def test_either_a_key_or_a_trust_root_is_asked_for(bundled: tuple[Path, Path]) -> None:
    file, root = bundled
    for arguments in ((), ("--key", KEY, "--trust-root", root)):
        done = run("verify", file, *arguments)
        assert (done.code, done.stdout) == (64, "")
        assert "name either --trust-root" in done.stderr


def test_the_signed_bytes_are_written_of_bundle_and_envelope_alike(
    bundled: tuple[Path, Path], tmp_path: Path
) -> None:
    pae, sig = tmp_path / "pae", tmp_path / "sig"
    done = run("verify", bundled[0], "--trust-root", bundled[1], "--pae", pae, "--sig", sig)
    assert done.code == 0
    assert pae.read_bytes().startswith(b"DSSEv1 28 application/vnd.in-toto+json ")
    assert sig.read_bytes()[0] == 0x30


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"dsseEnvelope":{"payload":7}}', b"\xff"])
def test_a_file_without_an_envelope_has_no_parts(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    done = run("verify", file, "--key", KEY, "--pae", tmp_path / "pae")
    assert done.code == 1
    assert "neither a signed verdict nor a bundle" in done.stderr


def test_a_part_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = GOLDEN / "passed.envelope.json"
    done = run("verify", file, "--key", KEY, "--pae", tmp_path / "no" / "pae")
    assert done.code == 64
    assert "cannot write" in done.stderr
