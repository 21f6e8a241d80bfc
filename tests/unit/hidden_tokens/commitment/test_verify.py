"""The auditor's checks, by real signatures and by the example model on real recordings."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from audit.billing_records import Refusal, Tier, Violation
from audit.hidden_tokens.commitment.challenge import (
    Challenge,
    OpeningRules,
    derive_challenge,
    detection_probability,
)
from audit.hidden_tokens.commitment.prover import SignedCount
from audit.hidden_tokens.commitment.tree import RunOpening
from audit.hidden_tokens.commitment.verify import (
    CommitmentCheck,
    ReplayTerms,
    check_openings,
    check_replay,
    check_statement,
    p256_signer,
)
from audit.ledger.keys import SigningKey
from reference_runner.errors import UnsupportedProfile
from reference_runner.records import Sampling
from tests.support.example_model import TRAFFIC, example_reference
from tests.unit.hidden_tokens.commitment.builders import (
    NONCE,
    a_billed,
    a_commitment,
    provider_key,
)

IS_PROVIDERS = p256_signer(provider_key().public_key_pem)
TOKENS = tuple(index * 7 % 1000 for index in range(500))
RULES = OpeningRules(num_leaves=44, num_blocks=2, block_tokens=64)

Recording = tuple[tuple[int, ...], ReplayTerms]


def _open(
    token_ids: tuple[int, ...], *, nonce: bytes = NONCE, claimed: int | None = None
) -> CommitmentCheck:
    """Commit, be challenged and open; `claimed` is signed in place of the tree's own size."""
    commitment = a_commitment(token_ids)
    num_tokens = len(token_ids) if claimed is None else claimed
    signed = replace(
        commitment.signed, statement=replace(commitment.signed.statement, num_tokens=num_tokens)
    )
    challenge = derive_challenge(
        root=signed.statement.root, num_tokens=num_tokens, nonce=nonce, rules=RULES
    )
    held = replace(challenge, runs=tuple(r for r in challenge.runs if r[1] <= len(token_ids)))
    return check_openings(signed, challenge, commitment.answer(held))


def _one(check: CommitmentCheck) -> Violation:
    (violation,) = check.violations
    assert (check.checked, check.unchecked, violation.tier) == ((), (), Tier.COMMITMENT)
    return violation


def _refused(check: CommitmentCheck, reason: Refusal) -> str:
    (unchecked,) = check.unchecked
    assert (check.checked, check.violations) == ((), ())
    assert (unchecked.reason, unchecked.tier) == (reason, Tier.COMMITMENT)
    return unchecked.detail


def test_an_honest_commitment_passes() -> None:
    signed = a_commitment(TOKENS).signed
    assert check_statement(a_billed(500), signed, IS_PROVIDERS).checked == ("commitment_count",)
    assert _open(TOKENS).checked == ("commitment_opening",)


def test_no_hidden_tokens_are_a_commitment_too() -> None:
    signed = a_commitment(()).signed
    assert check_statement(a_billed(0), signed, IS_PROVIDERS).checked == ("commitment_count",)
    assert _open(()) == CommitmentCheck()


def test_a_bill_beyond_the_committed_count_is_a_violation() -> None:
    violation = _one(check_statement(a_billed(505), a_commitment(TOKENS).signed, IS_PROVIDERS))
    assert (violation.identity, violation.excess_tokens) == ("commitment_count", 5)
    assert "505 reasoning tokens were billed" in violation.statement


@pytest.mark.parametrize("field", ["num_tokens", "root", "model"])
def test_a_statement_that_was_changed_is_not_the_providers(field: str) -> None:
    signed = a_commitment(TOKENS).signed
    changes: dict[str, object] = {"num_tokens": 505, "root": bytes(32), "model": "other"}
    changed = replace(
        signed,
        statement=replace(signed.statement, **{field: changes[field]}),  # type: ignore[arg-type]
    )
    detail = _refused(
        check_statement(a_billed(505), changed, IS_PROVIDERS), Refusal.UNREADABLE_EVIDENCE
    )
    assert detail == "the provider's key did not sign the commitment"


def test_another_key_and_a_broken_signature_are_not_the_providers() -> None:
    other = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    signed = a_commitment(TOKENS).signed
    for check in (
        check_statement(a_billed(500), signed, p256_signer(other.public_key_pem)),
        check_statement(a_billed(500), replace(signed, signature=b"no DER"), IS_PROVIDERS),
    ):
        assert "did not sign" in _refused(check, Refusal.UNREADABLE_EVIDENCE)


def test_a_commitment_to_another_request_says_nothing() -> None:
    check = check_statement(
        a_billed(500, request_id="r-2"), a_commitment(TOKENS).signed, IS_PROVIDERS
    )
    assert "about another request" in _refused(check, Refusal.UNREADABLE_EVIDENCE)


def test_without_a_billed_count_there_is_nothing_to_check() -> None:
    check = check_statement(a_billed(None), a_commitment(TOKENS).signed, IS_PROVIDERS)
    assert _refused(check, Refusal.NO_COUNT) == "no reasoning count was billed"


@pytest.mark.parametrize("claimed", [501, 510, 512, 525, 625, 750])
def test_a_count_above_the_trees_own_is_always_found(claimed: int) -> None:
    violation = _one(_open(TOKENS, claimed=claimed))
    assert violation.identity == "commitment_opening"


def test_leaves_that_cannot_be_shown_are_found_as_often_as_stated() -> None:
    """A tenth of the tokens was never drawn: the provider has hashes for them, but no tokens."""
    commitment = a_commitment(TOKENS)
    rules, num_trials, found = OpeningRules(num_leaves=20, num_blocks=0), 200, 0
    for number in range(num_trials):
        challenge = derive_challenge(
            root=commitment.signed.statement.root,
            num_tokens=500,
            nonce=number.to_bytes(16, "big"),
            rules=rules,
        )
        shown = [run for run in commitment.answer(challenge) if not 100 <= run.start < 150]
        found += bool(check_openings(commitment.signed, challenge, shown).violations)
    stated = detection_probability(0.1, 20)
    assert found / num_trials >= stated - 3 * (stated * (1 - stated) / num_trials) ** 0.5


def _with(opening: RunOpening, **parts: object) -> RunOpening:
    token = replace(opening.tokens[0], **parts)  # type: ignore[arg-type]
    return replace(opening, tokens=(token, *opening.tokens[1:]))


@pytest.mark.parametrize(
    "parts, says",
    [
        ({"token_id": 1234}, "leads to another"),
        ({"token_id": -1}, "token_id: must lie between"),
        ({"salt": b"short"}, "salt: must have 16 bytes"),
    ],
)
def test_forged_openings_are_violations(parts: dict[str, object], says: str) -> None:
    commitment = a_commitment(TOKENS)
    statement = commitment.signed.statement
    challenge = derive_challenge(root=statement.root, num_tokens=500, nonce=NONCE, rules=RULES)
    first, *others = commitment.answer(challenge)
    violation = _one(check_openings(commitment.signed, challenge, [_with(first, **parts), *others]))
    assert violation.identity == "commitment_opening"
    assert says in violation.statement


def test_a_run_that_was_not_opened_is_a_violation() -> None:
    commitment = a_commitment(TOKENS)
    statement = commitment.signed.statement
    challenge = derive_challenge(root=statement.root, num_tokens=500, nonce=NONCE, rules=RULES)
    violation = _one(check_openings(commitment.signed, challenge, ()))
    assert "were not opened" in violation.statement


@cache
def _recordings() -> tuple[Recording, ...]:
    """Return sampled answers of a real vLLM in float32; the first 256 tokens play the hidden part.

    Greedy answers of a small model run in circles, so that repeating them is what it would do.
    """
    found: list[Recording] = []
    for line in (TRAFFIC / "honest-vllm-fp32.jsonl").read_text(encoding="utf-8").splitlines():
        exchange = json.loads(line)
        asked, choice = exchange["request"], exchange["response"]["choices"][0]
        if "prompt" not in asked or asked["temperature"] < 0.7 or len(choice["token_ids"]) < 200:
            continue
        terms = ReplayTerms(
            prompt_token_ids=_prompt(asked["prompt"]),
            sampling=Sampling(
                temperature=asked["temperature"],
                top_k=max(asked["top_k"], 0),
                top_p=asked["top_p"],
                seed=asked["seed"],
            ),
            profile_id="vllm-cpu-splitmix64",
        )
        found.append((tuple(choice["token_ids"][:256]), terms))
    return tuple(found[:8])


def _prompt(prompt: str | list[int]) -> tuple[int, ...]:
    return example_reference().tokenize_text(prompt) if isinstance(prompt, str) else tuple(prompt)


def _whole(token_ids: tuple[int, ...]) -> tuple[RunOpening, ...]:
    everything = OpeningRules(num_leaves=1, num_blocks=100_000)
    commitment = a_commitment(token_ids)
    challenge = derive_challenge(
        root=commitment.signed.statement.root,
        num_tokens=len(token_ids),
        nonce=NONCE,
        rules=everything,
    )
    openings = commitment.answer(challenge)
    assert not check_openings(commitment.signed, challenge, openings).violations
    return openings


def test_what_a_real_engine_drew_passes_the_replay() -> None:
    assert len(_recordings()) == 8
    for token_ids, terms in _recordings():
        check = check_replay(_whole(token_ids), terms, example_reference())
        assert check.checked == ("commitment_replay",)


@pytest.mark.parametrize("filler", ["random", "repeated"])
def test_padding_a_real_chain_by_a_twentieth_is_found(filler: str) -> None:
    vocab_size = example_reference().info.vocab_size
    for number, (token_ids, terms) in enumerate(_recordings()):
        dice = np.random.default_rng(number)
        num_more, at = len(token_ids) // 20, int(dice.integers(40, 150))
        padding = (
            tuple(int(token) for token in dice.integers(0, vocab_size, num_more))
            if filler == "random"
            else token_ids[at - num_more : at]
        )
        padded = token_ids[:at] + padding + token_ids[at:]
        violation = _one(check_replay(_whole(padded), terms, example_reference()))
        assert violation.identity == "commitment_replay"
        assert "would not have been drawn by the reference" in violation.statement


def test_without_the_first_tokens_there_is_nothing_to_replay() -> None:
    token_ids, terms = _recordings()[0]
    commitment = a_commitment(token_ids)
    check = check_replay(
        commitment.answer(Challenge(runs=((64, 128), (5, 6)))), terms, example_reference()
    )
    assert "no opened run begins at the first" in _refused(check, Refusal.NO_EVIDENCE)


def test_a_token_outside_the_vocabulary_is_a_violation() -> None:
    token_ids, terms = _recordings()[0]
    strange = (*token_ids[:9], example_reference().info.vocab_size)
    violation = _one(check_replay(_whole(strange), terms, example_reference()))
    assert "an opened token is none of the model's" in violation.statement


def test_a_chain_beyond_the_references_context_is_not_judged() -> None:
    _, terms = _recordings()[0]
    endless = (1,) * (example_reference().info.max_positions + 1)
    check = check_replay(_whole(endless), terms, example_reference())
    assert "cannot be replayed" in _refused(check, Refusal.UNREADABLE_EVIDENCE)


def test_an_unknown_sampler_is_named() -> None:
    token_ids, terms = _recordings()[0]
    with pytest.raises(UnsupportedProfile, match="no sampler profile is called 'dice'"):
        check_replay(_whole(token_ids), replace(terms, profile_id="dice"), example_reference())


def test_the_statement_names_its_type_and_binds_the_count() -> None:
    signed: SignedCount = a_commitment(TOKENS).signed
    text = signed.statement.to_bytes().decode("ascii")
    assert '"type":"hidden-token-commitment/1"' in text
    assert '"numTokens":500' in text
