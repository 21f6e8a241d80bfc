"""The statement says what was judged, names the exchange by digest, and shows no content."""

import json
from dataclasses import replace

import pytest
import rfc8785

from audit.errors import InvalidRequest
from audit.findings import (
    AttackPower,
    Disposition,
    Explanation,
    NoiseEstimate,
    ProviderFinding,
)
from audit.ledger.statement import JsonMembers, build_statement
from audit.log_records import Receipt
from audit.records import Claim, Job, Outcome, ProviderClaims, Reason, Timing, Verdict
from tests.golden.ledger.examples import (
    ARTIFACT,
    CHAIN,
    INTENT,
    SECRET_ANSWER,
    SECRET_PROMPT,
    VERIFIED_AT,
    VERSION,
    example_job,
    failed,
    inconclusive,
    passed,
)


def _statement(verdict: Verdict, claim: Claim | None = None) -> JsonMembers:
    job = example_job()
    if claim is not None:
        job = replace(job, request=replace(job.request, claim=claim))
    return _built(job, verdict)


def _built(job: Job, verdict: Verdict, intent: Receipt | None = INTENT) -> JsonMembers:
    return build_statement(
        job,
        verdict,
        verified_at=VERIFIED_AT,
        verifier_version=VERSION,
        chain=CHAIN,
        intent=intent,
        evidence=(ARTIFACT,),
    )


def _predicate(verdict: Verdict, claim: Claim | None = None) -> JsonMembers:
    predicate = _statement(verdict, claim)["predicate"]
    assert isinstance(predicate, dict)
    return predicate


def test_the_statement_is_in_toto_v1_about_the_exchange() -> None:
    statement = _statement(passed())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://inference-audit.dev/inference-verdict/v0.1"
    assert statement["subject"] == [{"name": "exchange", "digest": {"sha256": "22" * 32}}]


@pytest.mark.parametrize(
    ("verdict", "word", "reasons"),
    [
        (passed(), "PASSED", []),
        (failed(), "FAILED", ["TOKEN_DIVERGENCE"]),
        (inconclusive(), "INCONCLUSIVE", ["UNCALIBRATED"]),
    ],
)
def test_each_outcome_has_its_word_and_reasons(
    verdict: Verdict, word: str, reasons: list[str]
) -> None:
    predicate = _predicate(verdict)
    assert (predicate["verdict"], predicate["reasons"]) == (word, reasons)


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_pass_reads_as_passed(outcome: Outcome) -> None:
    text = json.dumps(_statement(Verdict(outcome=outcome)))
    assert ("PASSED" in text) == (outcome is Outcome.PASS)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_an_upper_snake_word(reason: Reason) -> None:
    reasons = _predicate(Verdict(outcome=Outcome.INCONCLUSIVE, reasons=(reason,)))["reasons"]
    assert reasons == [reason.value.upper()]


def test_the_predicate_shows_all_that_was_measured() -> None:
    predicate = _predicate(passed())
    assert predicate["statistics"] == [
        {
            "name": "mismatch_share",
            "value": 0.0078125,
            "threshold": 0.03125,
            "comparison": "LE",
            "n": 128,
            "unit": "share",
            "falsePositiveRate": 0.01,
        }
    ]
    assert predicate["claim"] == {
        "model": {"name": "example-org/tiny", "digest": {"sha256": "11" * 32}},
        "precision": "bfloat16",
        "samplerProfile": "vllm-gumbel-v1",
        "provider": {"name": "example", "uri": "https://api.example.org/v1"},
    }
    assert predicate["reference"] == {
        "model": {"digest": {"sha256": "11" * 32}},
        "precision": "bfloat16",
        "samplerProfile": "vllm-gumbel-v1",
    }
    assert predicate["calibration"] == {"id": "tiny-bf16-2026-01"}
    assert predicate["method"] == {"name": "token-divergence", "version": "0.2"}
    assert predicate["verifier"] == {"id": "inference-audit", "version": VERSION}
    assert predicate["verifiedAt"] == VERIFIED_AT
    assert (predicate["auditId"], predicate["requestId"]) == ("audit-1", "request-1")
    assert (predicate["numTokens"], predicate["numMatches"]) == (128, 127)


def found() -> Verdict:
    """Return a FAIL with every finding that a verdict can carry."""
    noise = NoiseEstimate(estimate_logits=0.5, low_logits=0.25, high_logits=None, confidence=0.95)
    attack = AttackPower(attack="int4", label="4-bit weights", power=0.75, num_tokens_needed=400)
    cause = Explanation(
        name="temperature",
        statement="sampled at temperature 1.2",
        disposition=Disposition.POLICY_DIFFERENT,
        probability=0.875,
        log_likelihood_nats=-12.5,
        estimate=1.25,
        first_token=64,
    )
    finding = ProviderFinding(
        stream_id="sha256:" + "33" * 32,
        outcome="FAIL",
        statement="this provider deviates",
        num_exchanges=7,
        num_tokens=896,
        log10_e_value=4.5,
        log10_threshold=3.0,
        failed_at_exchange=6,
        substituted_share_low=0.125,
        num_tells=3,
        sticky_log10_e_value=-0.5,
        noise=replace(noise, high_logits=1.0),
    )
    sensitivity = passed().sensitivity
    assert sensitivity is not None
    return replace(
        failed(),
        policy_id="policy-1",
        log10_e_value=3.5,
        noise=noise,
        diagnosis=(cause,),
        provider=finding,
        sensitivity=replace(sensitivity, attacks=(attack,)),
    )


def test_the_predicate_shows_all_that_was_found() -> None:
    predicate = _predicate(found())
    assert (predicate["policy"], predicate["log10EValue"]) == ({"id": "policy-1"}, 3.5)
    noise = {"estimateLogits": 0.5, "lowLogits": 0.25, "confidence": 0.95}
    assert predicate["noise"] == noise
    assert predicate["diagnosis"] == [
        {
            "name": "temperature",
            "statement": "sampled at temperature 1.2",
            "disposition": "POLICY_DIFFERENT",
            "probability": 0.875,
            "logLikelihoodNats": -12.5,
            "estimate": 1.25,
            "firstToken": 64,
        }
    ]
    assert predicate["provider"] == {
        "streamId": "sha256:" + "33" * 32,
        "verdict": "FAILED",
        "statement": "this provider deviates",
        "numExchanges": 7,
        "numTokens": 896,
        "log10EValue": 4.5,
        "log10Threshold": 3.0,
        "failedAtExchange": 6,
        "substitutedShareLow": 0.125,
        "numTells": 3,
        "stickyLog10EValue": -0.5,
        "noise": noise | {"highLogits": 1.0},
    }
    sensitivity = predicate["sensitivity"]
    assert isinstance(sensitivity, dict)
    assert sensitivity["attacks"] == [
        {"attack": "int4", "label": "4-bit weights", "power": 0.75, "numTokensNeeded": 400}
    ]


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_passed_provider_reads_as_passed(outcome: Outcome) -> None:
    finding = found().provider
    assert finding is not None
    verdict = replace(found(), provider=replace(finding, outcome=outcome.value))
    assert ("PASSED" in json.dumps(_statement(verdict))) == (outcome is Outcome.PASS)


def test_what_is_not_stated_is_left_out() -> None:
    predicate = _predicate(inconclusive(), Claim())
    provider = {"name": "example", "uri": "https://api.example.org/v1"}
    assert predicate["claim"] == {"provider": provider}
    for name in ("sensitivity", "calibration", "reference", "runner", "meanClippedMarginLogits"):
        assert name not in predicate
    for name in ("policy", "log10EValue", "noise", "diagnosis", "provider"):
        assert name not in predicate
    assert "null" not in json.dumps(predicate)


def test_no_prompt_and_no_output_is_in_the_statement() -> None:
    text = json.dumps([_statement(verdict) for verdict in (passed(), failed(), inconclusive())])
    for secret in (SECRET_PROMPT, SECRET_ANSWER, "987654", "987655", str(2**63 - 1)):
        assert secret not in text


def test_every_name_is_lower_camel_case() -> None:
    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(names(item) for item in value.values()))
        return set().union(*(names(item) for item in value)) if isinstance(value, list) else set()

    used = names(_predicate(passed())) | names(_predicate(found()))
    assert "substitutedShareLow" in used
    assert all(name.isalnum() and name[0].islower() for name in used)


def test_integers_beyond_a_double_become_strings() -> None:
    predicate = _predicate(replace(passed(), num_tokens=2**53, num_matches=2**53 - 1))
    assert (predicate["numTokens"], predicate["numMatches"]) == ("9007199254740992", 2**53 - 1)
    assert rfc8785.dumps(predicate)


def test_a_claimed_digest_of_unknown_form_is_repeated_as_stated() -> None:
    predicate = _predicate(passed(), Claim(weights_digest="crc32:1234"))
    claim = predicate["claim"]
    assert isinstance(claim, dict)
    assert claim["model"] == {"statedDigest": "crc32:1234"}


def test_the_predicate_names_intent_evidence_and_its_place_in_the_chain() -> None:
    predicate = _predicate(passed())
    assert predicate["intent"] == {"logIndex": 40, "digest": {"sha256": "33" * 32}}
    assert predicate["chain"] == {
        "tenant": "default",
        "sequence": 3,
        "previous": {"sha256": "44" * 32},
    }
    assert predicate["evidence"] == [
        {"name": "tokens", "digest": {"sha256": "55" * 32}, "mediaType": ARTIFACT.media_type}
    ]
    assert predicate["exchangeObservedAt"] == "2026-01-02T03:00:00Z"


def test_a_verdict_without_intent_timing_or_provider_leaves_them_out() -> None:
    job = example_job()
    exchange = replace(job.request.exchange, timing=Timing(), provider=ProviderClaims())
    bare = replace(job, request=replace(job.request, exchange=exchange))
    predicate = _built(bare, passed(), intent=None)["predicate"]
    assert isinstance(predicate, dict)
    assert {"intent", "exchangeObservedAt"}.isdisjoint(predicate)
    assert "provider" not in predicate["claim"]


@pytest.mark.parametrize("digest", ["", "22" * 32, "sha256:22", "sha256:" + "ZZ" * 32])
def test_an_exchange_without_a_proper_digest_is_refused(digest: str) -> None:
    job = replace(example_job(), request_digest=digest)
    with pytest.raises(InvalidRequest, match="request_digest"):
        _built(job, passed())
