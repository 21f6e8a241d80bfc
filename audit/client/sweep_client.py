"""Keeps sweeps at a running audit service, and asks what their runs conclude.

Stands on the caller's side of the wire: records go in, records come out, and errors are our own. It
does not verify signatures; hand `SweepRunView.envelope` to `audit.ledger` for that.
"""

from collections.abc import Iterator

from inference_audit.v1 import sweep_pb2
from inference_audit.v1 import sweep_service_pb2 as pb
from inference_audit.v1.sweep_service_pb2_grpc import SweepServiceStub

from audit.client.connection import DEFAULT_TIMEOUT_S, Connection
from audit.client.errors import translated
from audit.codec.limits import page_size_of
from audit.codec.sweep_limits import (
    check_run_id,
    check_spec,
    check_sweep_id,
    check_sweep_request_id,
)
from audit.codec.wire_sweep import SweepRunView, run_from_wire, sweep_from_wire
from audit.codec.wire_sweep_spec import spec_to_wire
from audit.errors import VerificationError
from audit.sweep_records import Sweep, SweepSpec

DEFAULT_PAGE_SIZE = 100


class SweepClient(Connection):
    """A connection to sweeps at `host:port`; safe to share between threads.

    Every method raises ConfigurationError where the service cannot be reached or keeps no sweeps,
    StorageError where its database is not available or no answer came in time, and
    VerificationError for an answer to something else.
    """

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(address, timeout_s=timeout_s)
        self._stub = SweepServiceStub(self._channel)

    def create(self, spec: SweepSpec, *, request_id: str) -> Sweep:
        """Create a sweep; the same call again returns it and does no harm.

        Raises: InvalidRequest; RequestConflict where the request_id or the name is taken.
        """
        check_sweep_request_id(request_id)
        # the service knows cron and its detectors; the rest is told without asking it
        check_spec(spec)
        request = pb.CreateSweepRequest(request_id=request_id, spec=spec_to_wire(spec))
        with translated(self._address):
            answer = self._stub.CreateSweep(request, timeout=self._timeout_s)
        sweep = sweep_from_wire(answer.sweep)
        _require_asked(sweep.spec == spec)
        return sweep

    def get(self, sweep_id: str) -> Sweep:
        """Return one sweep. Raises: InvalidRequest, AuditNotFound."""
        check_sweep_id(sweep_id)
        with translated(self._address):
            answer = self._stub.GetSweep(
                pb.GetSweepRequest(sweep_id=sweep_id), timeout=self._timeout_s
            )
        return _asked_sweep(answer.sweep, sweep_id)

    def list(
        self, *, with_deleted: bool = False, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Iterator[Sweep]:
        """Yield all sweeps, newest first, page by page. Raises: InvalidRequest."""
        request = pb.ListSweepsRequest(page_size=page_size_of(page_size), with_deleted=with_deleted)
        while True:
            with translated(self._address):
                page = self._stub.ListSweeps(request, timeout=self._timeout_s)
            yield from map(sweep_from_wire, page.sweeps)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def pause(self, sweep_id: str) -> Sweep:
        """Stop following a sweep's schedule; runs that go on go on.

        Raises: InvalidRequest, AuditNotFound.
        """
        check_sweep_id(sweep_id)
        with translated(self._address):
            answer = self._stub.PauseSweep(
                pb.PauseSweepRequest(sweep_id=sweep_id), timeout=self._timeout_s
            )
        return _asked_sweep(answer.sweep, sweep_id)

    def resume(self, sweep_id: str) -> Sweep:
        """Follow a sweep's schedule again. Raises: InvalidRequest, AuditNotFound."""
        check_sweep_id(sweep_id)
        with translated(self._address):
            answer = self._stub.ResumeSweep(
                pb.ResumeSweepRequest(sweep_id=sweep_id), timeout=self._timeout_s
            )
        return _asked_sweep(answer.sweep, sweep_id)

    def delete(self, sweep_id: str) -> Sweep:
        """End a sweep for good; its results stay. Raises: InvalidRequest, AuditNotFound."""
        check_sweep_id(sweep_id)
        with translated(self._address):
            answer = self._stub.DeleteSweep(
                pb.DeleteSweepRequest(sweep_id=sweep_id), timeout=self._timeout_s
            )
        return _asked_sweep(answer.sweep, sweep_id)

    def run_now(self, sweep_id: str, *, request_id: str) -> SweepRunView:
        """Have a sweep run as soon as possible; the same call again returns the same run.

        Raises: InvalidRequest, AuditNotFound, RequestConflict.
        """
        check_sweep_id(sweep_id)
        check_sweep_request_id(request_id)
        request = pb.RunSweepNowRequest(sweep_id=sweep_id, request_id=request_id)
        with translated(self._address):
            answer = self._stub.RunSweepNow(request, timeout=self._timeout_s)
        return _run_of(answer.run, sweep_id)

    def list_runs(
        self, sweep_id: str, *, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Iterator[SweepRunView]:
        """Yield a sweep's runs, latest first, with outcomes and without results.

        Raises: InvalidRequest, AuditNotFound.
        """
        check_sweep_id(sweep_id)
        request = pb.ListSweepRunsRequest(sweep_id=sweep_id, page_size=page_size_of(page_size))
        while True:
            with translated(self._address):
                page = self._stub.ListSweepRuns(request, timeout=self._timeout_s)
            for run in page.runs:
                yield _run_of(run, sweep_id)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def get_run(self, run_id: str) -> SweepRunView:
        """Return one run, with its result once it is over.

        Raises: InvalidRequest, AuditNotFound.
        """
        check_run_id(run_id)
        with translated(self._address):
            answer = self._stub.GetSweepRun(
                pb.GetSweepRunRequest(run_id=run_id), timeout=self._timeout_s
            )
        view = run_from_wire(answer.run)
        _require_asked(view.slot.run_id == run_id and _is_whole(view))
        return view

    def watch(self, sweep_id: str) -> Iterator[SweepRunView]:
        """Yield a sweep's latest runs, then each run at each change, until the sweep is deleted.

        Raises: InvalidRequest, AuditNotFound.
        """
        check_sweep_id(sweep_id)
        with translated(self._address):
            answers = self._stub.WatchSweep(pb.WatchSweepRequest(sweep_id=sweep_id))
            try:
                for answer in answers:
                    yield _run_of(answer.run, sweep_id)
            finally:
                answers.cancel()


def _asked_sweep(message: sweep_pb2.Sweep, sweep_id: str) -> Sweep:
    sweep = sweep_from_wire(message)
    _require_asked(sweep.sweep_id == sweep_id)
    return sweep


def _run_of(message: sweep_pb2.SweepRun, sweep_id: str) -> SweepRunView:
    view = run_from_wire(message)
    _require_asked(view.slot.sweep_id == sweep_id and _is_whole(view))
    return view


def _is_whole(view: SweepRunView) -> bool:
    # a result that is another run's must not be read as this one's
    slot, result = view.slot, view.result
    return result is None or (result.run_id, result.sweep_id) == (slot.run_id, slot.sweep_id)


def _require_asked(is_asked: bool) -> None:
    if not is_asked:
        raise VerificationError("the service's answer is not the one asked for: do not rely on it")
