"""What the auditor needs from the outside, as protocols.

`audit.app` alone picks the implementations.
"""

from collections.abc import Sequence
from typing import Protocol

from audit.billing_records import AccountKey, AccountPage, FoldedRequest, StoredAccount
from audit.findings import Growth, StreamKey
from audit.log_records import (
    Artifact,
    EntryKind,
    Erasure,
    LogBatch,
    LogEntry,
    LogSnapshot,
    Receipt,
    StoredCheckpoint,
    StoredTimestamp,
    TreeHead,
)
from audit.records import (
    AuditFilter,
    AuditPage,
    AuditRecord,
    AuditRequest,
    Claim,
    Examination,
    Job,
    Measurement,
    StoredStream,
    StreamPage,
)
from reference_runner.records import (
    Evidence,
    GenerationRequest,
    ReferenceInfo,
    ReplayBatch,
    Sampling,
    SeededDraws,
    Survey,
    TopLogprobs,
)


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


class ProbeReference(Reference, Protocol):
    """A reference that can also look for probes, and answer as an honest endpoint would."""

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        ...

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Return the text of token ids, special tokens left out."""
        ...

    def token_text(self, token_id: int) -> str:
        """Return one token as servers spell it in log-probabilities."""
        ...

    def generate(
        self, requests: Sequence[GenerationRequest], *, batch_size: int
    ) -> list[tuple[int, ...]]:
        """Return the drawn token ids of each request, in order. Raises: BadSequence."""
        ...

    def survey(self, token_ids: tuple[int, ...]) -> Survey:
        """Return how close the model's greedy choice is after each token. Raises: BadSequence."""
        ...

    def seeded_draws(
        self,
        prompt_token_ids: tuple[int, ...],
        sampling: Sampling,
        profile_id: str,
        seeds: Sequence[int],
    ) -> SeededDraws:
        """Return what each seed draws as the first token, and how closely. Raises: BadSequence."""
        ...

    def top_logprobs(
        self, prompt_token_ids: tuple[int, ...], output_token_ids: tuple[int, ...], k: int
    ) -> TopLogprobs:
        """Return the k likeliest tokens at each output position. Raises: BadSequence."""
        ...

    def rounded(self, kind: str) -> "ProbeReference":
        """Return a copy whose numbers are rounded, such as `int4-g32`. Raises: CheckpointError."""
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


class Ledger(Protocol):
    """Signs what the auditor says and appends it to the verdict log."""

    def announce(self, job: Job) -> Receipt:
        """Log that an audit is about to run; once only, however often it is tried.

        Raises: StorageError, LogForked.
        """
        ...

    def conclude(
        self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
    ) -> Receipt:
        """Sign and log a verdict and end its job, in one transaction with the provider's evidence.

        Raises: StreamMoved, StorageError, LogForked.
        """
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


class LogStore(Protocol):
    """Keeps the verdict log. Every method is one transaction, safe to call from several threads."""

    def snapshot(self, entry_keys: Sequence[str], tenants: Sequence[str]) -> LogSnapshot:
        """Return head, tenants' last entries and known keys as of one moment."""
        ...

    def commit(self, batch: LogBatch, *, recorded_at: str) -> None:
        """Append a batch, end its jobs and erase content: all of it or nothing, durably.

        The head moves only from `batch.previous`. Raises: LogMoved where it stands elsewhere;
        JobEndRefused naming the first audit that cannot end (StreamMoved, AuditNotFound,
        CorruptState as its cause).
        """
        ...

    def read_head(self) -> TreeHead:
        """Return the tree as of the last commit; size 0 before the first."""
        ...

    def read_leaf_hashes(self, first: int, end: int) -> tuple[bytes, ...]:
        """Return the leaf hashes of [first, end), fewer where the log is shorter."""
        ...

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return a stored tile's hashes; None where none is stored (see `LogBatch.tiles`)."""
        ...

    def read_entries(self, first: int, end: int) -> tuple[LogEntry, ...]:
        """Return the entries of [first, end) in order, fewer where the log is shorter."""
        ...

    def find_entry(self, entry_key: str) -> LogEntry | None:
        """Return the entry of a key; None where there is none."""
        ...

    def list_of_kind(self, kind: EntryKind, *, first: int, limit: int) -> tuple[LogEntry, ...]:
        """Return up to `limit` entries of a kind with index >= first, in order."""
        ...

    def read_artifact(self, digest: str) -> Artifact | None:
        """Return an artifact; None where it was never stored, or was erased."""
        ...

    def save_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint; one of the same size is replaced only by one that is witnessed."""
        ...

    def latest_checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint | None:
        """Return the largest checkpoint, or the largest witnessed one; None where none is."""
        ...

    def list_checkpoints(self, *, above_size: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        """Return up to `limit` checkpoints with size > above_size, smallest first."""
        ...

    def save_timestamp(self, timestamp: StoredTimestamp) -> None:
        """Store a time-stamp of a checkpoint."""
        ...

    def list_timestamps(self, *, first_size: int, limit: int) -> tuple[StoredTimestamp, ...]:
        """Return up to `limit` time-stamps of checkpoints with size >= first_size."""
        ...

    def count_erasable(self, erasure: Erasure) -> int:
        """Return how many entries' contents an erasure would erase."""
        ...


class BillingStore(Protocol):
    """Keeps billing evidence. Every method is one transaction, safe to call from several threads.

    An account's version is the number of its requests that were folded in.
    """

    def read_account(self, key: AccountKey) -> StoredAccount | None:
        """Return an account's evidence; None before its first request. Raises: CorruptState."""
        ...

    def read_account_by_id(self, tenant: str, finding_id: str) -> StoredAccount | None:
        """Return the evidence of a finding; None where the tenant has no such finding."""
        ...

    def find_request(
        self, tenant: str, account: str, provider: str, request_id: str
    ) -> FoldedRequest | None:
        """Return a request that was folded in; None where it is new."""
        ...

    def advance_account(self, account: StoredAccount, requests: Sequence[FoldedRequest]) -> None:
        """Replace an account's evidence by that with these requests; all of it or nothing.

        Raises: RequestConflict where a request_id was folded in with another digest; StreamMoved
        where one was with the same digest, or unless `account.version` less the number of requests
        is the stored version (0 before the first); CorruptState, InvalidRequest.
        """
        ...

    def list_accounts(
        self, tenant: str | None, *, page_size: int, cursor: str | None
    ) -> AccountPage:
        """Return one page, most recently updated first; of all tenants where none is named.

        Raises: InvalidRequest for a cursor that is not ours; CorruptState.
        """
        ...
