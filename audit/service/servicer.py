"""The RPCs of AuditService over the store.

Stands between the wire and the queue: a message is checked, named by its digest and stored before
it is acknowledged. Nothing is examined here, and nothing blocks the event loop: whatever takes time
runs in the executor. Errors are raised as they are; `audit.service.errors` answers them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import TypeVar

from inference_audit.v1 import audit_service_pb2 as pb
from inference_audit.v1.audit_service_pb2_grpc import AuditServiceServicer

from audit.codec.digest import request_digest
from audit.codec.limits import check_audit_id, check_request, page_size_of
from audit.codec.wire import audit_to_wire, request_from_wire
from audit.codec.wire_errors import ServiceStopping
from audit.codec.wire_filter import filter_from_wire
from audit.codec.wire_provider import provider_to_wire
from audit.ports import AuditStore
from audit.records import AuditRecord, AuditState

_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")


class AuditServicer(AuditServiceServicer):
    """Answers the RPCs of AuditService; `wake` tells the worker of a new audit."""

    def __init__(
        self,
        *,
        store: AuditStore,
        wake: Callable[[], None],
        executor: Executor,
        watch_interval_s: float,
    ) -> None:
        self._store = store
        self._wake = wake
        self._executor = executor
        self._watch_interval_s = watch_interval_s
        self._stopping = asyncio.Event()

    async def SubmitAudit(
        self, request: pb.SubmitAuditRequest, context: object
    ) -> pb.SubmitAuditResponse:
        """Store an exchange and return its audit. Raises: InvalidRequest, RequestConflict."""
        return await self._in_thread(self._submit, request)

    async def GetAudit(self, request: pb.GetAuditRequest, context: object) -> pb.GetAuditResponse:
        """Return one audit. Raises: InvalidRequest, AuditNotFound."""
        record = await self._in_thread(self._get, request.audit_id)
        return pb.GetAuditResponse(audit=audit_to_wire(record))

    async def WatchAudit(
        self, request: pb.WatchAuditRequest, context: object
    ) -> AsyncIterator[pb.WatchAuditResponse]:
        """Yield an audit at each change of state until it is DONE.

        Raises: InvalidRequest, AuditNotFound, ServiceStopping.
        """
        seen: AuditState | None = None
        while seen is not AuditState.DONE:
            record = await self._in_thread(self._get, request.audit_id)
            if record.state is not seen:
                seen = record.state
                yield pb.WatchAuditResponse(audit=audit_to_wire(record))
            else:
                await self._pause()

    async def ListAudits(
        self, request: pb.ListAuditsRequest, context: object
    ) -> pb.ListAuditsResponse:
        """Return one page of audits, newest first. Raises: InvalidRequest."""
        return await self._in_thread(self._list, request)

    async def ListProviders(
        self, request: pb.ListProvidersRequest, context: object
    ) -> pb.ListProvidersResponse:
        """Return one page of providers, most recently updated first.

        Raises: InvalidRequest, CorruptState.
        """
        return await self._in_thread(self._list_providers, request)

    def stop_watching(self) -> None:
        """End every watch that is under way; call it on the event loop."""
        self._stopping.set()

    async def _in_thread(self, work: Callable[[_Asked], _Answered], asked: _Asked) -> _Answered:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, asked)

    async def _pause(self) -> None:
        # The store is asked again and again: its answer counts, whichever process does the work.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._watch_interval_s)
            raise ServiceStopping("the service is shutting down; watch again once it is back")

    def _submit(self, message: pb.SubmitAuditRequest) -> pb.SubmitAuditResponse:
        request = request_from_wire(message)
        check_request(request)
        record, is_new = self._store.submit(request, request_digest(request))
        if is_new:
            self._wake()
        return pb.SubmitAuditResponse(audit=audit_to_wire(record))

    def _get(self, audit_id: str) -> AuditRecord:
        check_audit_id(audit_id)
        return self._store.get(audit_id)

    def _list(self, message: pb.ListAuditsRequest) -> pb.ListAuditsResponse:
        page = self._store.list(
            filter_from_wire(message.filter),
            page_size=page_size_of(message.page_size),
            cursor=message.page_token or None,
        )
        return pb.ListAuditsResponse(
            audits=[audit_to_wire(record) for record in page.audits],
            next_page_token=page.next_cursor or "",
        )

    def _list_providers(self, message: pb.ListProvidersRequest) -> pb.ListProvidersResponse:
        page = self._store.list_streams(
            page_size=page_size_of(message.page_size), cursor=message.page_token or None
        )
        return pb.ListProvidersResponse(
            providers=[provider_to_wire(stream) for stream in page.streams],
            next_page_token=page.next_cursor or "",
        )
