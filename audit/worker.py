"""The loop that turns queued audits into signed verdicts: claim -> examine -> sign -> complete.

Stands between the queue in the store and the judge behind `examine`; one thread runs it beside the
service. It judges nothing itself. An audit that it took is completed, put back, or found RUNNING
and requeued at the next start: never dropped.
"""

import logging
import threading
import traceback
from collections.abc import Callable

from audit.errors import StorageError
from audit.ports import AuditStore, VerdictSigner
from audit.records import AuditRequest, Job, Outcome, Reason, SignedVerdict, Verdict

_log = logging.getLogger(__name__)


class Worker:
    """Works through the queue until it is stopped."""

    def __init__(
        self,
        store: AuditStore,
        examine: Callable[[AuditRequest], Verdict],
        sign: VerdictSigner,
        *,
        idle_wait_s: float,
        max_attempts: int = 3,
    ) -> None:
        self._store = store
        self._examine = examine
        self._sign = sign
        self._idle_wait_s = idle_wait_s
        self._max_attempts = max_attempts
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._in_hand: Job | None = None
        self._failures: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stop`; whatever goes wrong is logged, waited out and tried again."""
        while not self._stopping.is_set():
            try:
                self._turn()
            except StorageError as error:
                _log.warning("the database refused, trying again: %s", error)
                self._rest()
            except Exception as error:
                self._report(error)
                self._rest()

    def wake(self) -> None:
        """Tell the worker that there is work; callable from any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Make `run` return once the audit in hand is done; callable from any thread."""
        self._stopping.set()
        self._wake.set()

    def _turn(self) -> None:
        self._put_back()
        job = self._in_hand = self._store.claim()
        if job is None:
            self._rest()
            return
        verdict = self._verdict(job)
        signed = self._sign(job, verdict)
        self._complete(job, signed)
        self._in_hand = None
        self._failures.pop(job.audit_id, None)

    def _put_back(self) -> None:
        if self._in_hand is not None:
            self._store.release(self._in_hand)
            self._in_hand = None

    def _verdict(self, job: Job) -> Verdict:
        if job.attempt <= self._max_attempts:
            return self._examine(job.request)
        failure = self._failures.get(job.audit_id, "the process ended in the midst of it")
        return Verdict(
            outcome=Outcome.INCONCLUSIVE,
            reasons=(Reason.REPLAY_FAILED,),
            details=(
                f"The replay failed {self._max_attempts} times, the last time because {failure}.",
                "The service's log tells more; to retry, submit it under a new request_id.",
            ),
        )

    def _complete(self, job: Job, signed: SignedVerdict) -> None:
        """Store a verdict; while the database refuses keep it, as its replay may have been long."""
        while not self._stopping.is_set():
            try:
                self._store.complete(job, signed)
                return
            except StorageError as error:
                _log.warning("verdict of audit %s waits for the database: %s", job.audit_id, error)
                self._rest()

    def _rest(self) -> None:
        self._wake.wait(self._idle_wait_s)
        self._wake.clear()

    def _report(self, error: Exception) -> None:
        """Log where it failed, but not the error's text: that may hold the prompt."""
        audit_id, cause = "none", type(error).__name__
        if self._in_hand is not None:
            audit_id = self._in_hand.audit_id
            self._failures[audit_id] = f"of {cause}"
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("audit %s failed with %s\n%s", audit_id, cause, frames)
