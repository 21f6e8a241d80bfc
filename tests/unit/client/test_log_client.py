"""The client of the log against a real service; what does not add up is refused."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from inference_audit.v1 import log_service_pb2 as pb

from audit.client.log_check import LogCheck, computed_tree, signing_key_id
from audit.client.log_client import LogClient
from audit.codec.log_limits import EntryQuery
from audit.errors import (
    ConfigurationError,
    EntryNotFound,
    InvalidRequest,
    LogForked,
    VerificationError,
)
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.entries import KeyAction, KeyEvent
from audit.ledger.notes import Ed25519NoteSigner, sign_note
from audit.ledger.tiles import decode_entry_bundle
from audit.log_records import EntryKind, Erasure, LogEntry, StoredCheckpoint
from audit.service.log_servicer import LogServicer
from tests.support.billing import example_account
from tests.support.logs import ORIGIN, log_signer, verdict_key
from tests.support.sweeps import example_result
from tests.unit.service.logs import Scene, ServedLog, scene
from tests.unit.service.running import running
from tests.unit.service.test_log_rpcs import BrokenLog

CHECK = LogCheck(log_signer().key)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A log of 271 entries: an audit, then policies, then a checkpoint that was witnessed."""
    with scene(tmp_path_factory.mktemp("log")) as found:
        found.audit("request-1")
        found.policies(0, 268)
        found.witness()
        found.policies(268, 269)
        yield found


@pytest.fixture(scope="module")
def client(full: Scene) -> Iterator[LogClient]:
    with (
        running(full.audits, log=full.served) as service,
        LogClient(service.address, timeout_s=5) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def verdict(client: LogClient) -> LogEntry:
    return client.find("verdict:audit-1")


def test_records_come_back_as_they_are_stored(client: LogClient, full: Scene) -> None:
    stored = list(full.served.entries(0, 300))
    assert list(client.entries(EntryQuery(with_envelopes=True), page_size=100)) == stored
    assert client.entry(0) == stored[0]
    assert client.find("verdict:audit-1") == stored[1]
    kinds = EntryQuery(first_index=1, kinds=(EntryKind.INTENT, EntryKind.VERDICT))
    assert [entry.log_index for entry in client.entries(kinds)] == [1]
    assert client.checkpoint() == full.served.checkpoint()
    assert client.checkpoint(witnessed=True).size == 270
    assert client.tile(0, 0) == full.served.tile(0, 0, 256)
    assert len(decode_entry_bundle(client.entry_bundle(1, 15))) == 15
    assert client.trust_root() == full.served.trust_root()


def test_a_watch_can_be_left_early(client: LogClient, full: Scene) -> None:
    watch = client.watch()
    assert next(watch) == full.served.checkpoint()
    del watch


def test_what_is_not_there_is_our_error(client: LogClient) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: client.entry(271),
        lambda: client.find("verdict:none"),
        lambda: client.inclusion(271),
        lambda: client.tile(0, 1),
        lambda: client.evidence("none"),
    ]
    for attempt in attempts:
        with pytest.raises(EntryNotFound):
            attempt()


def test_requests_are_checked_before_sending() -> None:
    with LogClient("127.0.0.1:1") as client:
        attempts: list[Callable[[], object]] = [
            lambda: client.entry(-1),
            lambda: client.find("\ud800"),
            lambda: client.inclusion(2**63 - 1),
            lambda: client.consistency(0),
            lambda: client.tile(8, 0),
            lambda: client.entry_bundle(-1),
            lambda: client.evidence(""),
            lambda: next(client.entries(EntryQuery(first_index=-1))),
            lambda: next(client.entries(page_size=-1)),
        ]
        for attempt in attempts:
            with pytest.raises(InvalidRequest):
                attempt()


def test_a_forked_log_and_a_missing_one_are_told_apart(full: Scene) -> None:
    broken = BrokenLog(full, LogForked("two roots"))
    with running(full.audits, log=broken) as service, LogClient(service.address) as client:
        with pytest.raises(LogForked, match="contradicts what it published"):
            client.checkpoint()
    with running(full.audits) as service, LogClient(service.address) as client:
        with pytest.raises(ConfigurationError, match="without this part"):
            client.checkpoint()


def test_true_answers_pass(client: LogClient, verdict: LogEntry) -> None:
    tree = CHECK.checkpoint(client.checkpoint())
    old = CHECK.checkpoint(client.checkpoint(witnessed=True))
    CHECK.entry(verdict)
    CHECK.inclusion(verdict, client.inclusion(1).hashes, tree)
    CHECK.consistency(old, tree, client.consistency(old.size).hashes)
    evidence = client.evidence("audit-1")
    CHECK.bundle(evidence.bundle, verdict)
    assert CHECK.trust_root(evidence.trust_root) == log_signer().key
    assert LogCheck().trust_root(evidence.trust_root) == log_signer().key
    assert verdict.envelope is not None
    assert signing_key_id(verdict.envelope) == verdict_key().key_id


@pytest.mark.parametrize("size", [1, 255, 256, 257, 270])
def test_a_root_computed_from_tiles_is_that_of_the_tree(client: LogClient, size: int) -> None:
    old = computed_tree(client, ORIGIN, size)
    new = CHECK.checkpoint(client.checkpoint())
    CHECK.consistency(old, new, client.consistency(size).hashes)


def flipped(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_proof_with_one_changed_bit_is_refused(client: LogClient, verdict: LogEntry) -> None:
    tree = CHECK.checkpoint(client.checkpoint())
    hashes = client.inclusion(1).hashes
    for position, value in enumerate(hashes):
        bad = (*hashes[:position], flipped(value), *hashes[position + 1 :])
        with pytest.raises(VerificationError, match="leads to another root"):
            CHECK.inclusion(verdict, bad, tree)
    with pytest.raises(VerificationError, match="hashes instead of"):
        CHECK.inclusion(verdict, hashes[1:], tree)
    with pytest.raises(VerificationError, match="leads to another root"):
        CHECK.inclusion(replace(verdict, leaf_body=flipped(verdict.leaf_body)), hashes, tree)


def test_a_tree_that_was_rewritten_is_refused(client: LogClient) -> None:
    new = CHECK.checkpoint(client.checkpoint())
    old = computed_tree(client, ORIGIN, 200)
    hashes = client.consistency(200).hashes
    with pytest.raises(VerificationError, match="leads to another"):
        CHECK.consistency(replace(old, root=flipped(old.root)), new, hashes)
    with pytest.raises(VerificationError, match="are of two logs"):
        CHECK.consistency(replace(old, origin="other.example"), new, hashes)


def test_a_checkpoint_that_says_less_than_its_frame_is_refused(client: LogClient) -> None:
    latest = client.checkpoint()
    for lie in (replace(latest, size=272), replace(latest, root=flipped(latest.root))):
        with pytest.raises(VerificationError, match="another size or root than its checkpoint"):
            CHECK.checkpoint(lie)


def signed_by(signer: Ed25519NoteSigner, origin: str = ORIGIN) -> StoredCheckpoint:
    body = Checkpoint(origin=origin, size=1, root=bytes(32))
    note = sign_note(format_checkpoint_body(body), [signer])
    return StoredCheckpoint(size=1, root=bytes(32), note=note, issued_at="")


def test_a_checkpoint_of_another_key_or_log_is_refused() -> None:
    stranger = Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(VerificationError, match="no known key has signed"):
        CHECK.checkpoint(signed_by(stranger))
    with pytest.raises(VerificationError, match=r"is of the log 'other\.example'"):
        CHECK.checkpoint(signed_by(log_signer(), "other.example"))
    assert LogCheck().checkpoint(signed_by(stranger)).size == 1, "without a key nothing is asked"


def test_an_entry_whose_parts_disagree_is_refused(client: LogClient, verdict: LogEntry) -> None:
    other = client.entry(2)
    lies = (
        (replace(verdict, leaf_hash=bytes(32)), "its leaf has another hash"),
        (replace(verdict, entry_digest="sha256:" + "00" * 32), "another digest than the entry"),
        (replace(verdict, envelope=other.envelope), "its envelope is not the one"),
        (replace(verdict, kind=EntryKind.INTENT), "of another kind, tenant or place"),
        (replace(verdict, tenant="other"), "of another kind, tenant or place"),
        (replace(verdict, tenant_sequence=9), "of another kind, tenant or place"),
        (replace(verdict, audit_id="audit-9"), "of another audit than the entry"),
        (replace(verdict, entry_key="verdict:audit-9"), "of another audit than the entry"),
    )
    for lie, says in lies:
        with pytest.raises(VerificationError, match=says):
            CHECK.entry(lie)


def test_every_kind_of_entry_passes(tmp_path: Path) -> None:
    with (
        scene(tmp_path) as own,
        running(own.audits, log=own.served) as service,
        LogClient(service.address, timeout_s=5) as client,
    ):
        recorder, key = own.log.recorder, verdict_key()
        own.audit("request-1")
        own.policies(0, 1)
        recorder.log_calibration("calibration-1", b"{}")
        recorder.log_report(b"{}")
        recorder.log_billing(example_account())
        recorder.log_commitment("sweep-1", "sha256:" + "ab" * 32)
        recorder.log_sweep_result(example_result())
        recorder.log_key_event(
            KeyEvent(
                action=KeyAction.INTRODUCED, key_id=key.key_id, public_key_pem=key.public_key_pem
            )
        )
        recorder.erase(Erasure(tenant="default", before="2027-01-01T00:00:00Z", below_index=2), 2)
        tree = CHECK.checkpoint(client.checkpoint())
        found = list(client.entries(EntryQuery(with_envelopes=True)))
        assert {entry.kind for entry in found} == set(EntryKind)
        for entry in found:
            CHECK.entry(entry)
            CHECK.inclusion(entry, client.inclusion(entry.log_index, tree.size).hashes, tree)
        assert found[1].envelope is None
        assert found[1].erased_at is not None


class SwappingLog(ServedLog):
    """Answers with something else than what is asked for."""

    def entry(self, index: int) -> LogEntry:
        return super().entry(index - 1)

    def find(self, entry_key: str) -> LogEntry:
        return super().entry(0)

    def entries(self, first: int, end: int) -> Iterator[LogEntry]:
        return super().entries(first - 1, end)

    def of_kind(self, kind: EntryKind, *, first: int = 0) -> Iterator[LogEntry]:
        return super().of_kind(EntryKind.POLICY, first=first)


def test_an_answer_to_something_else_is_refused(full: Scene) -> None:
    with (
        running(full.audits, log=SwappingLog(full.log.store)) as service,
        LogClient(service.address, timeout_s=5) as client,
    ):
        attempts: list[Callable[[], object]] = [
            lambda: client.entry(1),
            lambda: client.find("verdict:audit-1"),
            lambda: list(client.entries(EntryQuery(first_index=1))),
            lambda: list(client.entries(EntryQuery(kinds=(EntryKind.VERDICT,)))),
        ]
        for attempt in attempts:
            with pytest.raises(VerificationError, match="asked for: do not rely on it"):
                attempt()


@pytest.mark.parametrize("lie", ["log_index", "tree_size", "checkpoint"])
def test_a_proof_of_something_else_is_refused(
    client: LogClient, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    honest = LogServicer._inclusion

    def lying(
        self: LogServicer, request: pb.GetInclusionProofRequest
    ) -> pb.GetInclusionProofResponse:
        answer = honest(self, request)
        if lie == "checkpoint":
            answer.ClearField("checkpoint")
        else:
            setattr(answer.proof, lie, getattr(answer.proof, lie) + 1)
        return answer

    monkeypatch.setattr(LogServicer, "_inclusion", lying)
    with pytest.raises(VerificationError, match="is not the proof asked for"):
        client.inclusion(1)


@pytest.mark.parametrize("lie", ["old_size", "new_size", "checkpoint"])
def test_a_consistency_proof_of_something_else_is_refused(
    client: LogClient, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    honest = LogServicer._consistency

    def lying(
        self: LogServicer, request: pb.GetConsistencyProofRequest
    ) -> pb.GetConsistencyProofResponse:
        answer = honest(self, request)
        if lie == "checkpoint":
            answer.ClearField("checkpoint")
        else:
            setattr(answer.proof, lie, getattr(answer.proof, lie) + 1)
        return answer

    monkeypatch.setattr(LogServicer, "_consistency", lying)
    with pytest.raises(VerificationError, match="is not the proof asked for"):
        client.consistency(1)


def test_a_bundle_of_something_else_is_refused(client: LogClient, verdict: LogEntry) -> None:
    bundle = client.evidence("audit-1").bundle
    for raw in (b"", b"[]", b"{}", b"[" * 10_000):
        with pytest.raises(VerificationError, match="is not a Sigstore bundle"):
            CHECK.bundle(raw, verdict)
    for other in (client.entry(2), replace(verdict, envelope=None)):
        with pytest.raises(VerificationError, match="is not that of entry"):
            CHECK.bundle(bundle, other)
    changed = json.loads(bundle)
    changed["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"].pop()
    with pytest.raises(VerificationError, match="hashes instead of"):
        CHECK.bundle(json.dumps(changed).encode(), verdict)


def test_a_trust_root_of_another_log_is_refused(full: Scene) -> None:
    stranger = Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(VerificationError, match="does not name the given log key"):
        LogCheck(stranger.key).trust_root(full.served.trust_root())
    with pytest.raises(VerificationError, match="trust root"):
        CHECK.trust_root(b"{}")


def test_an_envelope_without_a_key_id_makes_no_bundle() -> None:
    for raw in (b"", b"null", b'{"signatures": []}', b'{"signatures": [{}]}'):
        with pytest.raises(VerificationError, match="names no key"):
            signing_key_id(raw)
