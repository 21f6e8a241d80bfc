"""A claimed slot is held in the background, and its holder learns when it is not any more."""

import threading
import time

import pytest

from audit.errors import StorageError, StreamMoved
from audit.sweep_records import Slot
from audit.sweeps.schedule.lease import Lease, held
from storage.memory_sweeps import InMemorySweepStore
from tests.unit.storage.sweep_builders import a_slot, a_sweep, at

LEASE_S = 60.0


class FlakyStore(InMemorySweepStore):
    """Fails to renew while told to, as a database that cannot be reached."""

    is_down = False

    def renew(self, slot: Slot, now: str, *, lease_s: float) -> Slot:
        if self.is_down:
            raise StorageError("the database failed while renewing a lease")
        return super().renew(slot, now, lease_s=lease_s)


class Watch:
    """A monotonic clock that stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store() -> FlakyStore:
    made = FlakyStore()
    made.create(a_sweep())
    made.add_slots("sweep-1", [a_slot(1)])
    return made


def claim(store: FlakyStore, minutes: float, owner: str = "s1") -> Slot:
    claimed = store.claim_slot(at(minutes), owner=owner, lease_s=LEASE_S)
    assert claimed is not None
    return claimed.slot


def test_a_lease_that_is_renewed_lasts(store: FlakyStore) -> None:
    watch = Watch()
    lease = Lease(claim(store, 1), lease_s=LEASE_S, monotonic=watch)
    for step in range(1, 9):
        watch.now_s = step * 20.0
        assert lease.is_held
        lease.check()
        assert lease.renew(store, lambda step=step: at(1 + step / 3))
    assert store.get_slot(lease.slot.run_id).lease_until == at(1 + 8 / 3 + 1)


def test_a_database_that_comes_back_in_time_costs_nothing(store: FlakyStore) -> None:
    watch = Watch()
    lease = Lease(claim(store, 1), lease_s=LEASE_S, monotonic=watch)
    store.is_down = True
    for watch.now_s in (20.0, 40.0, 59.0):
        assert lease.renew(store, lambda: at(1))
        assert lease.is_held
    watch.now_s = 60.0
    assert not lease.is_held
    with pytest.raises(StreamMoved, match="leave it to the next holder"):
        lease.check()
    # nobody took it meanwhile
    store.is_down = False
    assert lease.renew(store, lambda: at(2.5))
    lease.check()


def test_a_slot_that_was_taken_over_stays_lost(store: FlakyStore) -> None:
    lease = Lease(claim(store, 1), lease_s=LEASE_S, monotonic=Watch())
    claim(store, 5, owner="s2")
    assert not lease.renew(store, lambda: at(5))
    with pytest.raises(StreamMoved):
        lease.check()


def test_the_thread_renews_until_the_block_ends(store: FlakyStore) -> None:
    slot = claim(store, 1)
    renewed = threading.Event()

    def clock() -> str:
        renewed.set()
        return at(7)

    before = threading.active_count()
    with held(store, slot, lease_s=9, renew_s=0.01, clock=clock, monotonic=time.monotonic) as lease:
        assert renewed.wait(10)
        renewed.clear()
        assert renewed.wait(10)
        lease.check()
    assert threading.active_count() == before
    until = store.get_slot(slot.run_id).lease_until
    assert until is not None and until > at(7)


def test_the_thread_ends_with_an_error_of_the_run(store: FlakyStore) -> None:
    before = threading.active_count()
    with (
        pytest.raises(ValueError, match="run"),
        held(
            store,
            claim(store, 1),
            lease_s=9,
            renew_s=3,
            clock=lambda: at(1),
            monotonic=time.monotonic,
        ),
    ):
        raise ValueError("the run failed")
    assert threading.active_count() == before
