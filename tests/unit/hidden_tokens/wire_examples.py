"""Billed requests and findings for tests of the wire, a desk that keeps them, a service over it."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
from inference_audit.v1.billing_service_pb2_grpc import add_BillingServiceServicer_to_server

from audit.billing_records import (
    AccountKey,
    Adversary,
    BilledRequest,
    BilledUsage,
    BillingFinding,
    CallTiming,
    ChannelStanding,
    Controller,
    MeterOutcome,
    Money,
    OpaqueEvidence,
    StoredAccount,
    Tier,
    UsageSchema,
    Violation,
)
from audit.errors import AuditError, AuditNotFound, InvalidRequest, RequestConflict
from audit.service.billing_desk import BillingAck, BillingDesk, SignedFinding, SignedFindingPage
from audit.service.billing_servicer import SERVICE_NAME, BillingServicer
from audit.service.errors import ErrorBoundary

TENANT = "default"

A_REQUEST = BilledRequest(
    request_id="r-1",
    account="acme",
    provider="openai",
    model="o1-preview",
    usage=BilledUsage(
        schema=UsageSchema.OPENAI_CHAT,
        output_tokens=1_500,
        prompt_tokens=200,
        reasoning_tokens=1_408,
        total_tokens=1_700,
    ),
    observed_at="2026-01-31T12:00:00Z",
    effort="high",
    domain="planning",
    prompt="Plan a trip.",
    answer="Go north.",
    streamed_usage=BilledUsage(
        schema=UsageSchema.XAI, output_tokens=1_500, stated_completion_tokens=92
    ),
    max_output_tokens=4_000,
    thinking_budget_tokens=2_000,
    is_aggregator=True,
    timing=CallTiming(elapsed_s=12.5, first_answer_token_s=11.0, chunk_times_s=(11.0, 11.5, 11.5)),
    opaque=OpaqueEvidence(
        blob_chars=9_000, num_blobs=2, signature_chars=440, summary_chars=0, has_builtin_tools=True
    ),
    reference_counts=(1_344, 0, 1_472),
    disclosed_reasoning="First the map.",
)

A_VIOLATION = Violation(
    identity="lattice",
    statement="1409 reasoning tokens are no multiple of 64",
    excess_tokens=-3,
)


def a_key(**changes: str) -> AccountKey:
    return replace(
        AccountKey(
            tenant=TENANT,
            account="acme",
            provider="openai",
            model="o1-preview",
            effort="high",
            domain="planning",
            calibration_id="cal-1",
        ),
        **changes,
    )


def finding_id_of(key: AccountKey) -> str:
    return f"sha256:{hashlib.sha256(repr(key).encode()).hexdigest()}"


def a_finding(key: AccountKey, **changes: object) -> BillingFinding:
    finding = BillingFinding(
        finding_id=finding_id_of(key),
        outcome=MeterOutcome.DISAGREES,
        statement="The meter disagrees with the reference: it bills more.",
        direction="over",
        tier=Tier.REFERENCE_SAMPLING,
        controller=Controller.AUDITOR,
        stops=Adversary.MALICIOUS_ORIGIN,
        num_requests=40,
        num_violations=1,
        violations=(A_VIOLATION,),
        log10_e_over=2.5,
        log10_e_under=-3.25,
        log10_threshold=2.0,
        disagreed_at_request=39,
        billed_tokens=60_000,
        expected_tokens=48_000.5,
        overcharge_tokens_low=1_000.0,
        overcharge_tokens_high=20_000.0,
        overcharge_money_low=Money(amount="0.06", currency="USD"),
        overcharge_money_high=Money(amount="1.20", currency="USD"),
        channels=(
            ChannelStanding(
                tier=Tier.TIMING,
                controller=Controller.CLIENT,
                stops=Adversary.INFLATING_RESELLER,
                num_requests=40,
                log10_e_over=0.5,
                log10_e_under=-0.5,
                ratio_low=1.01,
                ratio_high=None,
            ),
        ),
        agreement="Time did not move with the bill: the bill moved alone.",
        change_at_request=1,
        not_checked=("no commitment of the provider",),
        calibration_id=key.calibration_id,
    )
    return replace(finding, **changes)  # type: ignore[arg-type]


class MemoryDesk:
    """Counts requests by account; what is concluded from them is tested where it is concluded.

    A bill is told to violate the lattice where its count does; the version counts the requests.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, str, str], BilledRequest] = {}
        self._findings: dict[str, SignedFinding] = {}
        self.taken: list[BilledRequest] = []
        self.error: AuditError | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.entered = threading.Event()
        self.may_read = threading.Event()
        self.may_read.set()

    def submit(self, tenant: str, request: BilledRequest) -> BillingAck:
        self.entered.set()
        assert self.may_go_on.wait(10), "the test forgot this desk"
        self._fail()
        place = (tenant, request.account, request.provider, request.request_id)
        key = _key_of(tenant, request)
        with self._lock:
            known = self._requests.setdefault(place, request)
            if known != request:
                raise RequestConflict(f"request {request.request_id} was another one before")
            was_known = known is not request
            if not was_known:
                self.taken.append(request)
                self._count(key)
        count = request.usage.reasoning_tokens or 0
        return BillingAck(
            request_id=request.request_id,
            finding_id=finding_id_of(key),
            violations=(A_VIOLATION,) if count % 64 else (),
            was_known=was_known,
        )

    def find(self, tenant: str, finding_id: str, *, sign: bool = False) -> SignedFinding:
        self._wait_to_read()
        found = self._findings.get(finding_id)
        if found is None or found.account.key.tenant != tenant:
            raise AuditNotFound(f"no finding has the id {finding_id}")
        return found

    def find_by_key(self, key: AccountKey) -> SignedFinding:
        return self.find(
            key.tenant,
            finding_id_of(replace(key, calibration_id=key.calibration_id or "cal-1")),
        )

    def list(self, tenant: str, *, page_size: int, cursor: str | None) -> SignedFindingPage:
        self._wait_to_read()
        if cursor is not None and not cursor.isdecimal():
            raise InvalidRequest.of("page_token", "is not from an earlier page")
        with self._lock:
            mine = [f for f in self._findings.values() if f.account.key.tenant == tenant]
        first = int(cursor or 0)
        last = first + page_size
        return SignedFindingPage(
            findings=tuple(mine[first:last]), next_cursor=str(last) if last < len(mine) else None
        )

    def sign(self, finding_id: str) -> None:
        """Put an envelope to the finding as it stands."""
        with self._lock:
            found = self._findings[finding_id]
            version = found.account.version
            self._findings[finding_id] = replace(
                found, envelope=b"signed %d" % version, log_index=17, signed_version=version
            )

    def _count(self, key: AccountKey) -> None:
        finding_id = finding_id_of(key)
        before = self._findings.get(finding_id)
        version = 1 if before is None else before.account.version + 1
        account = StoredAccount(
            key=key,
            version=version,
            state_json="{}",
            finding=a_finding(key, num_requests=version),
        )
        self._findings[finding_id] = SignedFinding(
            account=account,
            envelope=None if before is None else before.envelope,
            log_index=None if before is None else before.log_index,
            signed_version=None if before is None else before.signed_version,
        )

    def _wait_to_read(self) -> None:
        assert self.may_read.wait(10), "the test forgot this desk"
        self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


def _key_of(tenant: str, request: BilledRequest) -> AccountKey:
    return AccountKey(
        tenant=tenant,
        account=request.account,
        provider=request.provider,
        model=request.model,
        effort=request.effort or "",
        domain=request.domain or "general",
        calibration_id="cal-1",
    )


class BillingService:
    """A server on a free port of this machine, in a thread of its own; `stop` may be early."""

    def __init__(self, desk: BillingDesk, num_threads: int) -> None:
        self.address = ""
        self._desk, self._num_threads = desk, num_threads
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10), "the service did not start"

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the service did not stop"

    async def _serve(self) -> None:
        self._loop, self._finish = asyncio.get_running_loop(), asyncio.Event()
        boundary = ErrorBoundary(SERVICE_NAME, new_id=lambda: "incident-1")
        with ThreadPoolExecutor(self._num_threads) as executor:
            servicer = BillingServicer(
                self._desk, tenant=TENANT, executor=executor, watch_interval_s=0.01
            )
            server = grpc.aio.server(interceptors=[boundary])
            add_BillingServiceServicer_to_server(servicer, server)
            self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            self._started.set()
            await self._finish.wait()
            servicer.stop_watching()
            await server.stop(5.0)


@contextmanager
def running_billing(desk: BillingDesk, *, num_threads: int = 4) -> Iterator[BillingService]:
    service = BillingService(desk, num_threads)
    service.start()
    try:
        yield service
    finally:
        service.stop()
