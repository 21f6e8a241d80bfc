"""What only SQL can get wrong about sweeps: races between claims, damaged rows, wide tables."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError

from audit.errors import StorageError
from audit.sweep_records import SlotState
from storage.engine import open_engine
from storage.sweeps import SqlSweepStore
from storage.upgrade import upgrade
from tests.unit.storage.sweep_builders import a_slot, a_sweep, an_answer, at

NUM_THREADS = 4
NUM_SWEEPS = 3
NUM_SLOTS = 8


@pytest.fixture
def engine(any_url: str) -> Iterator[Engine]:
    made = open_engine(any_url)
    upgrade(made)
    yield made
    made.dispose()


def test_claims_at_once_take_each_slot_once_and_one_of_a_sweep_at_a_time(engine: Engine) -> None:
    store = SqlSweepStore(engine)
    names = [f"s-{number}" for number in range(NUM_SWEEPS)]
    for name in names:
        store.create(a_sweep(name, name=name))
        store.add_slots(name, [a_slot(number, name) for number in range(NUM_SLOTS)])
    start = threading.Barrier(NUM_THREADS)
    lock = threading.Lock()
    running: set[str] = set()
    ended: list[str] = []

    def work(owner: str) -> None:
        start.wait()
        while len(ended) < NUM_SWEEPS * NUM_SLOTS:
            claimed = store.claim_slot(at(60), owner=owner, lease_s=600.0)
            if claimed is None:
                continue
            slot = claimed.slot
            with lock:
                assert slot.sweep_id not in running
                running.add(slot.sweep_id)
            store.append_answers(slot, [an_answer(0)])
            with lock:
                running.remove(slot.sweep_id)
                ended.append(slot.run_id)
            store.finish(slot, state=SlotState.DONE, result_json=owner, log_index=None, now=at(61))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for future in [pool.submit(work, f"s{number}") for number in range(NUM_THREADS)]:
            future.result(timeout=60)
    assert len(ended) == len(set(ended)) == NUM_SWEEPS * NUM_SLOTS
    assert all(len(store.results(name)) == NUM_SLOTS for name in names)
    assert all(slot.attempt == 1 for name in names for slot in store.results(name))


def test_slots_written_at_once_are_there_once(engine: Engine) -> None:
    store = SqlSweepStore(engine)
    store.create(a_sweep())
    slots = [a_slot(number) for number in range(20)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        added = [
            pool.submit(store.add_slots, "sweep-1", slots, scheduled_until=at(20))
            for _ in range(NUM_THREADS)
        ]
        assert sum(future.result(timeout=60) for future in added) == 20


def test_the_database_itself_refuses_two_runs_of_a_sweep_at_once(engine: Engine) -> None:
    store = SqlSweepStore(engine)
    store.create(a_sweep())
    store.add_slots("sweep-1", [a_slot(1), a_slot(2)])
    store.claim_slot(at(5), owner="s1", lease_s=9.0)
    force = "UPDATE sweep_slots SET state = 'RUNNING', owner = 'x', lease_until = 'y'"
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(force))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sweeps SET spec_json = '{}'",
        "UPDATE sweeps SET name = 'other'",
        "UPDATE sweep_answers SET answer_json = '[]'",
    ],
)
def test_damaged_rows_are_told_and_not_guessed(engine: Engine, damage: str) -> None:
    store = SqlSweepStore(engine)
    store.create(a_sweep())
    store.add_slots("sweep-1", [a_slot(1)])
    claimed = store.claim_slot(at(5), owner="s1", lease_s=9.0)
    assert claimed is not None
    store.append_answers(claimed.slot, [an_answer(0)])
    with engine.begin() as connection:
        connection.execute(text(damage))
    with pytest.raises(StorageError, match="cannot be read"):
        store.get("sweep-1")
        store.read_answers(claimed.slot.run_id)


def test_claims_do_not_read_the_history(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/audit.db")
    upgrade(engine)
    store = SqlSweepStore(engine)
    store.create(a_sweep())
    store.add_slots("sweep-1", [a_slot(number) for number in range(3)])
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(
        _connection: object, _cursor: object, sql: str, values: tuple[object, ...], *_: object
    ) -> None:
        if sql.startswith("SELECT"):
            asked.append((sql, values))

    event.listen(engine, "before_cursor_execute", note)
    assert store.claim_slot(at(2), owner="s1", lease_s=9.0) is not None
    event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        steps = [
            str(row[3])
            for sql, values in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    engine.dispose()
    assert len(asked) >= 5
    read = [step for step in steps if "sweep_slots" in step]
    assert len(read) >= 5 and all(step.startswith("SEARCH") for step in read), steps
