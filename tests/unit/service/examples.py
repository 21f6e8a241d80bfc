"""Requests, verdicts and signatures to test with."""

import itertools
import json
from dataclasses import replace

from audit.errors import CorruptState
from audit.findings import Growth, StreamKey
from audit.log_records import Receipt
from audit.records import (
    AuditRecord,
    AuditRequest,
    Claim,
    Examination,
    Exchange,
    Job,
    Outcome,
    Output,
    Prompt,
    SamplingRequest,
    SignedVerdict,
    StoredStream,
    StreamPage,
    Verdict,
)
from storage.memory import InMemoryAuditStore
from tests.unit.storage.builders import LoggedStore, a_key, a_stream, complete

PASS = Verdict(outcome=Outcome.PASS, num_tokens=3, num_matches=3)
GROWTH = Growth(
    num_tokens=3,
    num_mismatches=0,
    log_e_nats_K=(),
    log_e_nats=0.0,
    log_likelihood_G=(),
    is_tell=False,
    exchange_digest="sha256:0",
    honest_noise_logits=0.02,
)


def request_of(
    request_id: str = "request-1",
    *,
    output_ids: tuple[int, ...] = (7, 8, 9),
    model: str | None = "small",
    text: str | None = None,
) -> AuditRequest:
    return AuditRequest(
        request_id=request_id,
        exchange=Exchange(
            prompt=Prompt(token_ids=(1, 2, 3)),
            output=Output(token_ids=output_ids, text=text),
            sampling=SamplingRequest(temperature=1.0, seed=42),
        ),
        claim=Claim(model=model),
    )


def sign(job: Job, verdict: Verdict) -> SignedVerdict:
    return SignedVerdict(verdict=verdict, envelope=job.audit_id.encode(), key_id="test-key")


class PlainLedger:
    """Signs with the audit's id and ends jobs in a store's log, without a sequencer."""

    def __init__(self, store: LoggedStore) -> None:
        self.store = store

    def announce(self, job: Job) -> Receipt:
        return Receipt(log_index=0, entry_digest="sha256:" + "00" * 32)

    def sign(self, job: Job, verdict: Verdict) -> SignedVerdict:
        return sign(job, verdict)

    def conclude(
        self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
    ) -> Receipt:
        verdict = examination.verdict
        if stream is not None:
            verdict = replace(verdict, provider=stream.finding)
        complete(self.store, job, self.sign(job, verdict), stream)
        return intent


def memory_store() -> InMemoryAuditStore:
    seconds, ids = itertools.count(), itertools.count(1)
    return InMemoryAuditStore(
        clock=lambda: f"2026-01-31T12:00:{next(seconds) % 60:02d}.000000Z",
        new_id=lambda: f"audit-{next(ids)}",
    )


def judged(request: AuditRequest) -> Examination:
    """Pass every exchange, and let it count."""
    return Examination(verdict=PASS, growth=GROWTH)


class CountingAccumulator:
    """Counts the exchanges of each claimed model; the count is all its state."""

    def key(self, request: AuditRequest, examination: Examination) -> StreamKey | None:
        model = request.claim.model
        return None if model is None else a_key(model)

    def fold(self, previous: StoredStream | None, key: StreamKey, growth: Growth) -> StoredStream:
        if previous is None:
            return a_stream(1, key)
        try:
            count = int(json.loads(previous.state_json)["count"])
        except (ValueError, KeyError) as error:
            raise CorruptState.of(previous.finding.stream_id, "its state is damaged") from error
        assert count == previous.version
        return a_stream(previous.version + 1, key)


class BrokenStore(InMemoryAuditStore):
    """Fails at every look-up."""

    def __init__(self, error: Exception) -> None:
        super().__init__(clock=lambda: "", new_id=lambda: "")
        self._error = error

    def get(self, audit_id: str) -> AuditRecord:
        raise self._error

    def list_streams(self, *, page_size: int, cursor: str | None) -> StreamPage:
        raise self._error
