"""Small requests, verdicts and stores for the storage tests; no file or clock is touched here."""

import itertools
import threading

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
    Verdict,
)


class StepClock:
    """A clock that moves one microsecond at each look; safe to use from several threads."""

    def __init__(self) -> None:
        self._steps = itertools.count()
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
