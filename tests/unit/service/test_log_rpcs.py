"""LogService, as any gRPC client sees it, over a real log."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from inference_audit.v1 import log_pb2
from inference_audit.v1 import log_service_pb2 as pb
from inference_audit.v1.log_service_pb2_grpc import LogServiceStub

from audit.errors import LogForked, StorageError, VerificationError
from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from audit.ledger.notes import open_note
from audit.ledger.tiles import decode_entry_bundle
from audit.ledger.verify import verify_bundle
from audit.log_records import StoredCheckpoint
from audit.service.log_servicer import SERVICE_NAME
from tests.support.logs import log_signer
from tests.unit.service.logs import Scene, ServedLog, scene
from tests.unit.service.running import RunningService, running
from tests.unit.service.test_rpcs import refusal

NUM_POLICIES = 300
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
NOT_FOUND: tuple[grpc.StatusCode, str, list[str]] = (
    grpc.StatusCode.NOT_FOUND,
    "ENTRY_NOT_FOUND",
    [],
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A log of 304 entries: an audit at each end, policies between; the last one witnessed."""
    with scene(tmp_path_factory.mktemp("log")) as found:
        found.audit("request-1")
        found.policies(0, NUM_POLICIES)
        found.witness()
        found.audit("request-2")
        yield found


@pytest.fixture(scope="module")
def stub(full: Scene) -> Iterator[LogServiceStub]:
    with (
        running(full.audits, log=full.served) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        yield LogServiceStub(channel)


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as found:
        yield found


def refused(call: Any, request: Message) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=5)
    return refusal(caught.value)


def test_the_latest_checkpoint_is_signed_by_the_log(stub: LogServiceStub) -> None:
    latest = stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5).checkpoint
    stated = parse_checkpoint_body(open_note(latest.note, [log_signer().key]).text)
    assert (stated.size, stated.root) == (latest.tree_size, latest.root_hash)
    assert latest.tree_size == 304
    assert not latest.witnessed


def test_the_latest_witnessed_checkpoint_may_be_older(stub: LogServiceStub) -> None:
    latest = stub.GetCheckpoint(pb.GetCheckpointRequest(witnessed=True), timeout=5).checkpoint
    assert (latest.tree_size, latest.witnessed) == (302, True)
    assert b"witness.test.example" in latest.note


def test_pages_cover_all_entries_once(stub: LogServiceStub) -> None:
    request = pb.ListEntriesRequest(page_size=100)
    sizes, indexes = [], []
    while True:
        page = stub.ListEntries(request, timeout=5)
        sizes.append(len(page.entries))
        indexes += [entry.log_index for entry in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sizes == [100, 100, 100, 4]
    assert indexes == list(range(304))


def test_a_page_size_is_defaulted_and_cut(stub: LogServiceStub) -> None:
    default = stub.ListEntries(pb.ListEntriesRequest(), timeout=5)
    assert len(default.entries) == 50
    largest = stub.ListEntries(pb.ListEntriesRequest(page_size=2**31 - 1), timeout=5)
    assert len(largest.entries) == 304


def test_kinds_are_merged_in_log_order(stub: LogServiceStub) -> None:
    kinds = [log_pb2.ENTRY_KIND_VERDICT, log_pb2.ENTRY_KIND_INTENT]
    request = pb.ListEntriesRequest(page_size=3, kinds=kinds)
    first = stub.ListEntries(request, timeout=5)
    assert [entry.log_index for entry in first.entries] == [0, 1, 302]
    request.page_token = first.next_page_token
    second = stub.ListEntries(request, timeout=5)
    assert [entry.entry_key for entry in second.entries] == ["verdict:audit-2"]
    assert not second.next_page_token


def test_envelopes_are_sent_where_asked_for(stub: LogServiceStub) -> None:
    bare = stub.ListEntries(pb.ListEntriesRequest(page_size=1), timeout=5).entries[0]
    assert not bare.HasField("envelope")
    request = pb.ListEntriesRequest(page_size=1, with_envelopes=True)
    assert b"payloadType" in stub.ListEntries(request, timeout=5).entries[0].envelope


def test_a_page_is_closed_before_it_outgrows_a_message(
    stub: LogServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.service.log_servicer.MAX_PAGE_BYTES", 3000)
    page = stub.ListEntries(pb.ListEntriesRequest(first_index=2), timeout=5)
    assert 1 < len(page.entries) < 6
    assert page.next_page_token
    monkeypatch.setattr("audit.service.log_servicer.MAX_PAGE_BYTES", 1)
    page = stub.ListEntries(pb.ListEntriesRequest(), timeout=5)
    assert len(page.entries) == 1, "a page always gets on"


def test_a_page_past_the_end_is_empty(stub: LogServiceStub) -> None:
    for kinds in ([], [log_pb2.ENTRY_KIND_POLICY]):
        request = pb.ListEntriesRequest(first_index=2**63 - 2, kinds=kinds)
        page = stub.ListEntries(request, timeout=5)
        assert not page.entries
        assert not page.next_page_token


def test_an_entry_is_found_by_index_and_by_key(stub: LogServiceStub) -> None:
    by_key = stub.GetEntry(pb.GetEntryRequest(entry_key="verdict:audit-2"), timeout=5).entry
    by_index = stub.GetEntry(pb.GetEntryRequest(log_index=303), timeout=5).entry
    assert by_key == by_index
    assert by_key.audit_id == "audit-2"
    assert leaf_hash(by_key.leaf_body) == by_key.leaf_hash
    assert by_key.HasField("envelope")


@pytest.mark.parametrize("index", [0, 1, 255, 256, 303])
def test_an_inclusion_proof_leads_to_the_latest_checkpoint(
    stub: LogServiceStub, index: int
) -> None:
    answer = stub.GetInclusionProof(pb.GetInclusionProofRequest(log_index=index), timeout=5)
    verify_inclusion(
        leaf=answer.leaf_hash,
        index=index,
        size=answer.proof.tree_size,
        proof=answer.proof.hashes,
        root=answer.checkpoint.root_hash,
    )
    entry = stub.GetEntry(pb.GetEntryRequest(log_index=index), timeout=5).entry
    assert entry.leaf_hash == answer.leaf_hash


def test_an_inclusion_proof_for_a_size_brings_no_checkpoint(stub: LogServiceStub) -> None:
    request = pb.GetInclusionProofRequest(log_index=1, tree_size=2)
    answer = stub.GetInclusionProof(request, timeout=5)
    assert answer.proof == log_pb2.InclusionProof(
        log_index=1,
        tree_size=2,
        hashes=[stub.GetEntry(pb.GetEntryRequest(log_index=0), timeout=5).entry.leaf_hash],
    )
    assert not answer.HasField("checkpoint")


def test_an_inclusion_proof_can_be_for_the_witnessed_checkpoint(stub: LogServiceStub) -> None:
    request = pb.GetInclusionProofRequest(log_index=1, witnessed=True)
    answer = stub.GetInclusionProof(request, timeout=5)
    assert answer.checkpoint.witnessed
    assert answer.proof.tree_size == 302
    beyond = pb.GetInclusionProofRequest(log_index=302, witnessed=True)
    assert refused(stub.GetInclusionProof, beyond) == NOT_FOUND


def test_a_consistency_proof_leads_from_old_to_new(stub: LogServiceStub) -> None:
    old = stub.GetCheckpoint(pb.GetCheckpointRequest(witnessed=True), timeout=5).checkpoint
    request = pb.GetConsistencyProofRequest(old_size=old.tree_size)
    answer = stub.GetConsistencyProof(request, timeout=5)
    verify_consistency(
        old_size=old.tree_size,
        new_size=answer.proof.new_size,
        old_root=old.root_hash,
        new_root=answer.checkpoint.root_hash,
        proof=answer.proof.hashes,
    )
    request.new_size = 304
    given = stub.GetConsistencyProof(request, timeout=5)
    assert given.proof == answer.proof
    assert not given.HasField("checkpoint")


def test_tiles_and_bundles_are_those_of_the_spec(stub: LogServiceStub) -> None:
    full_tile = stub.GetTile(pb.GetTileRequest(), timeout=5).tile
    partial = stub.GetTile(pb.GetTileRequest(index=1, width=48), timeout=5).tile
    upper = stub.GetTile(pb.GetTileRequest(level=1, width=1), timeout=5).tile
    assert (len(full_tile), len(partial), len(upper)) == (256 * 32, 48 * 32, 32)
    raw = stub.GetEntryBundle(pb.GetEntryBundleRequest(index=1, width=48), timeout=5)
    bodies = decode_entry_bundle(raw.entry_bundle)
    assert b"".join(map(leaf_hash, bodies)) == partial
    whole = stub.GetEntryBundle(pb.GetEntryBundleRequest(), timeout=5).entry_bundle
    assert b"".join(map(leaf_hash, decode_entry_bundle(whole))) == full_tile


def test_the_evidence_of_a_verdict_verifies_offline(stub: LogServiceStub) -> None:
    request = pb.GetVerdictBundleRequest(audit_id="audit-1")
    evidence = stub.GetVerdictBundle(request, timeout=5)
    assert verify_bundle(evidence.bundle, evidence.trust_root).log_index == 1
    assert stub.GetTrustRoot(pb.GetTrustRootRequest(), timeout=5).trust_root == evidence.trust_root


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("GetEntry", pb.GetEntryRequest(log_index=304)),
        ("GetEntry", pb.GetEntryRequest(log_index=2**63 - 2)),
        ("GetEntry", pb.GetEntryRequest(entry_key="verdict:none")),
        ("GetInclusionProof", pb.GetInclusionProofRequest(log_index=304)),
        ("GetTile", pb.GetTileRequest(index=1)),
        ("GetTile", pb.GetTileRequest(level=7)),
        ("GetTile", pb.GetTileRequest(index=2**54)),
        ("GetEntryBundle", pb.GetEntryBundleRequest(index=1, width=49)),
        ("GetVerdictBundle", pb.GetVerdictBundleRequest(audit_id="none")),
    ],
    ids=repr,
)
def test_what_the_log_does_not_hold_is_not_found(
    stub: LogServiceStub, rpc: str, request_: Message
) -> None:
    assert refused(getattr(stub, rpc), request_) == NOT_FOUND


@pytest.mark.parametrize(
    ("rpc", "request_", "fields"),
    [
        ("ListEntries", pb.ListEntriesRequest(first_index=-1), ["first_index"]),
        ("ListEntries", pb.ListEntriesRequest(page_size=-1), ["page_size"]),
        ("ListEntries", pb.ListEntriesRequest(page_token="mine"), ["page_token"]),  # noqa: S106
        ("ListEntries", pb.ListEntriesRequest(kinds=[1, 99]), ["kinds[1]"]),  # type: ignore[list-item]
        ("GetEntry", pb.GetEntryRequest(), ["entry"]),
        ("GetEntry", pb.GetEntryRequest(log_index=-1), ["log_index"]),
        ("GetEntry", pb.GetEntryRequest(entry_key=""), ["entry_key"]),
        ("GetInclusionProof", pb.GetInclusionProofRequest(log_index=-1), ["log_index"]),
        ("GetInclusionProof", pb.GetInclusionProofRequest(tree_size=305), ["tree_size"]),
        (
            "GetInclusionProof",
            pb.GetInclusionProofRequest(log_index=5, tree_size=5, witnessed=True),
            ["log_index", "witnessed"],
        ),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(), ["old_size"]),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=305), ["old_size"]),
        (
            "GetConsistencyProof",
            pb.GetConsistencyProofRequest(old_size=1, new_size=305),
            ["new_size"],
        ),
        ("GetTile", pb.GetTileRequest(level=8, index=-1, width=257), ["level", "index", "width"]),
        ("GetEntryBundle", pb.GetEntryBundleRequest(width=-1), ["width"]),
        ("GetVerdictBundle", pb.GetVerdictBundleRequest(), ["audit_id"]),
    ],
    ids=repr,
)
def test_a_bad_request_names_its_fields(
    stub: LogServiceStub, rpc: str, request_: Message, fields: list[str]
) -> None:
    assert refused(getattr(stub, rpc), request_) == (*INVALID, fields)


def test_broken_bytes_are_an_invalid_argument(full: Scene) -> None:
    with (
        running(full.audits, log=full.served) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        call: Any = channel.unary_unary(f"/{SERVICE_NAME}/GetEntry")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff", timeout=5)
    assert refusal(caught.value) == (*INVALID, ["request"])


@pytest.fixture
def live(growing: Scene) -> Iterator[tuple[RunningService, LogServiceStub]]:
    with (
        running(growing.audits, log=growing.served) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        yield service, LogServiceStub(channel)


def test_an_empty_log_has_no_checkpoint_and_an_empty_list(
    live: tuple[RunningService, LogServiceStub],
) -> None:
    _, stub = live
    assert refused(stub.GetCheckpoint, pb.GetCheckpointRequest(witnessed=True)) == NOT_FOUND
    assert not stub.ListEntries(pb.ListEntriesRequest(), timeout=5).entries


def test_a_watch_sends_each_newer_checkpoint(
    live: tuple[RunningService, LogServiceStub], growing: Scene
) -> None:
    _, stub = live
    growing.policies(0, 1)
    answers = stub.WatchCheckpoint(pb.WatchCheckpointRequest(), timeout=10)
    assert next(answers).checkpoint.tree_size == 1
    growing.policies(1, 2)
    assert next(answers).checkpoint.tree_size == 2
    growing.witness()
    again = next(answers).checkpoint
    assert (again.tree_size, again.witnessed) == (2, True)
    answers.cancel()


def test_a_witnessed_watch_waits_for_the_first(
    live: tuple[RunningService, LogServiceStub], growing: Scene
) -> None:
    _, stub = live
    growing.policies(0, 1)
    answers = stub.WatchCheckpoint(pb.WatchCheckpointRequest(witnessed=True), timeout=10)
    timer = threading.Timer(0.1, growing.witness)
    timer.start()
    assert next(answers).checkpoint.witnessed
    timer.join()
    answers.cancel()


def test_watchers_that_leave_hold_up_nothing(
    live: tuple[RunningService, LogServiceStub], growing: Scene
) -> None:
    _, stub = live
    growing.policies(0, 1)
    for _ in range(20):
        answers = stub.WatchCheckpoint(pb.WatchCheckpointRequest(), timeout=10)
        next(answers)
        answers.cancel()
    assert stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5).checkpoint.tree_size == 1


def test_stopping_ends_a_watch_with_unavailable(
    live: tuple[RunningService, LogServiceStub], growing: Scene
) -> None:
    service, stub = live
    growing.policies(0, 1)
    answers = stub.WatchCheckpoint(pb.WatchCheckpointRequest(), timeout=10)
    next(answers)
    stopper = threading.Thread(target=service.stop)
    stopper.start()
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    stopper.join()
    assert refusal(caught.value)[:2] == (grpc.StatusCode.UNAVAILABLE, "SERVICE_STOPPING")


class BrokenLog(ServedLog):
    """Fails at every look at its checkpoint."""

    def __init__(self, scene: Scene, error: Exception) -> None:
        super().__init__(scene.log.store)
        self._error = error

    def checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (LogForked("anchor /secret"), grpc.StatusCode.DATA_LOSS, "LOG_FORKED"),
        (VerificationError("secret tile"), grpc.StatusCode.DATA_LOSS, "LOG_DAMAGED"),
        (StorageError("secret"), grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
        (KeyError("secret"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=["forked", "damaged", "database-down", "fault-of-ours"],
)
def test_a_failure_behind_the_service_tells_nothing_of_its_cause(
    growing: Scene, error: Exception, code: grpc.StatusCode, reason: str
) -> None:
    with (
        running(growing.audits, log=BrokenLog(growing, error)) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        stub = LogServiceStub(channel)
        for call in (
            lambda: stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5),
            lambda: list(stub.WatchCheckpoint(pb.WatchCheckpointRequest(), timeout=5)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert refusal(caught.value) == (code, reason, [])
            assert isinstance(caught.value, grpc.Call)
            assert "secret" not in str(caught.value.details())


def test_the_log_is_listed_described_and_healthy(full: Scene) -> None:
    with (
        running(full.audits, log=full.served) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME), timeout=5)
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE_NAME),
        ]
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        listed, described = reflection.ServerReflectionInfo(iter(asked), timeout=5)
    assert SERVICE_NAME in [found.name for found in listed.list_services_response.service]
    assert described.file_descriptor_response.file_descriptor_proto


def test_a_service_without_a_log_says_so(full: Scene) -> None:
    with running(full.audits) as service, grpc.insecure_channel(service.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            LogServiceStub(channel).GetCheckpoint(pb.GetCheckpointRequest(), timeout=5)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError):
            health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME), timeout=5)
