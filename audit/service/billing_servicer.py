"""The RPCs of BillingService over the billing desk.

Stands between the wire and whoever adds the evidence up. Requests are checked before the desk sees
them; nothing blocks the event loop: whatever takes time runs in the executor. Errors are raised as
they are; the boundary around the service answers them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import TypeVar

from inference_audit.v1 import billing_pb2, billing_service_pb2
from inference_audit.v1 import billing_service_pb2 as pb
from inference_audit.v1.billing_service_pb2_grpc import BillingServiceServicer

from audit.codec.billing_limits import check_account_key, check_billed_request, check_finding_id
from audit.codec.limits import page_size_of
from audit.codec.wire_billing import billed_request_from_wire
from audit.codec.wire_billing_finding import (
    BillingView,
    account_to_wire,
    ack_to_wire,
    key_from_wire,
)
from audit.codec.wire_errors import ServiceStopping
from audit.errors import FieldViolation, InvalidRequest
from audit.service.billing_desk import BillingDesk, SignedFinding

SERVICE_NAME = billing_service_pb2.DESCRIPTOR.services_by_name["BillingService"].full_name

_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")


class BillingServicer(BillingServiceServicer):
    """Answers the RPCs of BillingService for one tenant."""

    def __init__(
        self, desk: BillingDesk, *, tenant: str, executor: Executor, watch_interval_s: float
    ) -> None:
        self._desk = desk
        self._tenant = tenant
        self._executor = executor
        self._watch_interval_s = watch_interval_s
        self._stopping = asyncio.Event()

    async def SubmitUsage(
        self, request_iterator: AsyncIterator[pb.SubmitUsageRequest], context: object
    ) -> AsyncIterator[pb.SubmitUsageResponse]:
        """Take each request before the next is read, and yield its acknowledgement.

        Raises: InvalidRequest, RequestConflict, ServiceStopping.
        """
        position = 0
        # One at a time: gRPC's flow control then holds the client back where the desk is slow.
        while (message := await self._next(request_iterator)) is not None:
            position += 1
            yield await self._in_thread(self._submit, (position, message))

    async def GetBillingFinding(
        self, request: pb.GetBillingFindingRequest, context: object
    ) -> pb.GetBillingFindingResponse:
        """Return one finding. Raises: InvalidRequest, AuditNotFound."""
        return await self._in_thread(self._get, request)

    async def ListBillingFindings(
        self, request: pb.ListBillingFindingsRequest, context: object
    ) -> pb.ListBillingFindingsResponse:
        """Return one page of findings, most recently updated first. Raises: InvalidRequest."""
        return await self._in_thread(self._list, request)

    async def WatchAccount(
        self, request: pb.WatchAccountRequest, context: object
    ) -> AsyncIterator[pb.WatchAccountResponse]:
        """Yield a finding as it stands and at each change, without end.

        Raises: InvalidRequest, AuditNotFound, ServiceStopping.
        """
        seen: billing_pb2.BillingAccount | None = None
        while True:
            found = await self._in_thread(self._find, request.finding_id)
            if found != seen:
                seen = found
                yield pb.WatchAccountResponse(account=found)
            else:
                await self._pause()

    def stop_watching(self) -> None:
        """End every watch and every stream of requests; call it on the event loop."""
        self._stopping.set()

    async def _in_thread(self, work: Callable[[_Asked], _Answered], asked: _Asked) -> _Answered:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, asked)

    async def _next(
        self, requests: AsyncIterator[pb.SubmitUsageRequest]
    ) -> pb.SubmitUsageRequest | None:
        # A client that keeps its stream open without sending must not hold up the shutdown.
        following = asyncio.ensure_future(anext(requests, None))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                raise _stopped("submit again what was not acknowledged")
            return following.result()
        finally:
            following.cancel()
            stopping.cancel()
            # Whoever reads the stream must be at rest before the boundary closes it.
            await asyncio.gather(following, stopping, return_exceptions=True)

    async def _pause(self) -> None:
        # The desk is asked again and again: another process may be the one that takes requests.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._watch_interval_s)
            raise _stopped("watch again")

    def _submit(self, asked: tuple[int, pb.SubmitUsageRequest]) -> pb.SubmitUsageResponse:
        position, message = asked
        try:
            if not message.HasField("request"):
                raise InvalidRequest.of("request", "is missing")
            request = billed_request_from_wire(message.request)
            check_billed_request(request)
            ack = self._desk.submit(self._tenant, request)
        except InvalidRequest as error:
            raise _in_submission(position, error) from error
        return ack_to_wire(ack)

    def _find(self, finding_id: str) -> billing_pb2.BillingAccount:
        check_finding_id(finding_id)
        return _account_to_wire(self._desk.find(self._tenant, finding_id))

    def _get(self, request: pb.GetBillingFindingRequest) -> pb.GetBillingFindingResponse:
        match request.WhichOneof("by"):
            case "finding_id":
                check_finding_id(request.finding_id)
                finding = self._desk.find(self._tenant, request.finding_id, sign=True)
                found = _account_to_wire(finding)
            case "key":
                key = key_from_wire(request.key, tenant=self._tenant)
                check_account_key(key)
                found = _account_to_wire(self._desk.find_by_key(key))
            case _:
                raise InvalidRequest.of("by", "is missing; give finding_id or key")
        return pb.GetBillingFindingResponse(account=found)

    def _list(self, request: pb.ListBillingFindingsRequest) -> pb.ListBillingFindingsResponse:
        page = self._desk.list(
            self._tenant,
            page_size=page_size_of(request.page_size),
            cursor=request.page_token or None,
        )
        return pb.ListBillingFindingsResponse(
            accounts=[_account_to_wire(finding) for finding in page.findings],
            next_page_token=page.next_cursor or "",
        )


def _account_to_wire(found: SignedFinding) -> billing_pb2.BillingAccount:
    view = BillingView(
        key=found.account.key,
        version=found.account.version,
        finding=found.account.finding,
        envelope=found.envelope,
        log_index=found.log_index,
        signed_version=found.signed_version,
    )
    return account_to_wire(view)


def _in_submission(position: int, error: InvalidRequest) -> InvalidRequest:
    violations = (
        FieldViolation(
            field=violation.field,
            description=f"{violation.description} (submission {position} of the stream)",
        )
        for violation in error.violations
    )
    return InvalidRequest(*violations)


def _stopped(remedy: str) -> ServiceStopping:
    return ServiceStopping(f"the service is shutting down; {remedy} once it is back")
