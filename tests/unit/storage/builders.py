"""Small requests, verdicts, entries and batches for tests; no file or clock is touched here."""

import hashlib
import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from audit.errors import JobEndRefused, LogMoved
from audit.findings import NoiseEstimate, ProviderFinding, StreamKey
from audit.ledger.merkle import grow, leaf_hash
from audit.log_records import (
    Artifact,
    EntryKind,
    Erasure,
    JobEnd,
    LogBatch,
    SealedEntry,
    Tile,
)
from audit.ports import AuditStore, LogStore
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Job,
    Outcome,
    Output,
    Prompt,
    Reason,
    SamplingRequest,
    SignedVerdict,
    StoredStream,
    Verdict,
)


class LoggedStore(AuditStore, Protocol):
    """A store of audits with the verdict log beside it."""

    @property
    def log(self) -> LogStore: ...


class StepClock:
    """A clock that moves one microsecond at each look; safe to use from several threads."""

    def __init__(self, first: int = 0) -> None:
        self._steps = itertools.count(first)
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            return f"2026-01-02T03:04:05.{next(self._steps):06d}Z"


class CountingIds:
    """Ids that count from 1; safe to use from several threads."""

    def __init__(self, prefix: str = "audit") -> None:
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            return f"{self._prefix}-{next(self._numbers)}"


def a_request(request_id: str, *, model: str | None = "tiny") -> AuditRequest:
    exchange = Exchange(
        prompt=Prompt(token_ids=(1, 2, 3)),
        output=Output(token_ids=(4, 5), finish_reason="length"),
        sampling=SamplingRequest(temperature=0.7, seed=2**63 - 1),
    )
    return AuditRequest(request_id=request_id, exchange=exchange, claim=Claim(model=model))


def a_digest(name: str) -> str:
    return "sha256:" + name.encode().hex().ljust(64, "0")


def a_signed(outcome: Outcome = Outcome.PASS, *, mark: str = "first") -> SignedVerdict:
    reasons = () if outcome is Outcome.PASS else (Reason.TOKEN_DIVERGENCE,)
    verdict = Verdict(outcome=outcome, reasons=reasons, details=(mark,), num_tokens=2)
    envelope = f"{mark} \0\xff".encode("latin-1")
    return SignedVerdict(verdict=verdict, envelope=envelope, key_id="ab" * 32)


def a_job(audit_id: str) -> Job:
    return Job(audit_id=audit_id, request=a_request("r"), request_digest=a_digest("r"), attempt=1)


def a_key(provider: str = "acme", *, endpoint: str = "https://acme.example/v1") -> StreamKey:
    return StreamKey(
        provider=provider,
        endpoint=endpoint,
        model="tiny",
        model_digest="sha256:" + "11" * 32,
        calibration_id="calibration-1",
        policy_id="policy-1",
    )


def a_stream(version: int, key: StreamKey | None = None) -> StoredStream:
    """Return the evidence after so many exchanges; its id stands for the key's digest."""
    key = key or a_key()
    finding = ProviderFinding(
        stream_id=f"sha256:{key.provider}",
        outcome="PASS",
        statement="nothing was found",
        num_exchanges=version,
        num_tokens=10 * version,
        log10_e_value=0.1 * version,
        log10_threshold=3.0,
        failed_at_exchange=None,
        substituted_share_low=0.0,
        num_tells=0,
        sticky_log10_e_value=-0.25,
        noise=NoiseEstimate(
            estimate_logits=0.01, low_logits=0.001, high_logits=None, confidence=0.95
        ),
    )
    return StoredStream(
        key=key, finding=finding, state_json=f'{{"count":{version}}}', version=version
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry without its place; its content is made up from its name."""

    name: str
    kind: EntryKind = EntryKind.POLICY
    tenant: str = "default"
    audit_id: str | None = None
    envelope: bytes | None = None

    @property
    def entry_key(self) -> str:
        return f"{self.kind}:{self.name}"


def a_verdict_draft(job: Job, *, kind: EntryKind = EntryKind.VERDICT) -> Draft:
    return Draft(name=job.audit_id, kind=kind, tenant=job.tenant, audit_id=job.audit_id)


def a_batch(
    log: LogStore,
    *drafts: Draft,
    ends: Sequence[JobEnd] = (),
    erasures: Sequence[Erasure] = (),
    tiles: Sequence[Tile] = (),
) -> LogBatch:
    """Return the drafts as the batch that comes next in a log."""
    snapshot = log.snapshot((), sorted({draft.tenant for draft in drafts}))
    sequences = {head.tenant: head.sequence for head in snapshot.tenants}
    entries = []
    for draft in drafts:
        sequence = sequences[draft.tenant] = sequences.get(draft.tenant, 0) + 1
        entries.append(sealed(draft, sequence))
    return LogBatch(
        previous=snapshot.head,
        head=grow(snapshot.head, [entry.leaf_hash for entry in entries]),
        entries=tuple(entries),
        tiles=tuple(tiles),
        job_ends=tuple(ends),
        erasures=tuple(erasures),
    )


def sealed(draft: Draft, sequence: int) -> SealedEntry:
    text = f"{draft.tenant} {sequence} {draft.entry_key}".encode()
    return SealedEntry(
        kind=draft.kind,
        tenant=draft.tenant,
        tenant_sequence=sequence,
        entry_key=draft.entry_key,
        audit_id=draft.audit_id,
        entry_digest="sha256:" + hashlib.sha256(text).hexdigest(),
        envelope=draft.envelope or b"envelope " + text,
        leaf_body=b"leaf " + text,
        leaf_hash=leaf_hash(b"leaf " + text),
    )


#: Later than what the stores' own clocks tell.
_recorded = StepClock(500_000)


def complete(
    store: LoggedStore,
    job: Job,
    signed: SignedVerdict,
    stream: StoredStream | None = None,
    artifacts: Sequence[Artifact] = (),
) -> None:
    """Log a verdict and end its job, as the sequencer does; one that is logged changes nothing.

    Raises what keeps the job from ending: StreamMoved, AuditNotFound, CorruptState.
    """
    draft = a_verdict_draft(job)
    end = JobEnd(job=job, signed=signed, stream=stream, artifacts=tuple(artifacts))
    while not store.log.snapshot([draft.entry_key], []).known:
        with suppress(LogMoved):
            try:
                batch = a_batch(store.log, draft, ends=[end])
                store.log.commit(batch, recorded_at=_recorded())
            except JobEndRefused as refused:
                raise refused.cause from refused
