"""A provider commits to hidden tokens and the auditor checks them, both by the real commands."""

import json
import stat
from functools import cache
from pathlib import Path

import pytest

from audit.hidden_tokens.commitment.tree import TokenTree
from tests.integration.commitment_desk import (
    TOKENS,
    Desk,
    commitment,
    copied,
    installed,
    opened,
    verdict,
)
from tests.integration.processes import Finished
from tests.support.example_model import MODEL, TRAFFIC


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return opened(tmp_path_factory.mktemp("commitment") / "r-1", TOKENS)


@pytest.fixture
def desk(made: Desk, tmp_path: Path) -> Desk:
    return copied(made, tmp_path)


def test_the_installed_commands_do_a_whole_round(tmp_path: Path) -> None:
    desk = opened(tmp_path / "r-1", TOKENS, command=installed)
    assert desk.verify("--billed", 500).code == 0
    done = desk.verify("--billed", 525, "--json")
    assert (done.code, verdict(done)) == (1, ("DISAGREES", ["commitment_count"]))


def test_an_honest_provider_passes(made: Desk) -> None:
    done = made.verify("--billed", 500, "--json")
    (line,) = done.lines
    assert (done.code, line["outcome"]) == (0, "AGREES")
    assert line["checked"] == ["commitment_count", "commitment_opening"]
    assert (line["num_tokens"], line["billed_tokens"], line["wants_replay"]) == (500, 500, False)
    told = made.verify("--billed", 500)
    assert told.code == 0
    assert "500 hidden tokens committed to, 500 billed: AGREES" in told.stdout
    assert "whether the model drew them was not asked" in told.stdout


def test_secrets_are_for_their_owner_and_are_never_replaced(made: Desk, desk: Desk) -> None:
    assert stat.S_IMODE(made.file("secrets").stat().st_mode) == 0o600
    before = made.file("secrets").read_bytes()
    again = made.make(TOKENS)
    assert again.code == 64
    assert "may hold the secrets of another commitment" in again.stderr
    assert made.file("secrets").read_bytes() == before
    desk.file("secrets").chmod(0o644)
    assert "open to other users (mode 0644)" in desk.open().stderr


def test_only_what_was_asked_for_is_shown(made: Desk) -> None:
    secret = bytes.fromhex(made.read("secrets")["secret"])
    tree, opening = TokenTree(TOKENS, secret), made.file("opening").read_text(encoding="utf-8")
    shown = {
        index
        for one in made.read("opening")["openings"]
        for index in range(one["start"], one["start"] + len(one["tokenIds"]))
    }
    salts = [tree.open(index, index + 1).tokens[0].salt.hex() for index in range(500)]
    assert {index for index, salt in enumerate(salts) if salt in opening} == shown
    assert secret.hex() not in opening


@pytest.mark.parametrize("billed", [499, 501, 625])
def test_a_bill_for_another_count_is_a_violation(made: Desk, billed: int) -> None:
    done = made.verify("--billed", billed, "--json")
    assert (done.code, verdict(done)) == (1, ("DISAGREES", ["commitment_count"]))
    assert done.lines[0]["violations"][0]["excess_tokens"] == billed - 500


def test_without_a_bill_the_count_is_not_checked(made: Desk) -> None:
    done = made.verify()
    assert done.code == 2
    assert "INCONCLUSIVE" in done.stdout
    assert "not checked: no reasoning count was billed" in done.stdout


def test_a_forged_token_is_a_violation(desk: Desk) -> None:
    answer = desk.read("opening")
    answer["openings"][3]["tokenIds"][0] += 1
    desk.write("opening", answer)
    done = desk.verify("--billed", 500, "--json")
    assert (done.code, verdict(done)) == (1, ("DISAGREES", ["commitment_opening"]))
    assert "does not fit the commitment" in done.lines[0]["violations"][0]["statement"]


def test_the_answer_to_another_challenge_is_a_violation(desk: Desk) -> None:
    assert desk.challenge(name="earlier").code == 0
    assert desk.open("earlier").code == 0
    done = desk.verify("--billed", 500, "--json")
    assert (done.code, verdict(done)) == (1, ("DISAGREES", ["commitment_opening"]))
    assert "were not opened" in done.lines[0]["violations"][0]["statement"]


def test_no_two_challenges_are_alike(desk: Desk) -> None:
    assert desk.challenge(name="second").code == 0
    assert desk.read("second")["nonce"] != desk.read("challenge")["nonce"]


def test_a_commitment_of_another_key_is_not_checked_any_further(desk: Desk) -> None:
    other = desk.folder / "other"
    other.mkdir()
    key = ("--provider-key", f"{opened(other / 'r-1', TOKENS).key}.pub")
    files = [desk.file(name) for name in ("commitment", "challenge", "opening")]
    done = commitment("verify", *files, *key, "--billed", 500)
    assert done.code == 2
    assert "the provider's key did not sign the commitment" in done.stdout
    asked = desk.challenge(*key, name="never")
    assert asked.code == 2
    assert not desk.file("never").exists(), "nothing is drawn for it"


def test_a_commitment_to_another_request_says_nothing(made: Desk) -> None:
    done = made.verify("--billed", 500, "--request-id", "r-2")
    assert done.code == 2
    assert "the commitment is about another request" in done.stdout


def test_no_hidden_tokens_are_a_commitment_too(tmp_path: Path) -> None:
    desk = opened(tmp_path / "r-1", ())
    assert desk.verify("--billed", 0).code == 0
    done = desk.verify("--billed", 5, "--json")
    assert (done.code, verdict(done)) == (1, ("DISAGREES", ["commitment_count"]))


def test_the_chance_to_find_missing_tokens_is_told(made: Desk) -> None:
    first = made.challenge(name="more")
    assert "44 single tokens of 500" in first.stdout
    assert (
        "where 10.00% of them cannot be shown, the single tokens find that with 99.03% or more"
        in first.stdout
    )
    wanted = ("--fraction", 0.05, "--confidence", 0.999)
    asked = made.challenge(*wanted, "--block-size", 128, name="more")
    assert "135 single tokens of 500" in asked.stdout
    assert (
        "where 5.00% of them cannot be shown, the single tokens find that with 99.90% or more"
        in asked.stdout
    )
    assert made.read("more")["blockTokens"] == 128
    everything = made.challenge("--fraction", 0.000001, "--confidence", 0.99, name="more")
    assert "500 single tokens of 500" in everything.stdout
    assert "find that with 100.00% or more" in everything.stdout


@cache
def _recording() -> tuple[str, tuple[int, ...]]:
    """Return a sampled exchange of a real vLLM in float32, and its first 200 tokens."""
    for line in (TRAFFIC / "honest-vllm-fp32.jsonl").read_text(encoding="utf-8").splitlines():
        exchange = json.loads(line)
        token_ids = exchange["response"]["choices"][0].get("token_ids", ())
        if exchange["request"]["temperature"] >= 0.7 and len(token_ids) >= 210:
            return line, tuple(token_ids[:200])
    raise AssertionError("no recording is long enough")


def replayed(folder: Path, token_ids: tuple[int, ...], line: str) -> Finished:
    """Commit to tokens, open all of them, and replay them."""
    desk = opened(folder, token_ids, "--block-size", 256)
    traffic = folder / "exchange.jsonl"
    traffic.write_text(line + "\n", encoding="utf-8")
    source = ("--model", MODEL, "--traffic", traffic, "--dtype", "float32")
    return desk.verify("--billed", len(token_ids), *source, "--json")


def test_what_a_real_engine_drew_passes_the_replay(tmp_path: Path) -> None:
    line, token_ids = _recording()
    done = replayed(tmp_path / "r-1", token_ids, line)
    assert (done.code, verdict(done)) == (0, ("AGREES", [])), done.stdout
    assert done.lines[0]["checked"][-1] == "commitment_replay"


@pytest.mark.parametrize("filler", ["repeated", "invented"])
def test_a_padded_chain_fails_the_replay(tmp_path: Path, filler: str) -> None:
    line, token_ids = _recording()
    padding = token_ids[40:50] if filler == "repeated" else tuple(range(300, 310))
    done = replayed(tmp_path / "r-1", token_ids[:50] + padding + token_ids[50:], line)
    assert (done.code, verdict(done)) == (1, ("DISAGREES", ["commitment_replay"]))
    statement = done.lines[0]["violations"][0]["statement"]
    assert "would not have been drawn by the reference" in statement


def test_what_cannot_be_replayed_is_told(tmp_path: Path) -> None:
    line, token_ids = _recording()
    exchange = json.loads(line)
    del exchange["request"]["seed"]
    done = replayed(tmp_path / "r-1", token_ids, json.dumps(exchange))
    assert done.code == 2
    (unchecked,) = done.lines[0]["unchecked"]
    assert "the opened tokens cannot be replayed" in unchecked["detail"]
    assert "without a seed" in unchecked["detail"]


def test_a_second_opening_of_a_run_cannot_stand_in_for_the_verified_one(tmp_path: Path) -> None:
    """Padding is committed to and opened; beside it lies an opening that would replay well."""
    line, token_ids = _recording()
    padded = token_ids[:50] + tuple(range(300, 310)) + token_ids[50:]
    desk = opened(tmp_path / "r-1", padded, "--block-size", 256)
    answer = desk.read("opening")
    (whole,) = [one for one in answer["openings"] if len(one["tokenIds"]) == len(padded)]
    drawn = json.loads(line)["response"]["choices"][0]["token_ids"]
    nice = whole | {"tokenIds": drawn[: len(padded)]}
    traffic = tmp_path / "exchange.jsonl"
    traffic.write_text(line + "\n", encoding="utf-8")
    for openings in ([nice, *answer["openings"]], [*answer["openings"], nice]):
        desk.write("opening", {"openings": openings})
        source = ("--model", MODEL, "--traffic", traffic, "--json")
        done = desk.verify("--billed", len(padded), *source)
        assert (done.code, verdict(done)[0]) == (1, "DISAGREES")


def test_the_exchange_has_to_be_found_among_several(tmp_path: Path) -> None:
    line, token_ids = _recording()
    other = json.dumps(json.loads(line) | {"request_id": "r-0"})
    done = replayed(tmp_path / "r-1", token_ids, f"{line}\n{other}")
    assert done.code == 64
    assert "holds 0 exchanges with the request_id 'r-1'" in done.stderr
    named = json.dumps(json.loads(line) | {"request_id": "r-1"})
    assert replayed(tmp_path / "r-2", token_ids, f"{other}\n{named}").code == 0
