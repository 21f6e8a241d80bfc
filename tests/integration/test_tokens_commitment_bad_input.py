"""What `tokens commitment` cannot read or do is told by its name, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commitment_desk import TOKENS, Desk, a_chain, commitment, copied, opened
from tests.support.example_model import MODEL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return opened(tmp_path_factory.mktemp("commitment") / "r-1", TOKENS)


@pytest.fixture
def desk(made: Desk, tmp_path: Path) -> Desk:
    return copied(made, tmp_path)


BAD_OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "half": (("--fraction", 0.1), "--fraction and --confidence belong together"),
    "both": (
        ("--fraction", 0.1, "--confidence", 0.9, "--num-openings", 5),
        "give --num-openings, or --fraction and --confidence",
    ),
    "no chance": (("--fraction", 0.1, "--confidence", 1.0), "probability: must lie between 0 and"),
    "no number": (("--fraction", "nan", "--confidence", 0.9), "Invalid value for '--fraction'"),
    "block": (("--block-size", 48), "block_tokens: must be a power of two"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_rules_that_cannot_be_are_refused(made: Desk, name: str) -> None:
    options, says = BAD_OPTIONS[name]
    done = made.challenge(*options, name="refused")
    assert done.code in (64, 65)
    assert says in done.stderr
    assert not made.file("refused").exists()


Change = Callable[[dict[str, Any]], object]

MALFORMED: dict[str, tuple[str, str | Change, str]] = {
    "no JSON": ("commitment", "{", "is not valid JSON"),
    "a list": ("opening", "[]", "must be a JSON object"),
    "deep": ("opening", '{"openings":' + "[" * 100_000, "is nested too deeply"),
    "swapped": ("opening", '{"nonce":""}', "openings: is missing in the answer"),
    "bad proof": ("opening", lambda d: d["openings"][0].update(proof=[7]), "proof: must be lower"),
    "bad id": ("commitment", lambda d: d.update(requestId="\ud800"), "requestId: must be"),
    "escape": ("commitment", lambda d: d.update(model="\x1b[2J"), "model: must be"),
    "huge count": ("commitment", lambda d: d.update(numTokens=2**60), "numTokens: must be a whole"),
    "short root": ("commitment", lambda d: d.update(root="00"), "root: must have 32 bytes"),
    "short nonce": ("challenge", lambda d: d.update(nonce="00"), "nonce: must have at least 16"),
    "no flag": ("challenge", lambda d: d.update(opensPrefix=1), "opensPrefix: must be true or"),
    "rules": ("challenge", lambda d: d.update(numLeaves=10**6), "num_leaves: must lie between"),
    "another root": ("challenge", lambda d: d.update(root="00" * 32), "is another commitment's"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_named(desk: Desk, name: str) -> None:
    which, change, says = MALFORMED[name]
    if isinstance(change, str):
        desk.write(which, change)
    else:
        document = desk.read(which)
        change(document)
        desk.write(which, document)
    done = desk.verify("--billed", 500)
    assert (done.code, done.stdout) == (65, "")
    assert done.stderr.startswith("InvalidRequest: ")
    assert says in done.stderr


def test_malformed_chains_and_secrets_are_named(desk: Desk, tmp_path: Path) -> None:
    for change, says in (
        ({"numTokens": 499}, "numTokens: must be the number of tokenIds, 500"),
        ({"tokenIds": [2**40], "numTokens": 1}, "token_id: must lie between 0 and"),
        ({"tokenIds": 7}, "tokenIds: must be a list"),
    ):
        chain = desk.write("chain", a_chain(TOKENS) | change)
        files = ("--out", desk.file("c"), "--secrets", desk.file("s"))
        done = commitment("make", chain, "--key", tmp_path / "new.pem", *files)
        assert done.code == 65
        assert says in done.stderr
    assert not (tmp_path / "new.pem").exists(), "a refused chain makes no key"
    kept = desk.read("secrets")
    desk.write("secrets", kept | {"tokenIds": [1, *kept["tokenIds"][1:]]})
    done = desk.open()
    assert done.code == 65
    assert "does not fit the tokenIds and secret" in done.stderr


def test_missing_files_and_keys_are_named(made: Desk, tmp_path: Path) -> None:
    files = [made.file(name) for name in ("commitment", "challenge")]
    key = ("--provider-key", made.key)
    done = commitment("verify", *files, tmp_path / "none.json", *key)
    assert done.code == 64
    assert "cannot read" in done.stderr and "none.json" in done.stderr
    done = commitment("verify", *files, made.file("opening"), *key)
    assert done.code == 64
    assert "the provider's key is not a PEM public key" in done.stderr
    done = made.verify("--model", MODEL)
    assert done.code == 64
    assert "a replay needs both --model and --traffic" in done.stderr
    same = tmp_path / "same.json"
    out = ("--out", same, "--secrets", same)
    done = commitment("make", made.file("chain"), "--key", made.key, *out)
    assert done.code == 64
    assert "name another file than --secrets" in done.stderr
