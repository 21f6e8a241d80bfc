"""The check of a whole log names every damage: each table, one byte at a time."""

import sqlite3
from pathlib import Path

import pytest

from audit.ledger.checkpoints import Checkpoint
from audit.ledger.fsck import check_log
from storage.store import open_store
from tests.property.test_log_machine import draft
from tests.support.logs import ORIGIN, log_signer, running
from tests.unit.log.test_sequencer import append
from tests.unit.storage.builders import CountingIds, StepClock

NUM_ENTRIES = 300


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "audit.db"
    store = open_store(f"sqlite:///{path}", clock=StepClock(), new_id=CountingIds())
    with running(store.log, tmp_path, StepClock()) as log:
        append(log, *(draft("default", n) for n in range(NUM_ENTRIES)))
    store.close()
    return path


def problems(path: Path) -> tuple[str, ...]:
    store = open_store(f"sqlite:///{path}", clock=StepClock(), new_id=CountingIds())
    try:
        return check_log(store.log, log_signer().key).problems
    finally:
        store.close()


def damage(path: Path, statement: str, *values: str) -> None:
    """Change the file as somebody with access to it could: the seat belts taken off."""
    with sqlite3.connect(path) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        changed = connection.execute(statement, values).rowcount
        assert changed == 1, statement
    connection.close()


def test_a_sound_log_has_no_problems(database: Path) -> None:
    assert problems(database) == ()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE log_entries SET leaf_body = zeroblob(9) WHERE log_index = 7", "entry 7: "),
        ("UPDATE log_entries SET leaf_hash = zeroblob(32) WHERE log_index = 7", "entry 7: "),
        ("UPDATE log_entries SET tenant_sequence = 999 WHERE log_index = 7", "entry 7: tenant"),
        ("UPDATE log_entries SET tenant = 'x' WHERE log_index = 7", "entry 7: tenant 'x'"),
        (
            "DELETE FROM log_entries WHERE log_index = 299",
            "nothing after them was checked: [299]",
        ),
        ("UPDATE log_tiles SET hashes = zeroblob(8192) WHERE level = 0", "tile 0/0"),
        ("UPDATE log_tiles SET hashes = zeroblob(32) WHERE level = 1", "tile 1/0"),
        ("UPDATE log_tree SET root = zeroblob(32)", "tree of size 300"),
    ],
)
def test_each_damage_is_named(statement: str, expected: str, database: Path) -> None:
    damage(database, statement)
    assert any(expected in problem for problem in problems(database)), problems(database)


def test_content_emptied_by_hand_is_not_taken_for_erased(database: Path) -> None:
    damage(
        database,
        "UPDATE log_contents SET envelope = NULL, erased_at = '2026-01-01T00:00:00Z' WHERE "
        "entry_digest = (SELECT entry_digest FROM log_entries WHERE log_index = 5)",
    )
    assert problems(database) == ("entry 5: its content (sweep:5) is gone, and no erasure says so",)


@pytest.mark.parametrize(
    ("size", "root", "expected"),
    [
        (301, bytes(32), "the anchor names 301 entries, the database holds 300"),
        (300, bytes(32), "the anchor names another tree of 300 entries"),
        (7, bytes(32), "the anchor names another tree of 7 entries"),
    ],
)
def test_an_anchor_that_contradicts_the_database_is_named(
    size: int, root: bytes, expected: str, database: Path
) -> None:
    store = open_store(f"sqlite:///{database}", clock=StepClock(), new_id=CountingIds())
    anchored = Checkpoint(origin=ORIGIN, size=size, root=root)
    assert check_log(store.log, log_signer().key, anchored).problems == (expected,)
    store.close()


def test_content_that_is_gone_without_an_erasure_is_named(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        digest = connection.execute(
            "SELECT entry_digest FROM log_entries WHERE log_index = 5"
        ).fetchone()[0]
    connection.close()
    damage(database, "DELETE FROM log_contents WHERE entry_digest = ?", digest)
    assert problems(database) == ("entry 5: its content (sweep:5) is gone, and no erasure says so",)


def test_an_exchanged_envelope_is_named(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        digests = [
            row[0]
            for row in connection.execute(
                "SELECT entry_digest FROM log_entries WHERE log_index IN (5, 6) ORDER BY log_index"
            )
        ]
    connection.close()
    damage(
        database,
        "UPDATE log_contents SET envelope = (SELECT envelope FROM log_contents "
        "WHERE entry_digest = ?) WHERE entry_digest = ?",
        digests[1],
        digests[0],
    )
    (problem,) = problems(database)
    assert problem == "entry 5: its envelope is not the one that its leaf names"
