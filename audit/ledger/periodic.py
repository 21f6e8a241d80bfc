"""Something that is done again and again beside the service, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

from audit.errors import AuditError, LogForked

_log = logging.getLogger(__name__)


class Periodic:
    """Takes a turn at every interval until it is stopped; a turn that fails is logged.

    After a fork no further turn is taken, and `on_fork` is told.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], object],
        *,
        interval_s: float,
        on_fork: Callable[[LogForked], None],
    ) -> None:
        self._name = name
        self._turn = turn
        self._interval_s = interval_s
        self._on_fork = on_fork
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start with a turn at once."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the turn under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except LogForked as error:
                _log.error("%s: the log is forked: %s", self._name, error)
                self._on_fork(error)
                return
            except AuditError as error:
                _log.warning("%s failed, trying again: %s", self._name, error)
            self._stopping.wait(self._interval_s)
