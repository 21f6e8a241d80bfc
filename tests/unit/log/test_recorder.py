"""What the recorder signs: intents before verdicts, the tenant's chain, evidence by digest."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from audit.errors import InvalidRequest
from audit.ledger.entries import KeyAction, KeyEvent
from audit.ledger.verdict_log import Trust, VerdictLog
from audit.ledger.verify import verify_bundle
from audit.log_records import EntryKind, Erasure, LogEntry, Receipt
from audit.records import AuditState, Examination, Job
from reference_runner.records import Evidence
from tests.support.logs import Log, log_signer, verdict_key
from tests.unit.log.conftest import AnyStore
from tests.unit.service.examples import PASS, request_of

DIGEST = "sha256:" + "22" * 32


def predicate(entry: LogEntry) -> Any:
    assert entry.envelope is not None
    return json.loads(base64.b64decode(json.loads(entry.envelope)["payload"]))["predicate"]


def evidence() -> Evidence:
    return Evidence(
        profile_id="greedy",
        signed_margin_logits_R=np.array([0.5, -1.23456789, np.inf], dtype=np.float32),
        matched_R=np.array([True, False, True]),
        rank_R=np.array([0, 3, 0], dtype=np.int32),
        logprob_nats_R=np.zeros(3, dtype=np.float32),
        top_two_gap_logits_R=np.array([0.5, 2.0, 1.0], dtype=np.float32),
        contender_logit_R=np.ones(3, dtype=np.float32),
        excluded_R=np.zeros(3, dtype=np.bool_),
    )


def claimed(store: AnyStore, name: str = "request-1") -> Job:
    store.submit(request_of(name), DIGEST)
    job = store.claim()
    assert job is not None
    return job


def introduced(log: Log) -> None:
    key = verdict_key()
    event = KeyEvent(
        action=KeyAction.INTRODUCED, key_id=key.key_id, public_key_pem=key.public_key_pem
    )
    log.recorder.log_key_event(event)


def test_a_verdict_names_its_intent_and_stands_after_it_in_the_chain(
    store: AnyStore, log: Log
) -> None:
    job = claimed(store)
    intent = log.recorder.announce(job)
    verdict = log.recorder.conclude(job, Examination(verdict=PASS), None, intent)
    said = predicate(log.reader.entry(verdict.log_index))
    assert said["intent"] == {
        "logIndex": intent.log_index,
        "digest": {"sha256": intent.entry_digest.removeprefix("sha256:")},
    }
    assert said["chain"] == {
        "tenant": "default",
        "sequence": 2,
        "previous": {"sha256": intent.entry_digest.removeprefix("sha256:")},
    }
    assert "previous" not in predicate(log.reader.entry(0))["chain"]
    record = store.get(job.audit_id)
    assert record.state is AuditState.DONE
    assert record.signed is not None
    assert record.signed.envelope == log.reader.entry(verdict.log_index).envelope


def test_an_audit_that_is_tried_again_keeps_its_first_intent(store: AnyStore, log: Log) -> None:
    job = claimed(store)
    assert log.recorder.announce(job) == log.recorder.announce(job)
    assert log.store.read_head().size == 1


def test_the_evidence_per_token_is_kept_under_its_digest_without_texts(
    store: AnyStore, log: Log
) -> None:
    job = claimed(store)
    examination = Examination(verdict=PASS, evidence=evidence())
    done = log.recorder.conclude(job, examination, None, log.recorder.announce(job))
    (named,) = predicate(log.reader.entry(done.log_index))["evidence"]
    kept = log.reader.artifact(f"sha256:{named['digest']['sha256']}")
    assert kept is not None
    assert json.loads(kept.content) == {
        "profile": "greedy",
        "margin_logits": [0.5, -1.2346, None],
        "gap_logits": [0.5, 2.0, 1.0],
        "rank": [0, 3, 0],
        "is_mismatch": [0, 1, 0],
    }


def test_a_bundle_of_any_entry_verifies_against_the_logs_own_trust_root(
    store: AnyStore, log: Log
) -> None:
    introduced(log)
    job = claimed(store)
    intent = log.recorder.announce(job)
    log.recorder.conclude(job, Examination(verdict=PASS), None, intent)
    log.recorder.log_policy("sha256:" + "33" * 32, b"{}")
    reader = VerdictLog(store.log, Trust(log_key=log_signer().key))
    root = reader.trust_root()
    found = verify_bundle(reader.bundle(job.audit_id), root)
    assert (found.log_index, found.tree_size) == (2, 4)
    for entry in reader.entries(0, 4):
        assert verify_bundle(reader.bundle_of(entry), root).log_index == entry.log_index


def test_an_erasure_of_nothing_is_refused_and_one_of_something_is_an_entry(
    store: AnyStore, log: Log
) -> None:
    erasure = Erasure(tenant="default", before="2099-01-01T00:00:00Z", below_index=2)
    with pytest.raises(InvalidRequest, match="nothing of this tenant"):
        log.recorder.erase(erasure, 0)
    job = claimed(store)
    log.recorder.conclude(job, Examination(verdict=PASS), None, log.recorder.announce(job))
    num_entries = store.log.count_erasable(erasure)
    done: Receipt = log.recorder.erase(erasure, num_entries)
    assert num_entries == 2
    entry = log.reader.entry(done.log_index)
    assert entry.kind is EntryKind.ERASURE
    assert predicate(entry)["erasure"]["numEntries"] == 2
    assert [e.envelope is None for e in log.reader.entries(0, 3)] == [True, True, False]
