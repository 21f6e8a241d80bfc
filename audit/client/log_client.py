"""Reads the verdict log of a running audit service.

Stands on the caller's side of the wire: records go out and come in, and errors are our own. What it
returns is the service's word; `audit.client.log_check` holds it against signatures and proofs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from inference_audit.v1 import log_service_pb2 as pb
from inference_audit.v1.log_service_pb2_grpc import LogServiceStub

from audit.client.connection import DEFAULT_TIMEOUT_S, Connection
from audit.client.errors import translated
from audit.codec.limits import check_audit_id, page_size_of
from audit.codec.log_limits import (
    EntryQuery,
    check_consistency,
    check_entry_key,
    check_inclusion,
    check_index,
    check_tile,
)
from audit.codec.wire_log import (
    checkpoint_from_wire,
    entry_from_wire,
    kind_to_wire,
)
from audit.errors import VerificationError
from audit.log_records import EntryKind, LogEntry, StoredCheckpoint

DEFAULT_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionAnswer:
    """An inclusion proof, unchecked; the checkpoint is set where the size was left open."""

    log_index: int
    tree_size: int
    hashes: tuple[bytes, ...]
    leaf_hash: bytes
    checkpoint: StoredCheckpoint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyAnswer:
    """A consistency proof, unchecked; the checkpoint is set where the new size was left open."""

    old_size: int
    new_size: int
    hashes: tuple[bytes, ...]
    checkpoint: StoredCheckpoint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEvidence:
    """What verifies one verdict offline: a Sigstore bundle and the trust root, both JSON."""

    bundle: bytes
    trust_root: bytes


class LogClient(Connection):
    """A connection to the log at `host:port`; safe to share between threads.

    Every method raises ConfigurationError where the service cannot be reached or keeps no log,
    StorageError where its database is not available or no answer came in time, LogForked where the
    log has found that it contradicts itself, and VerificationError for an answer to something else.
    """

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(address, timeout_s=timeout_s)
        self._stub = LogServiceStub(self._channel)

    def checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint:
        """Return the latest checkpoint, or the latest witnessed one. Raises: EntryNotFound."""
        request = pb.GetCheckpointRequest(witnessed=witnessed)
        with translated(self._address):
            answer = self._stub.GetCheckpoint(request, timeout=self._timeout_s)
        return checkpoint_from_wire(answer.checkpoint)

    def watch(self, *, witnessed: bool = False) -> Iterator[StoredCheckpoint]:
        """Yield the latest checkpoint and each one after it, without end."""
        with translated(self._address):
            answers = self._stub.WatchCheckpoint(pb.WatchCheckpointRequest(witnessed=witnessed))
            try:
                for answer in answers:
                    yield checkpoint_from_wire(answer.checkpoint)
            finally:
                answers.cancel()

    def entries(
        self, query: EntryQuery | None = None, *, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Iterator[LogEntry]:
        """Yield all entries that match, by rising index, page by page. Raises: InvalidRequest."""
        query = query or EntryQuery()
        check_index("first_index", query.first_index)
        request = pb.ListEntriesRequest(
            first_index=query.first_index,
            page_size=page_size_of(page_size),
            kinds=[kind_to_wire(kind) for kind in query.kinds],
            with_envelopes=query.with_envelopes,
        )
        lowest = query.first_index
        while True:
            with translated(self._address):
                page = self._stub.ListEntries(request, timeout=self._timeout_s)
            for message in page.entries:
                entry = entry_from_wire(message)
                is_asked = entry.log_index >= lowest and entry.kind in (query.kinds or EntryKind)
                _require_asked(is_asked, "list of entries")
                lowest = entry.log_index + 1
                yield entry
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def entry(self, index: int) -> LogEntry:
        """Return the entry at an index. Raises: InvalidRequest, EntryNotFound."""
        check_index("log_index", index)
        found = self._entry(pb.GetEntryRequest(log_index=index))
        _require_asked(found.log_index == index, "entry")
        return found

    def find(self, entry_key: str) -> LogEntry:
        """Return the entry of a key. Raises: InvalidRequest, EntryNotFound."""
        check_entry_key(entry_key)
        found = self._entry(pb.GetEntryRequest(entry_key=entry_key))
        _require_asked(found.entry_key == entry_key, "entry")
        return found

    def inclusion(self, index: int, size: int = 0, *, witnessed: bool = False) -> InclusionAnswer:
        """Return an inclusion proof; size 0 stands for the latest checkpoint's.

        Raises: InvalidRequest, EntryNotFound.
        """
        check_inclusion(index, size, witnessed=witnessed)
        request = pb.GetInclusionProofRequest(log_index=index, tree_size=size, witnessed=witnessed)
        with translated(self._address):
            answer = self._stub.GetInclusionProof(request, timeout=self._timeout_s)
        has_checkpoint = answer.HasField("checkpoint")
        stated = answer.checkpoint.tree_size if has_checkpoint else size
        is_asked = (answer.proof.log_index, answer.proof.tree_size) == (index, stated)
        _require_asked(is_asked and has_checkpoint == (size == 0), "proof")
        return InclusionAnswer(
            log_index=answer.proof.log_index,
            tree_size=answer.proof.tree_size,
            hashes=tuple(answer.proof.hashes),
            leaf_hash=answer.leaf_hash,
            checkpoint=checkpoint_from_wire(answer.checkpoint) if has_checkpoint else None,
        )

    def consistency(self, old_size: int, new_size: int = 0) -> ConsistencyAnswer:
        """Return a consistency proof; new size 0 stands for the latest checkpoint's.

        Raises: InvalidRequest, EntryNotFound.
        """
        check_consistency(old_size, new_size)
        request = pb.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
        with translated(self._address):
            answer = self._stub.GetConsistencyProof(request, timeout=self._timeout_s)
        has_checkpoint = answer.HasField("checkpoint")
        stated = answer.checkpoint.tree_size if has_checkpoint else new_size
        is_asked = (answer.proof.old_size, answer.proof.new_size) == (old_size, stated)
        _require_asked(is_asked and has_checkpoint == (new_size == 0), "proof")
        return ConsistencyAnswer(
            old_size=answer.proof.old_size,
            new_size=answer.proof.new_size,
            hashes=tuple(answer.proof.hashes),
            checkpoint=checkpoint_from_wire(answer.checkpoint) if has_checkpoint else None,
        )

    def tile(self, level: int, index: int, width: int = 0) -> bytes:
        """Return the hashes of a tile; width 0 is a full one. Raises: as `entry`."""
        request = pb.GetTileRequest(level=level, index=index, width=check_tile(level, index, width))
        with translated(self._address):
            return self._stub.GetTile(request, timeout=self._timeout_s).tile

    def entry_bundle(self, index: int, width: int = 0) -> bytes:
        """Return the leaves below a tile of level 0. Raises: InvalidRequest, EntryNotFound."""
        request = pb.GetEntryBundleRequest(index=index, width=check_tile(0, index, width))
        with translated(self._address):
            return self._stub.GetEntryBundle(request, timeout=self._timeout_s).entry_bundle

    def evidence(self, audit_id: str) -> VerdictEvidence:
        """Return what verifies the verdict of an audit. Raises: InvalidRequest, EntryNotFound."""
        check_audit_id(audit_id)
        request = pb.GetVerdictBundleRequest(audit_id=audit_id)
        with translated(self._address):
            answer = self._stub.GetVerdictBundle(request, timeout=self._timeout_s)
        return VerdictEvidence(bundle=answer.bundle, trust_root=answer.trust_root)

    def trust_root(self) -> bytes:
        """Return the trust root, JSON."""
        with translated(self._address):
            answer = self._stub.GetTrustRoot(pb.GetTrustRootRequest(), timeout=self._timeout_s)
        return answer.trust_root

    def _entry(self, request: pb.GetEntryRequest) -> LogEntry:
        with translated(self._address):
            answer = self._stub.GetEntry(request, timeout=self._timeout_s)
        return entry_from_wire(answer.entry)


def _require_asked(is_asked: bool, what: str) -> None:
    if not is_asked:
        raise VerificationError(
            f"the service's answer is not the {what} asked for: do not rely on it"
        )
