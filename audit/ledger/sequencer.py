"""The one thread that appends to the verdict log: group commit, then checkpoint, then acknowledge.

Whoever has something to log hands over a draft and waits for its receipt; meanwhile further drafts
gather, and all of them go into the next transaction together. The order is Sunlight's: commit,
sign what is durable, publish, acknowledge. The head moves by compare-and-swap, so that two
sequencers on one database slow each other down and break nothing. After a commit whose outcome is
unknown nothing is assumed: the database is read again, and entries are known by their key.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from audit.errors import AuditError, JobEndRefused, LogForked, LogMoved, StorageError
from audit.ledger.issuer import CheckpointIssuer
from audit.ledger.merkle import grow
from audit.ledger.tiles import TileEdge
from audit.log_records import (
    ChainLink,
    EntryKind,
    Erasure,
    JobEnd,
    LogBatch,
    LogSnapshot,
    Receipt,
    SealedEntry,
    TenantHead,
    TreeHead,
)
from audit.ports import Clock, LogStore

#: Tessera's and Sunlight's defaults: a batch fills one tile, and callers are held back early.
MAX_BATCH = 256
MAX_WAITING = 4096

#: From so many waiting drafts on, a batch is closed only once nothing came for a moment.
BUSY_BATCH = 16
QUIET_S = 0.002

#: Whenever another sequencer is faster, one batch of its has gone in; so many in a row are a fault.
MAX_MOVES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Something to be logged; it is signed once its place in the tenant's chain is known."""

    kind: EntryKind
    tenant: str
    entry_key: str
    seal: Callable[[ChainLink], SealedEntry]
    end: Callable[[SealedEntry], JobEnd] | None = None
    """What ends with the entry, in the same transaction."""
    erasure: Erasure | None = None


@dataclass(slots=True, kw_only=True)
class _Waiting:
    draft: Draft
    receipt: "Future[Receipt]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The log as this process left it; where that is not how it stands, no commit succeeds."""

    head: TreeHead
    edge: TileEdge
    tenants: dict[str, TenantHead]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    batch: LogBatch
    state: _State
    receipts: dict[str, Receipt]


class Sequencer:
    """Appends drafts in the order in which they come; safe to call from any thread."""

    def __init__(self, store: LogStore, issuer: CheckpointIssuer, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(maxsize=MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._state: _State | None = None
        self._fork: LogForked | None = None

    def start(self) -> None:
        """Start to append. Raises: LogForked, ConfigurationError where the log must not go on."""
        self._issuer.open()
        self._thread = threading.Thread(target=self._run, name="log-sequencer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Append what waits, then stop; drafts that come later are refused."""
        self._closed.set()
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
        self._refuse_rest()

    def halt(self, fork: LogForked) -> None:
        """Append nothing any more: somebody else has seen another history of this log."""
        self._fork = fork

    def append(self, draft: Draft) -> "Future[Receipt]":
        """Hand over a draft; its receipt is there once the entry is durable and published.

        A key that the log holds already gives the earlier receipt, and nothing is stored. The
        receipt's errors: StorageError, where the same draft may be handed over again; LogForked;
        what ended the job's end (StreamMoved, AuditNotFound, CorruptState).
        """
        waiting = _Waiting(draft=draft)
        if self._closed.is_set():
            raise StorageError("the log is closing: hand the entry over again after the restart")
        self._waiting.put(waiting)
        if self._closed.is_set():
            # The thread may have ended in between; nobody else would answer.
            self._refuse_rest()
        return waiting.receipt

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            first = self._waiting.get()
            batch = [] if first is None else [first]
            is_closing = first is None
            with suppress(queue.Empty):
                while len(batch) < MAX_BATCH:
                    # Where many wait, those that were just answered are about to come again: one
                    # larger batch costs less than two. A lone caller is never kept waiting.
                    is_busy = len(batch) >= BUSY_BATCH
                    more = self._waiting.get(is_busy, timeout=QUIET_S if is_busy else None)
                    if more is None:
                        is_closing = True
                    else:
                        batch.append(more)
            if batch:
                self._process(batch)

    def _refuse_rest(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        with suppress(queue.Empty):
            while True:
                waiting = self._waiting.get_nowait()
                if waiting is not None and not waiting.receipt.done():
                    waiting.receipt.set_exception(StorageError("the log was closed: try again"))

    def _process(self, batch: list[_Waiting]) -> None:
        """Answer every draft of a batch, one way or the other."""
        try:
            if self._fork is not None:
                raise self._fork
            self._append_all(batch)
        except LogForked as error:
            self._fork = error
            _fail(batch, error)
        except Exception as error:
            # What the failed step left behind is unknown: nothing remembered of it counts.
            self._state = None
            if isinstance(error, AuditError) or len(batch) == 1:
                _fail(batch, error)
                return
            # A fault of ours in one draft; the others must not suffer from it.
            for waiting in batch:
                self._process([waiting])

    def _append_all(self, batch: list[_Waiting]) -> None:
        for _ in range(MAX_MOVES):
            open_drafts = [waiting for waiting in batch if not waiting.receipt.done()]
            if not open_drafts:
                return
            was_remembered = self._state is not None
            try:
                self._append_once(open_drafts)
            except LogMoved:
                self._state = None
            except JobEndRefused as refused:
                _fail([w for w in open_drafts if _ends(w, refused.audit_id)], refused.cause)
            except StorageError:
                # A key may be in the log already, which only a fresh look can tell.
                if not was_remembered:
                    raise
                self._state = None
        _fail(batch, StorageError("other sequencers were always faster: use fewer on one log"))

    def _append_once(self, waiting: Sequence[_Waiting]) -> None:
        drafts = {w.draft.entry_key: w.draft for w in waiting}
        anchored = self._issuer.anchored()
        if self._state is not None and anchored is not None:
            if anchored.size > self._state.head.size:
                # another process has appended, or this database was replaced: look anew
                self._state = None
        snapshot = self._snapshot(drafts)
        known = dict(snapshot.known)
        head, receipts = snapshot.head, known
        fresh = [draft for key, draft in drafts.items() if key not in known]
        self._issuer.require_no_rollback(head, anchored)
        if fresh:
            built = self._build(snapshot, fresh)
            self._store.commit(built.batch, recorded_at=self._clock())
            self._state = built.state
            head, receipts = built.batch.head, known | built.receipts
        self._issuer.cover(head)
        for one in waiting:
            one.receipt.set_result(receipts[one.draft.entry_key])

    def _snapshot(self, drafts: Mapping[str, Draft]) -> LogSnapshot:
        """Return what the database holds; what this process left behind spares asking it.

        The commit itself finds out whether that still stands: the head moves only from there, and
        a key goes in only once.
        """
        tenants = sorted({draft.tenant for draft in drafts.values()})
        state = self._state
        if state is None or any(tenant not in state.tenants for tenant in tenants):
            self._state = None
            return self._store.snapshot(list(drafts), tenants)
        heads = tuple(state.tenants[tenant] for tenant in tenants)
        return LogSnapshot(head=state.head, tenants=heads, known=())

    def _build(self, snapshot: LogSnapshot, drafts: Sequence[Draft]) -> _Built:
        tenants = {head.tenant: head for head in snapshot.tenants}
        entries, ends, receipts = list[SealedEntry](), list[JobEnd](), dict[str, Receipt]()
        for draft in drafts:
            sealed = draft.seal(_next_link(draft.tenant, tenants.get(draft.tenant)))
            tenants[draft.tenant] = TenantHead(
                tenant=draft.tenant,
                sequence=sealed.tenant_sequence,
                entry_digest=sealed.entry_digest,
            )
            receipts[draft.entry_key] = Receipt(
                log_index=snapshot.head.size + len(entries), entry_digest=sealed.entry_digest
            )
            entries.append(sealed)
            if draft.end is not None:
                ends.append(draft.end(sealed))
        leaves = [entry.leaf_hash for entry in entries]
        edge, tiles = self._edge_at(snapshot.head).grown(leaves)
        batch = LogBatch(
            previous=snapshot.head,
            head=grow(snapshot.head, leaves),
            entries=tuple(entries),
            tiles=tiles,
            job_ends=tuple(ends),
            erasures=tuple(d.erasure for d in drafts if d.erasure is not None),
        )
        known_tenants = {} if self._state is None else self._state.tenants
        state = _State(head=batch.head, edge=edge, tenants=known_tenants | tenants)
        return _Built(batch=batch, state=state, receipts=receipts)

    def _edge_at(self, head: TreeHead) -> TileEdge:
        if self._state is not None:
            return self._state.edge
        partial = self._store.read_leaf_hashes(head.size - head.size % 256, head.size)
        return TileEdge.load(head.size, partial, self._store.read_tile)


def _next_link(tenant: str, last: TenantHead | None) -> ChainLink:
    if last is None:
        return ChainLink(tenant=tenant, sequence=1, previous_digest=None)
    return ChainLink(tenant=tenant, sequence=last.sequence + 1, previous_digest=last.entry_digest)


def _ends(waiting: _Waiting, audit_id: str) -> bool:
    draft = waiting.draft
    return draft.end is not None and draft.entry_key == f"{EntryKind.VERDICT}:{audit_id}"


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.receipt.done():
            one.receipt.set_exception(error)
