"""Takes new checkpoints to the witnesses and the time-stamp authority, beside the service.

What fails here is tried again at the next turn; it never holds up an audit. A quorum that is not
met shows in reports and in `LogService`, which ask for witnessed checkpoints.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from audit.log_records import StoredCheckpoint, StoredTimestamp
from audit.ports import Clock, LogStore

_log = logging.getLogger(__name__)

#: Returns the note with the witnesses' lines, and whether their quorum is met. Raises LogForked
#: where a witness has seen more of the log than there is.
Witness = Callable[[StoredCheckpoint], tuple[bytes, bool]]
#: Returns an RFC 3161 response over a note.
Stamp = Callable[[bytes], bytes]


class Publisher:
    """Takes the newest checkpoint further, one turn at a time."""

    def __init__(
        self,
        store: LogStore,
        clock: Clock,
        *,
        witness: Witness | None = None,
        stamp: Stamp | None = None,
        authority: str = "",
        stamp_interval_s: float = 3600.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._witness = witness
        self._stamp = stamp
        self._authority = authority
        self._stamp_interval_s = stamp_interval_s
        self._stamped_at: str | None = None

    def turn(self) -> None:
        """Ask witnesses and authority once, where it is time to. Raises: AuditError."""
        latest = self._store.latest_checkpoint()
        if latest is None:
            return
        if self._witness is not None and self._is_due(latest):
            note, is_met = self._witness(latest)
            if is_met:
                self._store.save_checkpoint(
                    StoredCheckpoint(
                        size=latest.size,
                        root=latest.root,
                        note=note,
                        issued_at=self._clock(),
                        is_witnessed=True,
                    )
                )
            else:
                _log.warning("checkpoint %d: the witnesses' quorum is not met", latest.size)
        if self._stamp is not None and self._is_unstamped(latest):
            self._store.save_timestamp(
                StoredTimestamp(
                    size=latest.size,
                    authority=self._authority,
                    response=self._stamp(latest.note),
                    obtained_at=self._clock(),
                )
            )
            self._stamped_at = self._clock()

    def _is_due(self, latest: StoredCheckpoint) -> bool:
        # An unchanged tree is not witnessed anew: how early it was seen is what counts later.
        witnessed = self._store.latest_checkpoint(witnessed=True)
        return witnessed is None or witnessed.size < latest.size

    def _is_unstamped(self, latest: StoredCheckpoint) -> bool:
        if self._store.list_timestamps(first_size=latest.size, limit=1):
            return False
        # After a restart the first tree is stamped at once.
        is_old = _elapsed_s(self._stamped_at, self._clock()) if self._stamped_at else None
        return is_old is None or is_old >= self._stamp_interval_s


def _elapsed_s(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
