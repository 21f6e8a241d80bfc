"""The audits of the in-memory twins: `storage.memory` keeps them, `storage.memory_log` ends them.

Every function here is called with the lock held, and changes nothing before all of it can be done.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from audit.errors import CorruptState, JobEndRefused, StreamMoved
from audit.log_records import JobEnd
from audit.records import AuditRecord, AuditState, StoredStream
from storage.rows import audit_not_found, stream_moved
from storage.serialise import to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An audit with what its record does not tell."""

    ordinal: int
    attempt: int
    tenant: str
    record: AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """A provider's evidence and when it was updated."""

    updated_at: str
    stream: StoredStream

    @property
    def place(self) -> tuple[str, str]:
        """What lists are ordered by."""
        return self.updated_at, self.stream.finding.stream_id


@dataclass(slots=True, kw_only=True)
class Audits:
    """Audits by id, oldest first, and provider evidence by stream id."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    entries: dict[str, AuditEntry] = field(default_factory=dict)
    streams: dict[str, StreamEntry] = field(default_factory=dict)

    def end(self, ends: Sequence[JobEnd], now: str) -> tuple[JobEnd, ...]:
        """End jobs and advance their streams, all or none; return those that were not DONE yet.

        Raises: JobEndRefused naming the first that cannot end; StorageError.
        """
        entries, streams = dict(self.entries), dict(self.streams)
        fresh: list[JobEnd] = []
        for end in ends:
            audit_id = end.job.audit_id
            entry = entries.get(audit_id)
            if entry is None:
                raise JobEndRefused(audit_id, audit_not_found(audit_id))
            if entry.record.state is AuditState.DONE:
                continue
            if end.stream is not None:
                _advance(streams, end, end.stream, now)
            to_json(end.signed.verdict)
            record = replace(
                entry.record, state=AuditState.DONE, finished_at=now, signed=end.signed
            )
            entries[audit_id] = replace(entry, record=record)
            fresh.append(end)
        self.entries, self.streams = entries, streams
        return tuple(fresh)

    def drop_done(self, audit_ids: Collection[str]) -> None:
        """Forget audits that are DONE."""
        for audit_id in audit_ids:
            entry = self.entries.get(audit_id)
            if entry is not None and entry.record.state is AuditState.DONE:
                del self.entries[audit_id]


def _advance(streams: dict[str, StreamEntry], end: JobEnd, stream: StoredStream, now: str) -> None:
    try:
        _require_next(streams.get(stream.finding.stream_id), stream)
    except (StreamMoved, CorruptState) as error:
        raise JobEndRefused(end.job.audit_id, error) from error
    to_json(stream.finding)
    streams[stream.finding.stream_id] = StreamEntry(updated_at=now, stream=stream)


def _require_next(stored: StreamEntry | None, stream: StoredStream) -> None:
    stream_id = stream.finding.stream_id
    if stored is not None and stored.stream.key != stream.key:
        raise CorruptState.of(stream_id, "it is stored under another key")
    if stream.version != (1 if stored is None else stored.stream.version + 1):
        raise stream_moved(stream_id)
