"""Small requests, verdicts and stores for the storage tests; no file or clock is touched here."""

import itertools
import threading

from audit.findings import NoiseEstimate, ProviderFinding, StreamKey
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
