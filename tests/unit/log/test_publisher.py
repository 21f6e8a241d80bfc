"""Beside the service: witnesses and time-stamps, asked when it is time to, and what a fork ends."""

import threading
from datetime import UTC, datetime, timedelta

from audit.errors import LogForked, StorageError
from audit.ledger.periodic import Periodic
from audit.ledger.publisher import Publisher
from audit.log_records import StoredCheckpoint
from tests.property.test_log_machine import draft
from tests.support.logs import Log
from tests.unit.log.test_sequencer import append


class Clock:
    """Stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> str:
        return self.now.isoformat().replace("+00:00", "Z")

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Witnesses:
    """Add a line, or none."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.is_met = True

    def __call__(self, checkpoint: StoredCheckpoint) -> tuple[bytes, bool]:
        self.asked.append(checkpoint.size)
        return checkpoint.note + b"line\n", self.is_met


def test_each_new_tree_is_witnessed_once_and_keeps_the_time_at_which_it_was_seen(
    log: Log,
) -> None:
    clock, witnesses = Clock(), Witnesses()
    publisher = Publisher(log.store, clock, witness=witnesses)
    append(log, draft("default", 0))
    publisher.turn()
    publisher.turn()
    assert witnesses.asked == [1]
    witnessed = log.store.latest_checkpoint(witnessed=True)
    assert witnessed is not None
    assert witnessed.note.endswith(b"line\n")
    append(log, draft("default", 1))
    publisher.turn()
    clock.forward(86_400)
    publisher.turn()
    assert witnesses.asked == [1, 2]


def test_a_quorum_that_is_not_met_leaves_the_checkpoint_unwitnessed(log: Log) -> None:
    witnesses = Witnesses()
    witnesses.is_met = False
    publisher = Publisher(log.store, Clock(), witness=witnesses)
    append(log, draft("default", 0))
    publisher.turn()
    assert log.store.latest_checkpoint(witnessed=True) is None
    publisher.turn()
    assert witnesses.asked == [1, 1]


def test_trees_are_stamped_at_most_once_an_interval(log: Log) -> None:
    clock, stamped = Clock(), list[bytes]()

    def stamp(note: bytes) -> bytes:
        stamped.append(note)
        return b"response"

    publisher = Publisher(
        log.store, clock, stamp=stamp, authority="http://tsa", stamp_interval_s=60
    )
    append(log, draft("default", 0))
    publisher.turn()
    append(log, draft("default", 1))
    publisher.turn()
    assert len(stamped) == 1
    clock.forward(60)
    publisher.turn()
    publisher.turn()
    assert [stamp.size for stamp in log.reader.timestamps(0)] == [1, 2]


def test_a_failed_turn_is_tried_again_and_a_fork_ends_them_all() -> None:
    outcomes = iter([StorageError("locked"), LogForked("a witness saw more")])
    forks, seen = list[LogForked](), threading.Event()

    def turn() -> None:
        raise next(outcomes)

    def on_fork(error: LogForked) -> None:
        forks.append(error)
        seen.set()

    task = Periodic("test", turn, interval_s=0.01, on_fork=on_fork)
    task.start()
    assert seen.wait(10)
    task.stop()
    assert [str(fork) for fork in forks] == ["a witness saw more"]
