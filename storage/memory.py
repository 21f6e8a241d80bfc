"""The in-memory twin of `storage.store`: the same port in plain Python, to specify and to test.

One conformance suite runs over both. Nothing survives the process, so the service never uses it.
"""

import itertools
from dataclasses import replace

from audit.errors import AuditNotFound
from audit.findings import StreamKey
from audit.log_records import DEFAULT_TENANT
from audit.ports import Clock, NewId
from audit.records import (
    AuditFilter,
    AuditPage,
    AuditRecord,
    AuditRequest,
    AuditState,
    Job,
    StoredStream,
    StreamPage,
)
from storage.cursor import (
    check_page_size,
    decode_cursor,
    decode_stream_cursor,
    encode_cursor,
    encode_stream_cursor,
)
from storage.memory_audits import AuditEntry, Audits
from storage.memory_log import InMemoryLogStore
from storage.rows import require_same_digest


class InMemoryAuditStore:
    """Keeps audits in a dictionary, oldest first; safe to call from several threads."""

    def __init__(self, *, clock: Clock, new_id: NewId, tenant: str = DEFAULT_TENANT) -> None:
        self._clock = clock
        self._new_id = new_id
        self._tenant = tenant
        self._ordinals = itertools.count(1)
        self._audits = Audits()
        self._log = InMemoryLogStore(self._audits)

    @property
    def log(self) -> InMemoryLogStore:
        """The verdict log beside the audits."""
        return self._log

    def submit(self, request: AuditRequest, request_digest: str) -> tuple[AuditRecord, bool]:
        """Keep a new audit and return (audit, True), or (the earlier one, False).

        Raises: RequestConflict where the request_id was used for another digest.
        """
        with self._audits.lock:
            for entry in self._audits.entries.values():
                if entry.record.request.request_id == request.request_id:
                    require_same_digest(
                        request.request_id, entry.record.request_digest, request_digest
                    )
                    return entry.record, False
            record = AuditRecord(
                audit_id=self._new_id(),
                request=request,
                request_digest=request_digest,
                state=AuditState.QUEUED,
                submitted_at=self._clock(),
            )
            entry = AuditEntry(
                ordinal=next(self._ordinals), attempt=0, tenant=self._tenant, record=record
            )
            self._audits.entries[record.audit_id] = entry
            return record, True

    def get(self, audit_id: str) -> AuditRecord:
        """Return one audit. Raises: AuditNotFound."""
        with self._audits.lock:
            return self._entry(audit_id).record

    def list(self, where: AuditFilter, *, page_size: int, cursor: str | None) -> AuditPage:
        """Return one page, newest first. Raises: InvalidRequest for a bad cursor or size."""
        check_page_size(page_size)
        below = None if cursor is None else decode_cursor(cursor, where)
        with self._audits.lock:
            found = [
                entry
                for entry in reversed(self._audits.entries.values())
                if (below is None or entry.ordinal < below) and _matches(entry.record, where)
            ]
        page, has_more = found[:page_size], len(found) > page_size
        return AuditPage(
            audits=tuple(entry.record for entry in page),
            next_cursor=encode_cursor(page[-1].ordinal, where) if has_more else None,
        )

    def claim(self) -> Job | None:
        """Take the oldest QUEUED audit, mark it RUNNING and count the attempt; None without one."""
        with self._audits.lock:
            for entry in self._audits.entries.values():
                if entry.record.state is AuditState.QUEUED:
                    running = replace(entry.record, state=AuditState.RUNNING)
                    taken = replace(entry, attempt=entry.attempt + 1, record=running)
                    self._audits.entries[running.audit_id] = taken
                    return Job(
                        audit_id=running.audit_id,
                        request=running.request,
                        request_digest=running.request_digest,
                        attempt=taken.attempt,
                        tenant=taken.tenant,
                    )
            return None

    def read_stream(self, key: StreamKey) -> StoredStream | None:
        """Return a provider's evidence; None before its first exchange."""
        with self._audits.lock:
            streams = (entry.stream for entry in self._audits.streams.values())
            return next((stream for stream in streams if stream.key == key), None)

    def list_streams(self, *, page_size: int, cursor: str | None) -> StreamPage:
        """Return one page of providers, most recently updated first.

        Raises: InvalidRequest for a bad cursor or size.
        """
        check_page_size(page_size)
        below = None if cursor is None else decode_stream_cursor(cursor)
        with self._audits.lock:
            entries = sorted(
                self._audits.streams.values(), key=lambda entry: entry.place, reverse=True
            )
        found = [entry for entry in entries if below is None or entry.place < below]
        page, has_more = found[:page_size], len(found) > page_size
        return StreamPage(
            streams=tuple(entry.stream for entry in page),
            next_cursor=encode_stream_cursor(*page[-1].place) if has_more else None,
        )

    def release(self, job: Job, *, uncounted: bool = False) -> None:
        """Put a RUNNING audit back in the queue; one that ended or was taken anew stays."""
        with self._audits.lock:
            entry = self._audits.entries.get(job.audit_id)
            if entry is not None and entry.attempt == job.attempt and self._requeue(entry):
                queued = self._audits.entries[job.audit_id]
                self._audits.entries[job.audit_id] = replace(
                    queued, attempt=job.attempt - uncounted
                )

    def requeue_unfinished(self) -> int:
        """Put RUNNING audits back in the queue; return how many."""
        with self._audits.lock:
            return sum(self._requeue(entry) for entry in list(self._audits.entries.values()))

    def close(self) -> None:
        """Do nothing: there is no database to release."""

    def _requeue(self, entry: AuditEntry) -> bool:
        if entry.record.state is not AuditState.RUNNING:
            return False
        queued = replace(entry.record, state=AuditState.QUEUED)
        self._audits.entries[queued.audit_id] = replace(entry, record=queued)
        return True

    def _entry(self, audit_id: str) -> AuditEntry:
        if audit_id not in self._audits.entries:
            raise AuditNotFound(f"no audit {audit_id!r}: check the id, or list the audits")
        return self._audits.entries[audit_id]


def _matches(record: AuditRecord, where: AuditFilter) -> bool:
    outcome = None if record.signed is None else record.signed.verdict.outcome
    return (
        where.outcome in (None, outcome)
        and where.state in (None, record.state)
        and where.model in (None, record.request.claim.model)
    )
