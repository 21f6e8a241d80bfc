"""The RPCs of SweepService over the sweep desk.

Stands between the wire and whoever keeps and runs sweeps. Requests are checked before the desk sees
them; nothing blocks the event loop: whatever takes time runs in the executor. Errors are raised as
they are; the boundary around the service answers them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import Executor
from typing import TypeVar

from inference_audit.v1 import sweep_pb2, sweep_service_pb2
from inference_audit.v1 import sweep_service_pb2 as pb
from inference_audit.v1.sweep_service_pb2_grpc import SweepServiceServicer

from audit.codec.limits import page_size_of
from audit.codec.sweep_json import result_from_json
from audit.codec.sweep_limits import (
    ScheduleCheck,
    check_run_id,
    check_spec,
    check_sweep_id,
    check_sweep_request_id,
)
from audit.codec.wire_errors import ServiceStopping
from audit.codec.wire_sweep import run_to_wire, sweep_to_wire
from audit.codec.wire_sweep_spec import spec_from_wire
from audit.errors import CorruptState, InvalidRequest
from audit.service.sweep_desk import SweepDesk, SweepRunView
from audit.service.sweep_watch import RunWatch
from audit.sweep_records import Slot, SweepState

SERVICE_NAME = sweep_service_pb2.DESCRIPTOR.services_by_name["SweepService"].full_name

_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")


class SweepServicer(SweepServiceServicer):
    """Answers the RPCs of SweepService for one tenant."""

    def __init__(
        self,
        desk: SweepDesk,
        *,
        tenant: str,
        executor: Executor,
        watch_interval_s: float,
        check_schedule: ScheduleCheck | None = None,
        known_detectors: Collection[str] | None = None,
    ) -> None:
        self._desk = desk
        self._tenant = tenant
        self._executor = executor
        self._watch_interval_s = watch_interval_s
        self._check_schedule = check_schedule
        self._known_detectors = known_detectors
        self._stopping = asyncio.Event()

    async def CreateSweep(
        self, request: pb.CreateSweepRequest, context: object
    ) -> pb.CreateSweepResponse:
        """Create a sweep, or return the one created before.

        Raises: InvalidRequest, RequestConflict.
        """
        return await self._in_thread(self._create, request)

    async def GetSweep(self, request: pb.GetSweepRequest, context: object) -> pb.GetSweepResponse:
        """Return one sweep. Raises: InvalidRequest, AuditNotFound."""
        return pb.GetSweepResponse(sweep=await self._in_thread(self._find, request.sweep_id))

    async def ListSweeps(
        self, request: pb.ListSweepsRequest, context: object
    ) -> pb.ListSweepsResponse:
        """Return one page of sweeps, newest first. Raises: InvalidRequest."""
        return await self._in_thread(self._list, request)

    async def PauseSweep(
        self, request: pb.PauseSweepRequest, context: object
    ) -> pb.PauseSweepResponse:
        """Pause a sweep. Raises: InvalidRequest, AuditNotFound."""
        asked = request.sweep_id, SweepState.PAUSED
        return pb.PauseSweepResponse(sweep=await self._in_thread(self._set_state, asked))

    async def ResumeSweep(
        self, request: pb.ResumeSweepRequest, context: object
    ) -> pb.ResumeSweepResponse:
        """Resume a sweep. Raises: InvalidRequest, AuditNotFound."""
        asked = request.sweep_id, SweepState.ACTIVE
        return pb.ResumeSweepResponse(sweep=await self._in_thread(self._set_state, asked))

    async def DeleteSweep(
        self, request: pb.DeleteSweepRequest, context: object
    ) -> pb.DeleteSweepResponse:
        """Delete a sweep. Raises: InvalidRequest, AuditNotFound."""
        asked = request.sweep_id, SweepState.DELETED
        return pb.DeleteSweepResponse(sweep=await self._in_thread(self._set_state, asked))

    async def RunSweepNow(
        self, request: pb.RunSweepNowRequest, context: object
    ) -> pb.RunSweepNowResponse:
        """Have a sweep run, or return the run asked for before.

        Raises: InvalidRequest, AuditNotFound, RequestConflict.
        """
        return await self._in_thread(self._run_now, request)

    async def ListSweepRuns(
        self, request: pb.ListSweepRunsRequest, context: object
    ) -> pb.ListSweepRunsResponse:
        """Return one page of runs, latest first. Raises: InvalidRequest, AuditNotFound."""
        return await self._in_thread(self._list_runs, request)

    async def GetSweepRun(
        self, request: pb.GetSweepRunRequest, context: object
    ) -> pb.GetSweepRunResponse:
        """Return one run. Raises: InvalidRequest, AuditNotFound."""
        return pb.GetSweepRunResponse(run=await self._in_thread(self._find_run, request.run_id))

    async def WatchSweep(
        self, request: pb.WatchSweepRequest, context: object
    ) -> AsyncIterator[pb.WatchSweepResponse]:
        """Yield the latest runs as they stand, then each run at each change.

        Raises: InvalidRequest, AuditNotFound, ServiceStopping.
        """
        check_sweep_id(request.sweep_id)
        watch = RunWatch(self._desk, self._tenant, request.sweep_id)
        while True:
            look = await self._in_thread(RunWatch.look, watch)
            for view in look.runs:
                yield pb.WatchSweepResponse(run=run_to_wire(view))
            if look.is_over:
                return
            await self._pause()

    def stop_watching(self) -> None:
        """End every watch; call it on the event loop."""
        self._stopping.set()

    async def _in_thread(self, work: Callable[[_Asked], _Answered], asked: _Asked) -> _Answered:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, asked)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._watch_interval_s)
            raise ServiceStopping("the service is shutting down; watch again once it is back")

    def _create(self, request: pb.CreateSweepRequest) -> pb.CreateSweepResponse:
        check_sweep_request_id(request.request_id)
        if not request.HasField("spec"):
            raise InvalidRequest.of("spec", "is missing")
        spec = spec_from_wire(request.spec)
        check_spec(spec, check_schedule=self._check_schedule, known_detectors=self._known_detectors)
        sweep = self._desk.create(self._tenant, request.request_id, spec)
        return pb.CreateSweepResponse(sweep=sweep_to_wire(sweep))

    def _find(self, sweep_id: str) -> sweep_pb2.Sweep:
        check_sweep_id(sweep_id)
        return sweep_to_wire(self._desk.find(self._tenant, sweep_id))

    def _list(self, request: pb.ListSweepsRequest) -> pb.ListSweepsResponse:
        page = self._desk.list(
            self._tenant,
            page_size=page_size_of(request.page_size),
            cursor=request.page_token or None,
            with_deleted=request.with_deleted,
        )
        return pb.ListSweepsResponse(
            sweeps=[sweep_to_wire(sweep) for sweep in page.sweeps],
            next_page_token=page.next_cursor or "",
        )

    def _set_state(self, asked: tuple[str, SweepState]) -> sweep_pb2.Sweep:
        sweep_id, state = asked
        check_sweep_id(sweep_id)
        return sweep_to_wire(self._desk.set_state(self._tenant, sweep_id, state))

    def _run_now(self, request: pb.RunSweepNowRequest) -> pb.RunSweepNowResponse:
        check_sweep_id(request.sweep_id)
        check_sweep_request_id(request.request_id)
        view = self._desk.run_now(self._tenant, request.sweep_id, request.request_id)
        return pb.RunSweepNowResponse(run=run_to_wire(view))

    def _list_runs(self, request: pb.ListSweepRunsRequest) -> pb.ListSweepRunsResponse:
        check_sweep_id(request.sweep_id)
        page = self._desk.list_slots(
            self._tenant,
            request.sweep_id,
            page_size=page_size_of(request.page_size),
            cursor=request.page_token or None,
        )
        return pb.ListSweepRunsResponse(
            runs=[run_to_wire(_view_of(slot), with_result=False) for slot in page.slots],
            next_page_token=page.next_cursor or "",
        )

    def _find_run(self, run_id: str) -> sweep_pb2.SweepRun:
        check_run_id(run_id)
        return run_to_wire(self._desk.find_run(self._tenant, run_id))


def _view_of(slot: Slot) -> SweepRunView:
    if slot.result_json is None:
        return SweepRunView(slot=slot, log_index=slot.log_index)
    try:
        result = result_from_json(slot.result_json)
    except InvalidRequest as error:
        # what is stored is ours: the caller's request was good
        raise CorruptState(
            f"the stored result of run {slot.run_id} cannot be read: {error}; restore the database "
            "from a backup, or upgrade inference-audit if a newer version wrote it"
        ) from error
    return SweepRunView(slot=slot, result=result, log_index=slot.log_index)
