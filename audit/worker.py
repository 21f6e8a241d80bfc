"""The loop that turns queued audits into signed verdicts.

claim -> announce -> examine -> read and fold the provider's evidence -> conclude

Stands between the queue in the store and the judge behind `examine` and `accumulate`; one thread
runs it beside the service. It judges nothing itself. The intent is in the log before anything is
examined, so that no verdict can be dropped because of what it says. An audit that it took is
completed, put back, or found RUNNING and requeued at the next start: never dropped. Verdict and
evidence are stored together, so that every exchange counts once.
"""

import logging
import threading
import traceback
from collections.abc import Callable

from audit.errors import CorruptState, LogForked, StorageError, StreamMoved
from audit.log_records import Receipt
from audit.ports import Accumulator, AuditStore, Ledger
from audit.records import (
    AuditRequest,
    Examination,
    Job,
    Outcome,
    Reason,
    StoredStream,
    Verdict,
)

_log = logging.getLogger(__name__)

#: Whenever one worker is too late another has stored its verdict: so many in a row are a fault.
MAX_MOVES = 100


class Worker:
    """Works through the queue until it is stopped."""

    def __init__(
        self,
        store: AuditStore,
        examine: Callable[[AuditRequest], Examination],
        ledger: Ledger,
        *,
        accumulate: Accumulator | None,
        idle_wait_s: float,
        max_attempts: int = 3,
    ) -> None:
        self._store = store
        self._examine = examine
        self._ledger = ledger
        self._accumulate = accumulate
        self._idle_wait_s = idle_wait_s
        self._max_attempts = max_attempts
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._in_hand: Job | None = None
        self._failures: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stop`; whatever goes wrong is logged, waited out and tried again.

        Raises: CorruptState and LogForked, which no trying again can mend; the audit in hand is put
        back first.
        """
        while not self._stopping.is_set():
            try:
                self._turn()
            except (CorruptState, LogForked) as error:
                _log.error("the worker stops: %s", error)
                self._give_up()
                raise
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
        intent = self._announced(job)
        if intent is None:
            return
        self._conclude(job, self._examination(job), intent)
        self._in_hand = None
        self._failures.pop(job.audit_id, None)

    def _put_back(self) -> None:
        if self._in_hand is not None:
            self._store.release(self._in_hand)
            self._in_hand = None

    def _give_up(self) -> None:
        """Put the audit in hand back as if it had never been taken, while the database lets us."""
        for _ in range(self._max_attempts):
            try:
                if self._in_hand is not None:
                    self._store.release(self._in_hand, uncounted=True)
                return
            except StorageError as error:
                _log.warning("the audit in hand waits for the database: %s", error)
                self._rest()

    def _examination(self, job: Job) -> Examination:
        if job.attempt <= self._max_attempts:
            return self._examine(job.request)
        failure = self._failures.get(job.audit_id, "the process ended in the midst of it")
        verdict = Verdict(
            outcome=Outcome.INCONCLUSIVE,
            reasons=(Reason.REPLAY_FAILED,),
            details=(
                f"The replay failed {self._max_attempts} times, the last time because {failure}.",
                "The service's log tells more; to retry, submit it under a new request_id.",
            ),
        )
        return Examination(verdict=verdict)

    def _announced(self, job: Job) -> Receipt | None:
        """Return the intent's receipt, however long the database refuses; None once stopping."""
        while not self._stopping.is_set():
            try:
                return self._ledger.announce(job)
            except StorageError as error:
                _log.warning("the intent of audit %s waits for the log: %s", job.audit_id, error)
                self._rest()
        return None

    def _conclude(self, job: Job, examination: Examination, intent: Receipt) -> None:
        """Store the outcome; while the database refuses keep it, as its replay may have been long.

        Raises: CorruptState, LogForked; StreamMoved where others were faster again and again.
        """
        num_moves = 0
        while not self._stopping.is_set():
            try:
                self._ledger.conclude(job, examination, self._folded(job, examination), intent)
                return
            except CorruptState:
                raise
            except StreamMoved as error:
                num_moves += 1
                if num_moves >= MAX_MOVES:
                    raise
                _log.info("verdict of audit %s is signed anew: %s", job.audit_id, error)
            except StorageError as error:
                _log.warning("verdict of audit %s waits for the database: %s", job.audit_id, error)
                self._rest()

    def _folded(self, job: Job, examination: Examination) -> StoredStream | None:
        """Return the provider's evidence with this exchange in it; None where none is kept."""
        if self._accumulate is None or examination.growth is None:
            return None
        key = self._accumulate.key(job.request, examination)
        if key is None:
            return None
        return self._accumulate.fold(self._store.read_stream(key), key, examination.growth)

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
