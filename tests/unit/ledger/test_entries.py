"""Each kind of entry has its predicate type, its subject and its place in the chain."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
import rfc8785

from audit.errors import ConfigurationError, InvalidRequest
from audit.ledger import entries
from audit.ledger.entries import KeyAction, KeyEvent
from audit.ledger.seal import seal
from audit.ledger.statement import JsonMembers
from audit.ledger.verify import verify_envelope
from audit.log_records import ChainLink, EntryKind, Erasure
from tests.golden.ledger.examples import (
    CHAIN,
    KEY,
    OTHER_KEY,
    SECRET_ANSWER,
    SECRET_PROMPT,
    VERIFIED_AT,
    VERSION,
    example_job,
)

MADE: Any = {"logged_at": VERIFIED_AT, "verifier_version": VERSION, "chain": CHAIN}
REVOKED = KeyEvent(
    action=KeyAction.REVOKED,
    key_id=KEY.key_id,
    public_key_pem=KEY.public_key_pem,
    below_index=7,
    compromised_at="2026-01-02T03:04:05Z",
    reason="stolen",
)


def _intent(chain: ChainLink = CHAIN) -> JsonMembers:
    return entries.intent_statement(
        example_job(),
        policy_id="policy-1",
        calibration_id=None,
        announced_at=VERIFIED_AT,
        verifier_version=VERSION,
        chain=chain,
    )


ALL: dict[str, tuple[JsonMembers, str, str]] = {
    "audit-intent": (_intent(), "exchange", "22" * 32),
    "audit-policy": (
        entries.policy_statement("policy-1", b"a = 1\n", **MADE),
        "policy",
        hashlib.sha256(b"a = 1\n").hexdigest(),
    ),
    "audit-calibration": (
        entries.calibration_statement("cal-1", b"\xff\x00", **MADE),
        "calibration",
        hashlib.sha256(b"\xff\x00").hexdigest(),
    ),
    "key-event": (entries.key_event_statement(REVOKED, **MADE), "key", KEY.key_id),
    "sweep-commitment": (
        entries.sweep_commitment_statement("sweep-1", "sha256:" + "66" * 32, **MADE),
        "commitment",
        "66" * 32,
    ),
    "audit-report": (
        entries.report_statement(b"{}", **MADE),
        "manifest",
        hashlib.sha256(b"{}").hexdigest(),
    ),
    "erasure": (
        entries.erasure_statement(
            Erasure(tenant="t", before=VERIFIED_AT, below_index=9), num_entries=4, **MADE
        ),
        "erasure",
        hashlib.sha256(
            rfc8785.dumps({"tenant": "t", "before": VERIFIED_AT, "belowIndex": 9})
        ).hexdigest(),
    ),
}


def _predicate(name: str) -> Any:
    return ALL[name][0]["predicate"]


@pytest.mark.parametrize("name", ALL)
def test_each_kind_names_its_type_subject_chain_and_verifier(name: str) -> None:
    statement, subject, digest = ALL[name]
    assert statement["predicateType"] == f"https://inference-audit.dev/{name}/v0.1"
    assert statement["subject"] == [{"name": subject, "digest": {"sha256": digest}}]
    predicate = _predicate(name)
    assert predicate["verifier"] == {"id": "inference-audit", "version": VERSION}
    assert predicate["chain"] == {
        "tenant": "default",
        "sequence": 3,
        "previous": {"sha256": "44" * 32},
    }


@pytest.mark.parametrize("name", ALL)
def test_each_kind_is_sealed_and_verifies(name: str) -> None:
    statement = ALL[name][0]
    sealed = seal(statement, KEY, kind=EntryKind.REPORT, chain=CHAIN, entry_key="x", audit_id=None)
    assert verify_envelope(sealed.envelope, KEY.public_key_pem) == statement


def test_the_first_entry_of_a_tenant_names_no_entry_before_it() -> None:
    first: Any = _intent(ChainLink(tenant="t", sequence=1, previous_digest=None))["predicate"]
    assert first["chain"] == {"tenant": "t", "sequence": 1}


def test_an_intent_says_what_is_about_to_be_judged_and_by_what() -> None:
    predicate = _predicate("audit-intent")
    assert (predicate["auditId"], predicate["requestId"]) == ("audit-1", "request-1")
    assert predicate["policy"] == {"id": "policy-1"}
    assert "calibration" not in predicate
    assert predicate["claim"]["provider"]["name"] == "example"
    assert predicate["announcedAt"] == VERIFIED_AT
    text = str(predicate)
    assert SECRET_PROMPT not in text
    assert SECRET_ANSWER not in text


def test_an_intent_for_an_exchange_without_a_digest_is_refused() -> None:
    job = replace(example_job(), request_digest="crc32:1")
    with pytest.raises(InvalidRequest, match="request_digest"):
        entries.intent_statement(
            job,
            policy_id=None,
            calibration_id=None,
            announced_at=VERIFIED_AT,
            verifier_version=VERSION,
            chain=CHAIN,
        )


def test_a_policy_carries_its_text_and_a_calibration_only_its_size() -> None:
    assert _predicate("audit-policy")["policy"] == {"id": "policy-1", "text": "a = 1\n"}
    assert _predicate("audit-calibration")["calibration"] == {"id": "cal-1", "numBytes": 2}


def test_a_policy_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        entries.policy_statement("p", b"\xff", **MADE)


def test_a_key_event_says_what_happens_to_which_key() -> None:
    predicate = _predicate("key-event")
    assert predicate["action"] == "REVOKED"
    assert predicate["key"]["publicKeyPem"] == KEY.public_key_pem.decode()
    assert (predicate["belowIndex"], predicate["reason"]) == (7, "stolen")
    assert predicate["compromisedAt"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (replace(REVOKED, action=KeyAction.RETIRED), "only a revocation"),
        (replace(REVOKED, below_index=-1), "must be an index"),
        (replace(REVOKED, compromised_at="yesterday"), "must be a time"),
        (replace(REVOKED, compromised_at="2026-01-02T03:04:05"), "must be a time"),
        (replace(REVOKED, public_key_pem=OTHER_KEY.public_key_pem), "has the id"),
    ],
)
def test_a_key_event_that_contradicts_itself_is_never_signed(event: KeyEvent, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        entries.key_event_statement(event, **MADE)


def test_a_key_event_without_a_key_is_never_signed() -> None:
    with pytest.raises(ConfigurationError, match="not a PEM public key"):
        entries.key_event_statement(replace(REVOKED, public_key_pem=b""), **MADE)


def test_a_commitment_of_another_form_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="commitment"):
        entries.sweep_commitment_statement("s", "42", **MADE)
