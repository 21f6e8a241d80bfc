"""A billing finding is signed with its account, its figures and its place in the chain."""

import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785

from audit.errors import InvalidRequest
from audit.ledger.billing_statement import PREDICATE_TYPE, billing_statement
from audit.ledger.seal import seal
from audit.log_records import EntryKind
from tests.golden.ledger.examples import CHAIN, KEY, VERIFIED_AT, VERSION
from tests.support.billing import example_account

MADE: Any = {"logged_at": VERIFIED_AT, "verifier_version": VERSION, "chain": CHAIN}


def made() -> Any:
    return json.loads(rfc8785.dumps(billing_statement(example_account(), **MADE)))


def test_it_is_about_the_account_by_digest() -> None:
    account, statement = example_account(), made()
    assert statement["predicateType"] == PREDICATE_TYPE
    (subject,) = statement["subject"]
    assert subject["name"] == "account"
    assert "sha256:" + subject["digest"]["sha256"] == account.finding.finding_id
    assert statement["predicate"]["account"]["domain"] == "planning"


def test_every_figure_of_the_finding_is_in_it() -> None:
    predicate = made()["predicate"]
    assert predicate["meter"] == "DISAGREES"
    assert predicate["direction"] == "over"
    assert predicate["tier"] == "reference_sampling"
    assert predicate["evidenceController"] == "auditor"
    assert predicate["stopsAdversary"] == "malicious_origin"
    assert predicate["log10EValueOver"] == 3.25
    assert predicate["billedTokens"] == 150_000
    assert predicate["overcharge"]["moneyLow"] == {"amount": "1.80", "currency": "USD"}
    assert predicate["violations"][0]["excessTokens"] == 6
    assert predicate["channels"][0]["ratioLow"] == 1.3
    assert predicate["notChecked"] == ["commitment: the provider makes none"]
    assert predicate["version"] == 120


def test_what_could_not_be_told_is_left_out() -> None:
    account = example_account()
    finding = replace(
        account.finding,
        direction=None,
        tier=None,
        expected_tokens=None,
        overcharge_tokens_low=None,
        overcharge_tokens_high=None,
        overcharge_money_low=None,
        overcharge_money_high=None,
        violations=(),
    )
    statement: Any = billing_statement(replace(account, finding=finding), **MADE)
    absent = {"direction", "tier", "expectedTokens", "overcharge", "violations"}
    assert not absent & statement["predicate"].keys()


def test_it_seals_as_an_entry_of_its_kind() -> None:
    sealed = seal(
        billing_statement(example_account(), **MADE),
        KEY,
        kind=EntryKind.BILLING,
        chain=CHAIN,
        entry_key="billing:x:1",
        audit_id=None,
    )
    assert sealed.kind is EntryKind.BILLING
    assert sealed.leaf_body


def test_an_id_that_is_no_digest_is_refused() -> None:
    account = example_account()
    bad = replace(account, finding=replace(account.finding, finding_id="mine"))
    with pytest.raises(InvalidRequest, match="finding_id: must be sha256"):
        billing_statement(bad, **MADE)
