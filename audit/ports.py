"""What the auditor needs from the outside, as protocols.

`audit.app` alone picks the implementations.
"""

from typing import Protocol

from audit.findings import Growth, StreamKey
from audit.records import (
    AuditFilter,
    AuditPage,
    AuditRecord,
    AuditRequest,
    Claim,
    Examination,
    Job,
    Measurement,
    SignedVerdict,
    StoredStream,
    StreamPage,
    Verdict,
)
from reference_runner.records import Evidence, ReferenceInfo, ReplayBatch


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> str:
        """Return the current time, RFC 3339 in UTC with microseconds and `Z`."""
        ...


class NewId(Protocol):
    """Makes fresh ids."""

    def __call__(self) -> str:
        """Return an id that was never returned before."""
        ...


class Reference(Protocol):
    """A loaded reference model with its tokenizer."""

    @property
    def info(self) -> ReferenceInfo:
        """What was loaded."""
        ...

    @property
    def generation_defaults(self) -> dict[str, float]:
        """Sampling defaults of the checkpoint's generation_config.json, which servers apply."""
        ...

    def tokenize_text(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a completion prompt, with the tokenizer's special tokens."""
        ...

    def tokenize_messages(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Return the token ids of a chat prompt.

        Raises: BadSequence without a usable chat template.
        """
        ...

    def tokenize_output(self, text: str) -> tuple[int, ...] | None:
        """Return the token ids of an answer, or None where they do not decode to its text."""
        ...

    def replay(self, batch: ReplayBatch) -> tuple[tuple[Evidence, ...], ...]:
        """Return for each sequence one Evidence per candidate profile. Raises: BadSequence."""
        ...


class ReferenceLibrary(Protocol):
    """Finds the reference model for a claim."""

    def open(self, claim: Claim) -> Reference:
        """Return the reference at the claimed precision. Raises: CannotJudge."""
        ...


class Judge(Protocol):
    """Turns evidence into a verdict."""

    def __call__(self, measured: Measurement) -> Examination:
        """Return the verdict on one replayed exchange, with the evidence it rests on."""
        ...


class Accumulator(Protocol):
    """Adds up the evidence about one provider over its exchanges."""

    def key(self, request: AuditRequest, examination: Examination) -> StreamKey | None:
        """Return whose evidence an exchange adds to; None where nothing accumulates."""
        ...

    def fold(self, previous: StoredStream | None, key: StreamKey, growth: Growth) -> StoredStream:
        """Return the evidence with one more exchange, at the version after `previous`.

        The first version is 1. Raises: CorruptState where `previous` cannot be read.
        """
        ...


class VerdictSigner(Protocol):
    """Signs verdicts."""

    def __call__(self, job: Job, verdict: Verdict) -> SignedVerdict:
        """Return the verdict in its signed envelope."""
        ...


class AuditStore(Protocol):
    """Keeps audits. Every method is one transaction, and safe to call from several threads."""

    def submit(self, request: AuditRequest, request_digest: str) -> tuple[AuditRecord, bool]:
        """Store an audit durably; return (audit, True), or (the earlier one, False) for a known id.

        Raises: RequestConflict where the request_id was used for another digest.
        """
        ...

    def get(self, audit_id: str) -> AuditRecord:
        """Return one audit. Raises: AuditNotFound."""
        ...

    def list(self, where: AuditFilter, *, page_size: int, cursor: str | None) -> AuditPage:
        """Return one page, newest first. Raises: InvalidRequest for a cursor that is not ours."""
        ...

    def claim(self) -> Job | None:
        """Take the oldest QUEUED audit, mark it RUNNING and count the attempt.

        None when there is none.
        """
        ...

    def complete(self, job: Job, signed: SignedVerdict, stream: StoredStream | None = None) -> None:
        """Store verdict, envelope and provider evidence and end the job, in one transaction.

        A second call changes nothing. Raises: StreamMoved, with nothing stored, unless `stream` is
        the version after the stored one; CorruptState.
        """
        ...

    def read_stream(self, key: StreamKey) -> StoredStream | None:
        """Return a provider's evidence; None before its first exchange. Raises: CorruptState."""
        ...

    def list_streams(self, *, page_size: int, cursor: str | None) -> StreamPage:
        """Return one page of providers, most recently updated first.

        Raises: InvalidRequest for a cursor that is not ours; CorruptState.
        """
        ...

    def release(self, job: Job, *, uncounted: bool = False) -> None:
        """Put a RUNNING audit back in the queue; `uncounted` gives its attempt back too."""
        ...

    def requeue_unfinished(self) -> int:
        """Put RUNNING audits of a stopped process back in the queue; return how many."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...
