"""What an operator takes out of the database by hand shows: in reports, and in `upkeep fsck`.

The triggers are dropped first, as somebody with access to the database could do.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.app import OpenLog, open_log, running_log, write_report
from audit.config import ServiceSettings
from audit.errors import LogForked
from audit.ledger.merkle import EMPTY_HEAD, grow
from audit.log_records import Receipt
from audit.records import Examination, Job
from audit.reports.rebuild import verify_pack
from audit.reports.records import Report, ReportScope
from tests.unit.cli.command import run
from tests.unit.service.examples import PASS
from tests.unit.storage.builders import a_digest, a_request

NUM_AUDITS = 3
#: Neither the first nor the last.
VICTIM = 1

#: What is done to the victim's verdict, by its digest and index.
EMPTIED = (
    "UPDATE log_contents SET envelope = NULL, erased_at = '2026-01-01T00:00:00Z' "
    "WHERE entry_digest = :digest"
)
DELETED = "DELETE FROM log_contents WHERE entry_digest = :digest"
ROW_DELETED = "DELETE FROM log_entries WHERE log_index = :index"


def drop_triggers(connection: sqlite3.Connection) -> None:
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')


@dataclass(frozen=True, slots=True)
class Kept:
    """A log that is not open, and what was handed out of it."""

    settings: ServiceSettings
    path: Path
    jobs: tuple[Job, ...]
    verdicts: tuple[Receipt, ...]
    trust_root: bytes

    @property
    def options(self) -> tuple[object, ...]:
        return ("--database", self.settings.database, "--key", self.settings.key_path)

    def tamper(self, statement: str) -> None:
        """Change the victim's rows with the seat belts taken off."""
        victim = self.verdicts[VICTIM]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            drop_triggers(connection)
            done = connection.execute(
                statement, {"digest": victim.entry_digest, "index": victim.log_index}
            )
            assert done.rowcount == 1

    def report(self, folder: Path) -> Report:
        made, _ = write_report(self.settings, ReportScope(), folder, ["html", "pack"])
        assert made.pack is not None
        # the pack says the same to somebody who relies on the trust root alone
        verified = verify_pack(made.pack, self.trust_root)
        assert verified.report.missing == made.report.missing
        return made.report


def audit_one(log: OpenLog, name: str, *, is_concluded: bool = True) -> tuple[Job, Receipt]:
    log.store.submit(a_request(name), a_digest(name))
    job = log.store.claim()
    assert job is not None
    intent = log.recorder.announce(job)
    if not is_concluded:
        return job, intent
    return job, log.recorder.conclude(job, Examination(verdict=PASS), None, intent)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    path = tmp_path / "audits.db"
    settings = ServiceSettings(database=f"sqlite:///{path}", key_path=tmp_path / "verdict-key.pem")
    with open_log(settings) as log, running_log(log):
        done = [audit_one(log, f"audit-{n}") for n in range(NUM_AUDITS)]
        trust_root = log.reader.trust_root()
    return Kept(
        settings=settings,
        path=path,
        jobs=tuple(job for job, _ in done),
        verdicts=tuple(verdict for _, verdict in done),
        trust_root=trust_root,
    )


def fsck(kept: Kept) -> tuple[int, list[str]]:
    done = run("upkeep", *kept.options, "fsck", "--json")
    (line,) = done.lines
    return done.code, line["problems"]


def test_an_untouched_log_misses_nothing(kept: Kept, tmp_path: Path) -> None:
    report = kept.report(tmp_path / "report")
    assert report.is_complete
    assert report.totals.num_verdicts == NUM_AUDITS
    assert fsck(kept) == (0, [])


@pytest.mark.parametrize("statement", [EMPTIED, DELETED], ids=["emptied", "deleted"])
def test_a_deleted_verdict_is_missing_in_the_report_and_named_by_fsck(
    statement: str, kept: Kept, tmp_path: Path
) -> None:
    kept.tamper(statement)
    report = kept.report(tmp_path / "report")
    victim = kept.jobs[VICTIM].audit_id
    assert [missing.audit_id for missing in report.missing.items] == [victim]
    assert [gone.log_index for gone in report.gone.items] == [kept.verdicts[VICTIM].log_index]
    assert not report.is_complete
    assert report.totals.num_verdicts == NUM_AUDITS - 1
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "MISSING" in page
    assert victim in page
    code, problems = fsck(kept)
    place = f"entry {kept.verdicts[VICTIM].log_index}"
    assert code == 1
    assert problems == [f"{place}: its content (verdict:{victim}) is gone, and no erasure says so"]


def test_an_audit_whose_verdict_was_never_logged_is_missing(kept: Kept, tmp_path: Path) -> None:
    with open_log(kept.settings) as log, running_log(log):
        job, _ = audit_one(log, "unwelcome", is_concluded=False)
    with closing(sqlite3.connect(kept.path)) as connection, connection:
        connection.execute("DELETE FROM audits WHERE audit_id = ?", (job.audit_id,))
    report = kept.report(tmp_path / "report")
    assert [missing.audit_id for missing in report.missing.items] == [job.audit_id]
    # nothing was taken out of the log: it is sound, and tells on its own
    assert fsck(kept) == (0, [])


@pytest.mark.parametrize("num_more", [0, 130], ids=["in-the-last-tile", "in-a-full-tile"])
def test_a_log_without_an_entrys_row_gives_no_report(
    num_more: int, kept: Kept, tmp_path: Path
) -> None:
    with open_log(kept.settings) as log, running_log(log):
        for number in range(num_more):
            audit_one(log, f"more-{number}")
    kept.tamper(ROW_DELETED)
    code, problems = fsck(kept)
    assert code == 1
    assert any("entries are missing" in problem for problem in problems)
    done = run("report", "make", *kept.options, "--out", tmp_path / "report", "--format", "csv")
    assert done.code == 1, done.stdout
    advice = "check the log against itself", "run `inference-audit upkeep fsck`"
    assert any(text in done.stderr for text in advice), done.stderr
    assert not (tmp_path / "report" / "manifest.json").exists()


def test_a_log_cut_short_together_with_its_tree_is_refused(kept: Kept) -> None:
    """The newest verdict taken out as if it had never been: only the anchor still knows."""
    cut = kept.verdicts[-1].log_index
    with open_log(kept.settings) as log:
        head = grow(EMPTY_HEAD, [entry.leaf_hash for entry in log.reader.entries(0, cut)])
    with closing(sqlite3.connect(kept.path)) as connection, connection:
        drop_triggers(connection)
        connection.execute("DELETE FROM log_entries WHERE log_index >= ?", (cut,))
        connection.execute("DELETE FROM log_checkpoints WHERE size > ?", (cut,))
        connection.execute(
            "UPDATE log_tree SET size = ?, root = ?, range_hashes = ?",
            (head.size, head.root, b"".join(head.range_hashes)),
        )
    with (
        open_log(kept.settings) as log,
        pytest.raises(LogForked, match="restored from an older copy"),
        running_log(log),
    ):
        pass
    code, problems = fsck(kept)
    assert code == 1
    assert f"the anchor names {cut + 1} entries, the database holds {cut}" in problems
