"""Checkpoints: what the log signs and publishes, and what it refuses to go on from.

A checkpoint is signed only over a committed tree, stored and anchored before anybody is told, and
never inconsistent with one that was signed before.
"""

from dataclasses import dataclass

from audit.errors import LogForked
from audit.ledger.anchor import Anchor, require_same_root
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.merkle import root_at
from audit.ledger.notes import NoteSigner, sign_note
from audit.ledger.tiles import hash_reader
from audit.log_records import StoredCheckpoint, TreeHead
from audit.ports import Clock, LogStore


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """The log's name and keys; the first signer's line is the one that verifiers ask for."""

    origin: str
    """A bare host name, as Sigstore's verifiers expect it."""
    signers: tuple[NoteSigner, ...]


class CheckpointIssuer:
    """Signs checkpoints of one log; used by one thread at a time."""

    def __init__(
        self, store: LogStore, identity: LogIdentity, anchor: Anchor, clock: Clock
    ) -> None:
        self._store = store
        self._identity = identity
        self._anchor = anchor
        self._clock = clock
        self._last: TreeHead | None = None
        self._published_size = -1
        self._last_time = ""

    def open(self) -> None:
        """Compare database, last checkpoint and anchor, and publish what is not yet published.

        Raises: LogForked where the database was restored or replaced, or the clock runs far behind.
        """
        head, anchored = self._store.read_head(), self._anchor.read()
        if anchored is None and head.size:
            raise LogForked(
                f"the log has {head.size} entries, but its anchor {self._anchor.path} is missing: "
                "put it back, or, if this database is known to be the newest, run "
                "`inference-audit upkeep adopt`"
            )
        if anchored is not None:
            if anchored.origin != self._identity.origin:
                raise LogForked(
                    f"the anchor {self._anchor.path} is of the log {anchored.origin!r}, not of "
                    f"{self._identity.origin!r}: name the right anchor or origin"
                )
            self._require_contains(head, anchored, f"the anchor {self._anchor.path}")
        stored = self._store.latest_checkpoint()
        if stored is not None:
            self._last_time = stored.issued_at
            held = Checkpoint(origin=self._identity.origin, size=stored.size, root=stored.root)
            self._require_contains(head, held, "the last checkpoint")
        self.cover(head)

    def anchored(self) -> Checkpoint | None:
        """Return what the anchor names now; to be read before the head that it is held against.

        Raises: LogForked, ConfigurationError.
        """
        return self._anchor.read()

    def require_no_rollback(self, head: TreeHead, anchored: Checkpoint | None) -> None:
        """Pass where the tree still contains what this process, or any other, has published.

        The anchor tells of processes beside this one: without it, one that has been idle would go
        on from a restored database. Raises: LogForked.
        """
        last = self._last
        if last is not None and head != last:
            held = Checkpoint(origin=self._identity.origin, size=last.size, root=last.root)
            where = "the checkpoint that this process published last"
            self._require_contains(head, held, where)
        if anchored is not None and (last is None or anchored.size > last.size):
            self._require_contains(head, anchored, f"the anchor {self._anchor.path}")
        self._last = head

    def cover(self, head: TreeHead) -> None:
        """Publish a checkpoint of a committed tree, unless one is published already.

        Raises: LogForked, StorageError, ConfigurationError.
        """
        if head.size <= self._published_size:
            return
        checkpoint = Checkpoint(origin=self._identity.origin, size=head.size, root=head.root)
        note = sign_note(format_checkpoint_body(checkpoint), self._identity.signers)
        self._store.save_checkpoint(
            StoredCheckpoint(size=head.size, root=head.root, note=note, issued_at=self._now())
        )
        self._anchor.advance(checkpoint, note)
        self._last, self._published_size = head, head.size

    def _now(self) -> str:
        # RFC 3339 in UTC sorts as text; a clock that was set back must not make checkpoints older.
        self._last_time = max(self._last_time, self._clock())
        return self._last_time

    def _require_contains(self, head: TreeHead, held: Checkpoint, where: str) -> None:
        if head.size < held.size:
            raise LogForked(
                f"the database holds {head.size} entries, but {where} names {held.size}: it was "
                "restored from an older copy. Receipts for the missing entries are in other hands; "
                "restore the newest copy, or start a new log with another origin and key"
            )
        root = _root_of(self._store, held.size, head)
        require_same_root(held, root, where)


def _root_of(store: LogStore, size: int, head: TreeHead) -> bytes:
    if size == head.size:
        return head.root
    return root_at(size, hash_reader(head.size, store.read_tile, store.read_leaf_hashes))
