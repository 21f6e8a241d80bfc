"""The one thread that appends to the verdict log: group commit, then checkpoint, then acknowledge.

Whoever has something to log hands over a draft and waits for its receipt; meanwhile further drafts
gather, and all of them go into the next transaction together. The order is Sunlight's: commit,
sign what is durable, publish, acknowledge. The head moves by compare-and-swap, so that two
sequencers on one database slow each other down and break nothing. After a commit whose outcome is
unknown nothing is assumed: the database is read again, and entries are known by their key.
"""

import queue
import threading
from collections.abc import Callable, Sequence
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
class _Built:
    batch: LogBatch
    edge: TileEdge
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
        self._edge: TileEdge | None = None
        self._edge_size = -1
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

        A key that the log holds already gives the earlier receipt, and nothing is signed. The
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
            self._edge = None
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
            try:
                self._append_once(open_drafts)
            except LogMoved:
                self._edge = None
            except JobEndRefused as refused:
                _fail([w for w in open_drafts if _ends(w, refused.audit_id)], refused.cause)
        _fail(batch, StorageError("other sequencers were always faster: use fewer on one log"))

    def _append_once(self, waiting: Sequence[_Waiting]) -> None:
        drafts = {w.draft.entry_key: w.draft for w in waiting}
        tenants = sorted({draft.tenant for draft in drafts.values()})
        anchored = self._issuer.anchored()
        snapshot = self._store.snapshot(list(drafts), tenants)
        known = dict(snapshot.known)
        head, receipts = snapshot.head, known
        fresh = [draft for key, draft in drafts.items() if key not in known]
        self._issuer.require_no_rollback(head, anchored)
        if fresh:
            built = self._build(snapshot, fresh)
            self._store.commit(built.batch, recorded_at=self._clock())
            self._edge, self._edge_size = built.edge, built.batch.head.size
            head, receipts = built.batch.head, known | built.receipts
        self._issuer.cover(head)
        for one in waiting:
            one.receipt.set_result(receipts[one.draft.entry_key])

    def _build(self, snapshot: LogSnapshot, drafts: Sequence[Draft]) -> _Built:
        links = {t.tenant: (t.sequence, t.entry_digest) for t in snapshot.tenants}
        entries, ends, receipts = list[SealedEntry](), list[JobEnd](), dict[str, Receipt]()
        for draft in drafts:
            sequence, digest = links.get(draft.tenant, (0, None))
            link = ChainLink(tenant=draft.tenant, sequence=sequence + 1, previous_digest=digest)
            sealed = draft.seal(link)
            links[draft.tenant] = (link.sequence, sealed.entry_digest)
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
        return _Built(batch=batch, edge=edge, receipts=receipts)

    def _edge_at(self, head: TreeHead) -> TileEdge:
        if self._edge is None or self._edge_size != head.size:
            partial = self._store.read_leaf_hashes(head.size - head.size % 256, head.size)
            self._edge = TileEdge.load(head.size, partial, self._store.read_tile)
            self._edge_size = head.size
        return self._edge


def _ends(waiting: _Waiting, audit_id: str) -> bool:
    draft = waiting.draft
    return draft.end is not None and draft.entry_key == f"{EntryKind.VERDICT}:{audit_id}"


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.receipt.done():
            one.receipt.set_exception(error)
