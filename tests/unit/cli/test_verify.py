"""`verify`: exit 0 for a verdict that verifies, 1 for one that does not, 64 without files."""

from pathlib import Path

import pytest

from tests.unit.cli.command import run

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
