"""SVR and VSA: derived, monotonic, and readable by in-toto's own classes."""

import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.json_format import ParseDict

from audit.errors import InvalidRequest
from audit.ledger.envelope import sign_payload
from audit.ledger.keys import SigningKey
from audit.reports import summaries
from audit.reports.groups import tally
from audit.reports.records import Listing, Report, SourceUse
from tests.unit.reports.sample_report import (
    Sample,
    make_clean_sample,
    make_empty_sample,
    make_sample,
)
from tests.unit.reports.sample_verdicts import digest

MANIFEST = digest("manifest")


def vsa_bytes(sample: Sample) -> bytes:
    return summaries.vsa_statement(
        sample.report, sample.lines, manifest_digest=MANIFEST, version="0.4.0"
    )


def svr_bytes(sample: Sample) -> bytes:
    return summaries.svr_statement(
        sample.report, sample.lines, manifest_digest=MANIFEST, version="0.4.0"
    )


def vsa(sample: Sample) -> Any:
    return json.loads(vsa_bytes(sample))["predicate"]


def svr(sample: Sample) -> Any:
    return json.loads(svr_bytes(sample))["predicate"]


def with_report(sample: Sample, report: Report) -> Sample:
    return replace(sample, report=report)


def one_more(listing: Listing[Any]) -> Listing[Any]:
    return Listing(total=listing.total + 1, items=listing.items)


def spoilt() -> list[tuple[str, Sample]]:
    """Return windows that differ from a clean one in a single unwelcome fact."""
    clean = make_clean_sample()
    report, first, rest = clean.report, clean.verdicts[0], clean.verdicts[1:]
    return [
        ("failed", Sample(report, (replace(first, verdict="FAILED"), *rest))),
        ("provider failed", Sample(report, (replace(first, stream_verdict="FAILED"), *rest))),
        ("missing", with_report(clean, replace(report, missing=one_more(report.missing)))),
        ("gone", with_report(clean, replace(report, gone=one_more(report.gone)))),
        ("damaged", with_report(clean, replace(report, damaged=one_more(report.damaged)))),
        (
            "discounted",
            with_report(clean, replace(report, discounted=one_more(report.discounted))),
        ),
        ("gap", with_report(clean, replace(report, gaps=one_more(report.gaps)))),
        (
            "nothing passed",
            Sample(report, tuple(replace(line, verdict="INCONCLUSIVE") for line in clean.verdicts)),
        ),
        ("no verdicts", Sample(report, ())),
    ]


def test_a_clean_window_passed() -> None:
    clean = make_clean_sample()
    assert vsa(clean)["verificationResult"] == "PASSED"
    assert "INFERENCE_AUDIT_WINDOW_PASSED" in svr(clean)["properties"]
    assert vsa(clean)["verifiedLevels"] == svr(clean)["properties"]


@pytest.mark.parametrize("sample", [case for _, case in spoilt()], ids=[n for n, _ in spoilt()])
def test_one_unwelcome_fact_turns_passed_into_failed(sample: Sample) -> None:
    assert vsa(sample)["verificationResult"] == "FAILED"
    assert vsa(sample)["verifiedLevels"] == ["FAILED"]
    assert "INFERENCE_AUDIT_WINDOW_PASSED" not in svr(sample)["properties"]
    assert summaries.verification_result(sample.report, tally(sample.lines())) == "FAILED"


def test_an_inconclusive_verdict_or_an_erasure_does_not_fail_a_window() -> None:
    clean = make_clean_sample()
    assert clean.report.erased.total
    lines = (*clean.verdicts[:-1], replace(clean.verdicts[-1], verdict="INCONCLUSIVE"))
    assert vsa(Sample(clean.report, lines))["verificationResult"] == "PASSED"


def test_without_a_passed_verdict_no_property_holds() -> None:
    assert svr(make_empty_sample())["properties"] == []


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        ("failed", "INFERENCE_AUDIT_NO_FAILED_VERDICT"),
        ("provider failed", "INFERENCE_AUDIT_NO_FAILED_PROVIDER"),
        ("missing", "INFERENCE_AUDIT_NO_MISSING_VERDICT"),
        ("damaged", "INFERENCE_AUDIT_RECORD_COMPLETE"),
        ("discounted", "INFERENCE_AUDIT_RECORD_COMPLETE"),
    ],
)
def test_each_fact_takes_its_own_property(case: str, lost: str) -> None:
    sample = dict(spoilt())[case]
    assert lost in svr(make_clean_sample())["properties"]
    assert lost not in svr(sample)["properties"]


def test_a_log_without_its_quorum_is_not_witnessed() -> None:
    clean = make_clean_sample()
    log = replace(clean.report.log, is_quorum_met=False)
    found = svr(with_report(clean, replace(clean.report, log=log)))["properties"]
    assert "INFERENCE_AUDIT_LOG_WITNESSED" not in found


@pytest.mark.parametrize(
    ("made", "predicate_type"),
    [
        (vsa_bytes, "https://slsa.dev/verification_summary/v1"),
        (svr_bytes, "https://in-toto.io/attestation/svr/v0.2"),
    ],
)
def test_in_totos_own_classes_read_the_statement(made: Any, predicate_type: str) -> None:
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    statement = pytest.importorskip("in_toto_attestation.v1.statement")
    content = made(make_sample())
    assert rfc8785.dumps(json.loads(content)) == content
    message = ParseDict(json.loads(content), statement_pb2.Statement())
    statement.Statement.copy_from_pb(message).validate()
    assert message.predicate_type == predicate_type
    assert message.subject[0].digest["sha256"] == MANIFEST.removeprefix("sha256:")


def test_in_totos_own_message_reads_the_vsa() -> None:
    vsa_pb2 = pytest.importorskip("in_toto_attestation.predicates.vsa.v1.vsa_pb2")
    predicate = vsa(make_clean_sample())
    # the message lacks the verifier's version and has one level only; the specification has more
    del predicate["verifier"]["version"]
    assert isinstance(predicate.pop("verifiedLevels"), list)
    message = ParseDict(predicate, vsa_pb2.VerificationSummary())
    assert message.verification_result == "PASSED"
    assert message.input_attestations[0].digest["sha256"] == MANIFEST.removeprefix("sha256:")


def test_the_svr_names_its_policies() -> None:
    assert set(svr(make_sample())) == {"verifier", "timeCreated", "properties"}
    resource = pytest.importorskip("in_toto_attestation.v1.resource_descriptor_pb2")
    policies = svr(make_sample())["verifier"]["policies"]
    assert policies
    for policy in policies:
        ParseDict(policy, resource.ResourceDescriptor())
    none: Listing[SourceUse] = Listing(total=0, items=())
    empty = make_empty_sample()
    assert (
        svr(with_report(empty, replace(empty.report, policies=none)))["verifier"]["policies"] == []
    )


def test_a_policy_that_is_not_in_the_log_has_no_digest() -> None:
    sample = make_sample()
    use = replace(sample.report.policies.items[0], log_index=None, digest=None)
    report = replace(sample.report, policies=Listing(total=1, items=(use,)))
    assert vsa(with_report(sample, report))["policy"] == {
        "uri": "https://inference-audit.dev/verifier/policy-not-logged"
    }
    none = replace(sample.report, policies=Listing(total=0, items=()))
    assert vsa(with_report(sample, none))["policy"]["uri"].endswith("/no-policy")


def test_inputs_are_bounded_and_failed_verdicts_come_first() -> None:
    sample = make_sample()
    inputs = vsa(sample)["inputAttestations"]
    assert inputs[0]["digest"] == {"sha256": MANIFEST.removeprefix("sha256:")}
    assert len(inputs) == 1 + summaries.MAX_INPUTS
    failed = [line for line in sample.verdicts if line.verdict == "FAILED"]
    digests = [item["digest"][summaries.ENTRY_DIGEST] for item in inputs[1:]]
    wanted = [line.entry_digest.removeprefix("sha256:") for line in failed]
    assert digests[: len(wanted)] == wanted


@pytest.mark.parametrize("bad", ["", "sha256:AB", "md5:00", digest("x") + "\n"])
def test_a_malformed_manifest_digest_is_refused(bad: str) -> None:
    sample = make_clean_sample()
    with pytest.raises(InvalidRequest, match="must be sha256: and 64 lower-case hex digits"):
        summaries.vsa_statement(sample.report, sample.lines, manifest_digest=bad, version="1")


def test_a_summary_is_signed_like_every_statement() -> None:
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    content = vsa_bytes(make_clean_sample())
    assert summaries.sign_summary(content, key) == sign_payload(content, key)
    assert json.loads(summaries.sign_summary(content, key))["signatures"][0]["keyid"] == key.key_id
