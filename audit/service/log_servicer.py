"""The RPCs of LogService over a reader of the log.

Stands between the wire and the stored log. Requests are checked before the log is asked; nothing
blocks the event loop: whatever reads runs in the executor. Nothing is verified here: whoever asks
has the means to.
"""

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from inference_audit.v1 import log_pb2, log_service_pb2
from inference_audit.v1 import log_service_pb2 as pb
from inference_audit.v1.log_service_pb2_grpc import LogServiceServicer

from audit.codec.limits import check_audit_id, page_size_of
from audit.codec.log_limits import (
    MAX_PAGE_BYTES,
    EntryQuery,
    check_consistency,
    check_entry_key,
    check_inclusion,
    check_index,
    check_tile,
    page_start,
    page_token,
)
from audit.codec.wire_errors import ServiceStopping
from audit.codec.wire_log import checkpoint_to_wire, entry_to_wire, kinds_from_wire
from audit.errors import EntryNotFound, InvalidRequest
from audit.log_records import EntryKind, LogEntry, StoredCheckpoint

SERVICE_NAME = log_service_pb2.DESCRIPTOR.services_by_name["LogService"].full_name

_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")


class LogApi(Protocol):
    """What the service needs of the log; every method is safe to call from several threads."""

    def checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint:
        """Return the newest checkpoint, or the newest witnessed one. Raises: EntryNotFound."""
        ...

    def entries(self, first: int, end: int) -> Iterator[LogEntry]:
        """Yield the entries of [first, end) in order, fewer where the log is shorter."""
        ...

    def of_kind(self, kind: EntryKind, *, first: int = 0) -> Iterator[LogEntry]:
        """Yield the entries of a kind with index >= first, in order."""
        ...

    def entry(self, index: int) -> LogEntry:
        """Return one entry. Raises: EntryNotFound."""
        ...

    def find(self, entry_key: str) -> LogEntry:
        """Return the entry of a key. Raises: EntryNotFound."""
        ...

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the inclusion proof of an entry in a tree. Raises: InvalidRequest."""
        ...

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the proof that one tree begins with another. Raises: InvalidRequest."""
        ...

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return a tile's hashes. Raises: EntryNotFound."""
        ...

    def entry_bundle(self, index: int, width: int) -> bytes:
        """Return the leaves of a level-0 tile. Raises: EntryNotFound."""
        ...

    def bundle(self, audit_id: str) -> bytes:
        """Return the Sigstore bundle of an audit's verdict. Raises: EntryNotFound."""
        ...

    def trust_root(self) -> bytes:
        """Return the trust root, JSON."""
        ...


class LogServicer(LogServiceServicer):
    """Answers the RPCs of LogService."""

    def __init__(self, log: LogApi, *, executor: Executor, watch_interval_s: float) -> None:
        self._log = log
        self._executor = executor
        self._watch_interval_s = watch_interval_s
        self._stopping = asyncio.Event()

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: object
    ) -> pb.GetCheckpointResponse:
        """Return the latest checkpoint. Raises: EntryNotFound before the first."""
        found = await self._in_thread(self._checkpoint, request.witnessed)
        return pb.GetCheckpointResponse(checkpoint=found)

    async def WatchCheckpoint(
        self, request: pb.WatchCheckpointRequest, context: object
    ) -> AsyncIterator[pb.WatchCheckpointResponse]:
        """Yield the latest checkpoint and each one after it. Raises: ServiceStopping."""
        seen: log_pb2.Checkpoint | None = None
        while True:
            found = await self._in_thread(self._checkpoint_if_any, request.witnessed)
            if found is not None and found != seen:
                seen = found
                yield pb.WatchCheckpointResponse(checkpoint=found)
            else:
                await self._pause()

    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: object
    ) -> pb.ListEntriesResponse:
        """Return one page of entries. Raises: InvalidRequest."""
        return await self._in_thread(self._list, request)

    async def GetEntry(self, request: pb.GetEntryRequest, context: object) -> pb.GetEntryResponse:
        """Return one entry. Raises: InvalidRequest, EntryNotFound."""
        return await self._in_thread(self._get, request)

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, context: object
    ) -> pb.GetInclusionProofResponse:
        """Return an inclusion proof. Raises: InvalidRequest, EntryNotFound."""
        return await self._in_thread(self._inclusion, request)

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: object
    ) -> pb.GetConsistencyProofResponse:
        """Return a consistency proof. Raises: InvalidRequest, EntryNotFound."""
        return await self._in_thread(self._consistency, request)

    async def GetTile(self, request: pb.GetTileRequest, context: object) -> pb.GetTileResponse:
        """Return a tile. Raises: InvalidRequest, EntryNotFound."""
        return await self._in_thread(self._tile, request)

    async def GetEntryBundle(
        self, request: pb.GetEntryBundleRequest, context: object
    ) -> pb.GetEntryBundleResponse:
        """Return the leaves below a tile. Raises: InvalidRequest, EntryNotFound."""
        return await self._in_thread(self._entry_bundle, request)

    async def GetVerdictBundle(
        self, request: pb.GetVerdictBundleRequest, context: object
    ) -> pb.GetVerdictBundleResponse:
        """Return the evidence of one verdict. Raises: InvalidRequest, EntryNotFound."""
        return await self._in_thread(self._verdict_bundle, request.audit_id)

    async def GetTrustRoot(
        self, request: pb.GetTrustRootRequest, context: object
    ) -> pb.GetTrustRootResponse:
        """Return the trust root."""
        return await self._in_thread(self._trust_root, request)

    def stop_watching(self) -> None:
        """End every watch that is under way; call it on the event loop."""
        self._stopping.set()

    async def _in_thread(self, work: Callable[[_Asked], _Answered], asked: _Asked) -> _Answered:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, asked)

    async def _pause(self) -> None:
        # The store is asked again and again: another process may be the one that appends.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._watch_interval_s)
            raise ServiceStopping("the service is shutting down; watch again once it is back")

    def _checkpoint(self, witnessed: bool) -> log_pb2.Checkpoint:
        return checkpoint_to_wire(self._log.checkpoint(witnessed=witnessed))

    def _checkpoint_if_any(self, witnessed: bool) -> log_pb2.Checkpoint | None:
        try:
            return self._checkpoint(witnessed)
        except EntryNotFound:
            return None

    def _list(self, request: pb.ListEntriesRequest) -> pb.ListEntriesResponse:
        query = EntryQuery(
            first_index=request.first_index,
            kinds=kinds_from_wire(request.kinds),
            with_envelopes=request.with_envelopes,
        )
        page_size = page_size_of(request.page_size)
        first = page_start(query, request.page_token)
        page, num_bytes = pb.ListEntriesResponse(), 0
        for entry in self._matching(query, first, page_size + 1):
            if len(page.entries) == page_size or num_bytes >= MAX_PAGE_BYTES:
                page.next_page_token = page_token(query, entry.log_index)
                break
            message = entry_to_wire(entry, with_envelope=query.with_envelopes)
            num_bytes += message.ByteSize()
            page.entries.append(message)
        return page

    def _matching(self, query: EntryQuery, first: int, limit: int) -> Iterator[LogEntry]:
        # Nothing is shown that no checkpoint covers: it could not be proven.
        checkpoint = self._checkpoint_if_any(witnessed=False)
        end = 0 if checkpoint is None else checkpoint.tree_size
        if not query.kinds:
            yield from self._log.entries(first, min(end, first + limit))
            return
        found = [self._log.of_kind(kind, first=first) for kind in query.kinds]
        for entry in heapq.merge(*found, key=lambda entry: entry.log_index):
            if entry.log_index >= end:
                return
            yield entry

    def _get(self, request: pb.GetEntryRequest) -> pb.GetEntryResponse:
        match request.WhichOneof("entry"):
            case "log_index":
                check_index("log_index", request.log_index)
                entry = self._log.entry(request.log_index)
            case "entry_key":
                check_entry_key(request.entry_key)
                entry = self._log.find(request.entry_key)
            case _:
                raise InvalidRequest.of("entry", "is missing; give log_index or entry_key")
        return pb.GetEntryResponse(entry=entry_to_wire(entry, with_envelope=True))

    def _inclusion(self, request: pb.GetInclusionProofRequest) -> pb.GetInclusionProofResponse:
        index, size = request.log_index, request.tree_size
        check_inclusion(index, size, witnessed=request.witnessed)
        checkpoint = None
        if not size:
            checkpoint = self._checkpoint(request.witnessed)
            size = checkpoint.tree_size
            if index >= size:
                raise EntryNotFound(
                    f"entry {index} is not below the checkpoint of {size} entries: try again later"
                )
        hashes = self._log.inclusion(index, size)
        return pb.GetInclusionProofResponse(
            proof=log_pb2.InclusionProof(log_index=index, tree_size=size, hashes=hashes),
            leaf_hash=self._log.entry(index).leaf_hash,
            checkpoint=checkpoint,
        )

    def _consistency(
        self, request: pb.GetConsistencyProofRequest
    ) -> pb.GetConsistencyProofResponse:
        old_size, new_size = request.old_size, request.new_size
        check_consistency(old_size, new_size)
        checkpoint = None
        if not new_size:
            checkpoint = self._checkpoint(False)
            new_size = checkpoint.tree_size
            check_consistency(old_size, new_size)
        hashes = self._log.consistency(old_size, new_size)
        return pb.GetConsistencyProofResponse(
            proof=log_pb2.ConsistencyProof(old_size=old_size, new_size=new_size, hashes=hashes),
            checkpoint=checkpoint,
        )

    def _tile(self, request: pb.GetTileRequest) -> pb.GetTileResponse:
        width = check_tile(request.level, request.index, request.width)
        return pb.GetTileResponse(tile=self._log.tile(request.level, request.index, width))

    def _entry_bundle(self, request: pb.GetEntryBundleRequest) -> pb.GetEntryBundleResponse:
        width = check_tile(0, request.index, request.width)
        bundle = self._log.entry_bundle(request.index, width)
        return pb.GetEntryBundleResponse(entry_bundle=bundle)

    def _verdict_bundle(self, audit_id: str) -> pb.GetVerdictBundleResponse:
        check_audit_id(audit_id)
        return pb.GetVerdictBundleResponse(
            bundle=self._log.bundle(audit_id), trust_root=self._log.trust_root()
        )

    def _trust_root(self, request: pb.GetTrustRootRequest) -> pb.GetTrustRootResponse:
        return pb.GetTrustRootResponse(trust_root=self._log.trust_root())
