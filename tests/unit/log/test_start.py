"""What a log refuses to start from: restored, replaced and foreign databases and anchors."""

from pathlib import Path

import pytest

from audit.errors import ConfigurationError, LogForked
from storage.memory import InMemoryAuditStore
from tests.property.test_log_machine import draft
from tests.support.logs import Log, build_log, running
from tests.unit.log.conftest import AnyStore
from tests.unit.log.test_sequencer import append
from tests.unit.storage.builders import CountingIds, StepClock


def memory_store() -> InMemoryAuditStore:
    return InMemoryAuditStore(clock=StepClock(), new_id=CountingIds())


def filled(store: AnyStore, folder: Path, numbers: range) -> Log:
    with running(store.log, folder, StepClock()) as log:
        append(log, *(draft("default", n) for n in numbers))
    return log


def test_an_older_database_than_the_anchor_is_refused(tmp_path: Path) -> None:
    store, backup = memory_store(), memory_store()
    filled(backup, tmp_path, range(2))
    (tmp_path / "log-anchor").unlink()
    filled(store, tmp_path, range(5))
    log = build_log(backup.log, tmp_path, StepClock())
    with pytest.raises(LogForked, match=r"holds 2 entries, but the anchor .* names 5"):
        log.sequencer.start()


def test_another_history_of_the_anchors_size_is_refused(tmp_path: Path) -> None:
    filled(memory_store(), tmp_path, range(3))
    (tmp_path / "log-anchor").rename(tmp_path / "kept")
    other = memory_store()
    filled(other, tmp_path, range(10, 14))
    (tmp_path / "kept").rename(tmp_path / "log-anchor")
    log = build_log(other.log, tmp_path, StepClock())
    with pytest.raises(LogForked, match="another tree of size 3"):
        log.sequencer.start()


def test_a_log_without_its_anchor_is_refused_with_the_remedy(tmp_path: Path) -> None:
    store = memory_store()
    filled(store, tmp_path, range(1))
    (tmp_path / "log-anchor").unlink()
    with pytest.raises(LogForked, match="upkeep adopt"):
        build_log(store.log, tmp_path, StepClock()).sequencer.start()


@pytest.mark.parametrize(
    "spoiled", [b"", b"not a note\n", b"a\n1\nAAAA\n\n"], ids=["empty", "no-note", "unsigned"]
)
def test_a_damaged_anchor_is_refused(spoiled: bytes, tmp_path: Path) -> None:
    store = memory_store()
    filled(store, tmp_path, range(1))
    (tmp_path / "log-anchor").write_bytes(spoiled)
    with pytest.raises(LogForked, match="is no checkpoint of this log"):
        build_log(store.log, tmp_path, StepClock()).sequencer.start()


def test_an_anchor_in_a_folder_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    log = build_log(memory_store().log, blocked, StepClock())
    with pytest.raises(ConfigurationError, match="cannot be used"):
        log.sequencer.start()


def test_a_second_start_goes_on_where_the_first_ended(store: AnyStore, tmp_path: Path) -> None:
    filled(store, tmp_path, range(3))
    log = filled(store, tmp_path, range(3, 6))
    assert [entry.entry_key for entry in log.reader.entries(0, 9)] == [
        f"sweep:{n}" for n in range(6)
    ]
    assert [c.size for c in log.reader.checkpoints()][-1] == 6
