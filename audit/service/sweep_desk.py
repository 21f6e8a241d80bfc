"""What SweepService needs of whoever keeps sweeps and runs them.

Stands between the servicer and `audit.app`, which hands the desk over. Every method may block, and
is called from several threads at once.
"""

from typing import Protocol

from audit.codec.wire_sweep import SweepRunView
from audit.sweep_ports import SlotPage, SweepPage
from audit.sweep_records import Sweep, SweepSpec, SweepState

__all__ = ["SlotPage", "SweepDesk", "SweepPage", "SweepRunView"]


class SweepDesk(Protocol):
    """Keeps a tenant's sweeps; safe to call from several threads.

    What is another tenant's is not there. Every method may raise StorageError.
    """

    def create(self, tenant: str, request_id: str, spec: SweepSpec) -> Sweep:
        """Keep a checked spec as an ACTIVE sweep, or return the one created by this request before.

        Raises: RequestConflict where the request_id was used for another spec, or the name is
        another sweep's; InvalidRequest for what this service cannot run.
        """
        ...

    def find(self, tenant: str, sweep_id: str) -> Sweep:
        """Return one sweep, in whatever state. Raises: AuditNotFound."""
        ...

    def list(
        self, tenant: str, *, page_size: int, cursor: str | None, with_deleted: bool
    ) -> SweepPage:
        """Return one page, newest first. Raises: InvalidRequest for a cursor that is not ours."""
        ...

    def set_state(self, tenant: str, sweep_id: str, state: SweepState) -> Sweep:
        """Pause, resume or delete a sweep; return it as it then is.

        Raises: AuditNotFound; InvalidRequest where a deleted one is to be paused or resumed.
        """
        ...

    def run_now(self, tenant: str, sweep_id: str, request_id: str) -> SweepRunView:
        """Have a sweep run as soon as possible, or return the run asked for by this request before.

        Raises: AuditNotFound; RequestConflict where the request_id was used for another sweep;
        InvalidRequest for a deleted sweep.
        """
        ...

    def list_slots(
        self, tenant: str, sweep_id: str, *, page_size: int, cursor: str | None
    ) -> SlotPage:
        """Return one page of a sweep's runs by slot time, newest first.

        Raises: AuditNotFound; InvalidRequest for a cursor that is not ours.
        """
        ...

    def find_run(self, tenant: str, run_id: str) -> SweepRunView:
        """Return one run, with result, envelope and log index where it has them.

        Raises: AuditNotFound, CorruptState.
        """
        ...
