"""Holds a claimed slot for as long as its run takes.

A thread renews the lease; whoever runs asks `Lease.check` before it spends money. That is only a
courtesy: what keeps a late holder from storing anything is the attempt in each of its writes.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from audit.errors import StorageError, StreamMoved
from audit.ports import Clock
from audit.sweep_ports import SweepStore
from audit.sweep_records import Slot

_log = logging.getLogger(__name__)


class Lease:
    """Whether a slot is still held; safe from several threads."""

    def __init__(self, slot: Slot, *, lease_s: float, monotonic: Callable[[], float]) -> None:
        self._slot = slot
        self._lease_s = lease_s
        self._monotonic = monotonic
        self._held_until_s = monotonic() + lease_s
        self._is_lost = threading.Event()

    @property
    def slot(self) -> Slot:
        """What is held."""
        return self._slot

    @property
    def is_held(self) -> bool:
        """Whether nobody else may have claimed the slot."""
        return not self._is_lost.is_set() and self._monotonic() < self._held_until_s

    def check(self) -> None:
        """Raise StreamMoved unless the slot is still held."""
        if not self.is_held:
            raise StreamMoved(
                f"the lease of the run {self._slot.run_id} ran out: leave it to the next holder"
            )

    def renew(self, store: SweepStore, clock: Clock) -> bool:
        """Ask for more time; return whether the slot may be held again."""
        # Counted from before the call, which may take long: never longer than what is stored.
        asked_at_s = self._monotonic()
        try:
            store.renew(self._slot, clock(), lease_s=self._lease_s)
        except StreamMoved:
            self._is_lost.set()
            return False
        except StorageError as error:
            _log.warning("the lease of %s was not renewed: %s", self._slot.run_id, error)
            return True
        self._held_until_s = asked_at_s + self._lease_s
        return True


@contextmanager
def held(
    store: SweepStore,
    slot: Slot,
    *,
    lease_s: float,
    renew_s: float,
    clock: Clock,
    monotonic: Callable[[], float],
) -> Iterator[Lease]:
    """Hold a claimed slot in the background until the block ends, renewed each `renew_s`."""
    lease = Lease(slot, lease_s=lease_s, monotonic=monotonic)
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(renew_s):
            if not lease.renew(store, clock):
                return

    thread = threading.Thread(target=beat, name=f"lease-{slot.run_id}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        is_over.set()
        thread.join()
