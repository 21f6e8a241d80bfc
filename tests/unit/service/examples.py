"""Requests, verdicts and signatures to test with."""

import itertools

from audit.records import (
    AuditRecord,
    AuditRequest,
    Claim,
    Exchange,
    Job,
    Outcome,
    Output,
    Prompt,
    SamplingRequest,
    SignedVerdict,
    Verdict,
)
from storage.memory import InMemoryAuditStore

PASS = Verdict(outcome=Outcome.PASS, num_tokens=3, num_matches=3)


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


def memory_store() -> InMemoryAuditStore:
    seconds, ids = itertools.count(), itertools.count(1)
    return InMemoryAuditStore(
        clock=lambda: f"2026-01-31T12:00:{next(seconds) % 60:02d}.000000Z",
        new_id=lambda: f"audit-{next(ids)}",
    )


class BrokenStore(InMemoryAuditStore):
    """Fails at every look-up."""

    def __init__(self, error: Exception) -> None:
        super().__init__(clock=lambda: "", new_id=lambda: "")
        self._error = error

    def get(self, audit_id: str) -> AuditRecord:
        raise self._error
