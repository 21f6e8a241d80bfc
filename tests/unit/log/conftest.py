"""Logs over the in-memory store and over SQLite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.memory import InMemoryAuditStore
from storage.store import SqlAuditStore, open_store
from tests.support.logs import Log, running
from tests.unit.storage.builders import CountingIds, StepClock

AnyStore = InMemoryAuditStore | SqlAuditStore


def _memory(_folder: Path) -> AnyStore:
    return InMemoryAuditStore(clock=StepClock(), new_id=CountingIds())


def _sqlite(folder: Path) -> AnyStore:
    return open_store(f"sqlite:///{folder}/audit.db", clock=StepClock(), new_id=CountingIds())


@pytest.fixture(params=[_memory, _sqlite], ids=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyStore]:
    make: Callable[[Path], AnyStore] = request.param
    made = make(tmp_path)
    yield made
    made.close()


@pytest.fixture
def log(store: AnyStore, tmp_path: Path) -> Iterator[Log]:
    with running(store.log, tmp_path, StepClock()) as started:
        yield started
