"""Summaries of a window for policy engines: in-toto SVR v0.2 and SLSA VSA v1 statements.

Both are derived: they repeat what the verdicts say and add nothing. They are monotonic: a consumer
asks for PASSED, or for a property, and finds it only where at least one verdict PASSED and nothing
is FAILED, missing, gone, damaged, discounted or out of sequence. Their subject is the report's
manifest, never a model's weights, since in-toto matches subjects by digest alone.
"""

import re
from collections.abc import Sequence
from typing import Literal

import rfc8785

from audit.errors import InvalidRequest
from audit.ledger.envelope import sign_payload
from audit.ledger.keys import SigningKey
from audit.reports.groups import Tally, tally
from audit.reports.oscal_parts import entry_uri
from audit.reports.records import Lines, Report, VerdictLine

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
SVR_TYPE = "https://in-toto.io/attestation/svr/v0.2"
VSA_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER_URI = "https://inference-audit.dev/verifier"

#: Verdicts named as inputs; the manifest, which is named first, stands for all of them.
MAX_INPUTS = 64

#: SHA-256 of an envelope's DSSE pre-authentication encoding, which is what the log's leaf names.
#: Not `sha256`, which would stand for the bytes of the envelope's file.
ENTRY_DIGEST = "dssePaeSha256"

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_PREFIX = "INFERENCE_AUDIT_"

VerificationResult = Literal["PASSED", "FAILED"]
DigestSet = dict[str, str]
Descriptor = dict[str, "str | DigestSet"]
Members = dict[str, object]


def verification_result(report: Report, counts: Tally) -> VerificationResult:
    """Return PASSED where at least one verdict did and nothing speaks against the window."""
    return "PASSED" if _has_no_failure(counts) and report.is_complete else "FAILED"


def svr_statement(report: Report, lines: Lines, *, manifest_digest: str, version: str) -> bytes:
    """Return the canonical bytes of the Simple Verification Result, to be signed.

    `manifest_digest` is `sha256:<hex>` of the report's manifest. Raises: InvalidRequest otherwise.
    """
    counts = tally(lines())
    predicate: Members = {
        "verifier": {"id": f"{VERIFIER_URI}/{version}", "policies": _policies(report)},
        "timeCreated": report.as_of,
        "properties": _properties(report, counts),
    }
    return _statement(manifest_digest, SVR_TYPE, predicate)


def vsa_statement(report: Report, lines: Lines, *, manifest_digest: str, version: str) -> bytes:
    """Return the canonical bytes of the Verification Summary Attestation, to be signed.

    `manifest_digest` is `sha256:<hex>` of the report's manifest. Raises: InvalidRequest otherwise.
    """
    counts = tally(lines())
    result = verification_result(report, counts)
    predicate: Members = {
        "verifier": {"id": VERIFIER_URI, "version": {"inference-audit": version}},
        "timeVerified": report.as_of,
        "resourceUri": f"urn:uuid:{report.report_id}",
        "policy": _first_policy(report),
        "inputAttestations": [
            {"uri": f"urn:uuid:{report.report_id}", "digest": _digest(manifest_digest)},
            *_inputs(report, lines),
        ],
        "verificationResult": result,
        "verifiedLevels": _properties(report, counts) if result == "PASSED" else ["FAILED"],
        "slsaVersion": "1.0",
    }
    return _statement(manifest_digest, VSA_TYPE, predicate)


def sign_summary(statement: bytes, key: SigningKey) -> bytes:
    """Return the DSSE envelope of a statement that `svr_statement` or `vsa_statement` made."""
    return sign_payload(statement, key)


def _statement(manifest_digest: str, predicate_type: str, predicate: Members) -> bytes:
    return rfc8785.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "report-manifest", "digest": _digest(manifest_digest)}],
            "predicateType": predicate_type,
            "predicate": predicate,  # type: ignore[dict-item]
        }
    )


def _has_no_failure(counts: Tally) -> bool:
    return counts.num_passed > 0 and not counts.num_failed and not counts.is_provider_failed


def _properties(report: Report, counts: Tally) -> list[str]:
    """Return the properties that hold; each is empty praise without a PASSED verdict."""
    if not counts.num_passed:
        return []
    holds = (
        ("NO_FAILED_VERDICT", not counts.num_failed),
        ("NO_FAILED_PROVIDER", not counts.is_provider_failed),
        ("NO_MISSING_VERDICT", not report.missing.total),
        ("RECORD_COMPLETE", report.is_complete),
        ("LOG_WITNESSED", report.log.is_quorum_met),
        ("WINDOW_PASSED", verification_result(report, counts) == "PASSED"),
    )
    return [_PREFIX + name for name, is_so in holds if is_so]


def _policies(report: Report) -> list[Descriptor]:
    policies: list[Descriptor] = []
    for use in report.policies.items:
        descriptor: Descriptor = {"name": use.source_id}
        if use.log_index is not None:
            descriptor["uri"] = entry_uri(report.log.origin, use.log_index)
        if use.digest is not None and _SHA256.fullmatch(use.digest):
            descriptor["digest"] = _digest(use.digest)
        policies.append(descriptor)
    return policies


def _first_policy(report: Report) -> Descriptor:
    """Return the policy of most verdicts: the format has room for one only."""
    uses = [use for use in report.policies.items if use.num_verdicts]
    if not uses:
        return {"uri": f"{VERIFIER_URI}/no-policy"}
    use = max(uses, key=lambda use: (use.num_verdicts, use.source_id))
    policy: Descriptor = {
        "uri": f"{VERIFIER_URI}/policy-not-logged"
        if use.log_index is None
        else entry_uri(report.log.origin, use.log_index)
    }
    if use.digest is not None and _SHA256.fullmatch(use.digest):
        policy["digest"] = _digest(use.digest)
    return policy


def _inputs(report: Report, lines: Lines) -> Sequence[Descriptor]:
    """Return the first verdicts, unfavourable ones before favourable ones."""
    against: list[VerdictLine] = []
    others: list[VerdictLine] = []
    for line in lines():
        kept = against if line.verdict == "FAILED" else others
        if len(kept) < MAX_INPUTS:
            kept.append(line)
    return [
        {
            "uri": entry_uri(report.log.origin, line.log_index),
            "digest": {ENTRY_DIGEST: line.entry_digest.removeprefix("sha256:")},
        }
        for line in (*against, *others)[:MAX_INPUTS]
    ]


def _digest(text: str) -> DigestSet:
    stated = _SHA256.fullmatch(text)
    if stated is None:
        raise InvalidRequest.of("digest", "must be sha256: and 64 lower-case hex digits")
    return {"sha256": stated.group(1)}
