"""What a rotated, revoked or compromised key signed: what counts, and what is told of the rest."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import VerificationError
from audit.ledger.entries import KeyAction, KeyEvent, key_event_statement
from audit.ledger.key_history import verdict_keys_of
from audit.ledger.keys import SigningKey
from audit.ledger.notes import parse_note
from audit.ledger.reader import LogReader
from audit.ledger.trust_root import VerdictKey
from audit.log_records import EntryKind, Receipt
from audit.reports.make import MadeReport, make_report
from audit.reports.pack_layout import PACK_FILE
from audit.reports.rebuild import rebuild, verify_pack
from audit.reports.records import ReportScope
from audit.reports.source import LogSource
from tests.unit.reports.collecting import collected
from tests.unit.reports.sample_log import (
    KEY,
    OTHER_KEY,
    START,
    VERSION,
    WITNESSES,
    SampleLog,
    job,
    numbered,
    trust_root,
    verdict,
    verdict_key,
)

SECOND = int(START.timestamp())


def event(
    log: SampleLog,
    action: KeyAction,
    key: SigningKey,
    *,
    below: int | None = None,
    compromised_at: str | None = None,
) -> Receipt:
    """Log a key event, signed by the log's key of the moment."""
    found = KeyEvent(
        key_id=key.key_id,
        action=action,
        public_key_pem=key.public_key_pem,
        below_index=below,
        compromised_at=compromised_at,
    )
    return log.add(
        EntryKind.KEY_EVENT,
        f"key:{key.key_id}:{action}:{log.size}",
        lambda link: key_event_statement(
            found, logged_at=log.now(), verifier_version=VERSION, chain=link
        ),
    )


def rotated_log() -> SampleLog:
    """Return a log whose key gave way to another at index 6, and which goes on to index 8."""
    log = SampleLog()
    event(log, KeyAction.INTRODUCED, KEY)
    list(numbered(log, 2))
    event(log, KeyAction.INTRODUCED, OTHER_KEY)
    event(log, KeyAction.RETIRED, KEY)
    log.key = OTHER_KEY
    log.audit(2)
    return log


def keys_of(log: SampleLog, *, before: int = 1_000) -> tuple[VerdictKey, ...]:
    """Return the keys as the log's own history has them before an index."""
    log.publish()
    events = LogReader(log.store).of_kind(EntryKind.KEY_EVENT)
    return verdict_keys_of(found for found in events if found.log_index < before)


def own_root(log: SampleLog) -> bytes:
    return trust_root(keys=keys_of(log))


def made(log: SampleLog, folder: Path, root: bytes, *formats: str) -> MadeReport:
    scope = ReportScope()
    return make_report(log.source(root), scope, folder, [*formats, "pack"], version="0")


def words(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())


def test_a_rotation_leaves_everything_in_force(tmp_path: Path) -> None:
    log = rotated_log()
    report, lines = collected(log.source(own_root(log)), tmp_path)
    assert report.is_complete
    assert (len(lines), report.key_events.total) == (3, 3)


def test_a_rotation_stays_in_force_when_the_old_key_is_revoked(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=3)
    report, lines = collected(log.source(own_root(log)), tmp_path)
    # 5 and 6 brought the new key in and put the old one out, while the old one counted
    assert [event.log_index for event in report.key_events.items] == [0, 5, 6, 9]
    assert report.damaged.total == report.gaps.total == 0
    assert [entry.log_index for entry in report.discounted.items] == [3, 4]
    assert [line.log_index for line in lines] == [2, 8]
    assert not report.is_complete


def test_a_window_from_the_middle_judges_key_events_alike(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=3)
    root, scope = own_root(log), ReportScope(first_index=4)
    report, _ = collected(log.source(root), tmp_path, scope)
    assert [event.log_index for event in report.key_events.items] == [5, 6, 9]
    assert [entry.log_index for entry in report.discounted.items] == [4]


def test_what_a_revoked_key_signed_is_discounted_and_told(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=4)
    root = own_root(log)
    report = made(log, tmp_path, root, "html", "oscal", "csv", "summaries").report
    (entry,) = report.discounted.items
    assert (entry.log_index, entry.kind, entry.key_id) == (4, "verdict", KEY.key_id)
    assert "does not count at this index" in entry.problem
    assert (report.totals.num_verdicts, report.totals.num_discounted_verdicts) == (2, 1)
    # its intent, at 3, counts, and nothing that counts answers it
    assert [missing.log_index for missing in report.missing.items] == [3]
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())["report"]
    assert manifest["discounted"]["total"] == 1
    assert manifest["totals"]["numDiscountedVerdicts"] == 1
    page = words(tmp_path / "report.html")
    assert "1 entry signed by a key that does not count there" in page
    assert "1 of them say that they are verdicts" in page
    assert "signed by a key that does not count there" in words(
        tmp_path / "oscal-assessment-results.json"
    )
    summary = json.loads((tmp_path / "vsa.intoto.json").read_bytes())["predicate"]
    assert summary["verificationResult"] == "FAILED"


def test_a_pack_that_lists_discounted_entries_verifies(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=3)
    root = own_root(log)
    made(log, tmp_path / "made", root, "csv", "html")
    verified = verify_pack(tmp_path / "made" / PACK_FILE, root)
    assert verified.report.discounted.total == 2
    assert not verified.report.is_complete
    assert rebuild(tmp_path / "made" / PACK_FILE, tmp_path / "again").differing == ()


def test_a_damaged_entry_of_a_revoked_key_is_refused(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=3)
    root = own_root(log)
    log.change(4, lambda entry: replace(entry, envelope=b"{}"))
    report = made(log, tmp_path, root, "csv").report
    assert [entry.log_index for entry in report.damaged.items] == [4]
    assert [entry.log_index for entry in report.discounted.items] == [3]
    with pytest.raises(VerificationError, match="entry 4 of the pack cannot be relied on"):
        verify_pack(tmp_path / PACK_FILE, root)


def test_a_report_from_before_the_revocation_is_refused_after_it(tmp_path: Path) -> None:
    log = rotated_log()
    made(log, tmp_path, own_root(log), "csv")
    event(log, KeyAction.REVOKED, KEY, below=3)
    with pytest.raises(VerificationError, match=r"not the same entries .* \(2 discounted\) as und"):
        verify_pack(tmp_path / PACK_FILE, own_root(log))


def test_as_many_other_discounted_entries_are_refused(tmp_path: Path) -> None:
    log = SampleLog()
    list(numbered(log, 3))
    made(log, tmp_path, trust_root(keys=(replace(verdict_key(), from_index=2),)), "csv")
    late = trust_root(keys=(replace(verdict_key(), below_index=4),))
    with pytest.raises(VerificationError, match=r"\(2 discounted\) as under its own \(2 discounte"):
        verify_pack(tmp_path / PACK_FILE, late)


def test_a_stolen_key_ends_no_other(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=3)
    root = own_root(log)
    log.key = KEY
    stolen = event(log, KeyAction.RETIRED, OTHER_KEY)
    report, _ = collected(log.source(root), tmp_path)
    assert stolen.log_index in [entry.log_index for entry in report.discounted.items]
    assert stolen.log_index not in [event.log_index for event in report.key_events.items]


def test_a_key_that_ended_in_the_window_says_nothing_more(tmp_path: Path) -> None:
    log = rotated_log()
    event(log, KeyAction.REVOKED, KEY, below=3)
    log.key = KEY
    again = event(log, KeyAction.RETIRED, KEY)
    keys = keys_of(log, before=again.log_index)
    report, _ = collected(log.source(trust_root(keys=keys)), tmp_path)
    assert again.log_index in [entry.log_index for entry in report.discounted.items]


def witnessed_log() -> tuple[SampleLog, bytes]:
    """Return a log that witnesses saw at 3, 5 and 7, and whose key was compromised at second 6."""
    log = SampleLog()
    event(log, KeyAction.INTRODUCED, KEY)
    for number in range(3):
        log.audit(number)
        log.publish(witnesses=2)
    event(log, KeyAction.INTRODUCED, OTHER_KEY)
    event(log, KeyAction.RETIRED, KEY)
    log.key = OTHER_KEY
    log.audit(3)
    event(log, KeyAction.REVOKED, KEY, below=7, compromised_at="2026-01-01T00:00:06.5Z")
    log.publish(witnesses=2)
    keys = verdict_keys_of(LogReader(log.store).of_kind(EntryKind.KEY_EVENT))
    return log, trust_root(quorum="two", keys=keys)


def made_as_it_stands(log: SampleLog, root: bytes, folder: Path) -> MadeReport:
    """Make a report up to the last checkpoint, without publishing one that nobody cosigned."""
    source = LogSource(LogReader(log.store), root)
    return make_report(source, ReportScope(), folder, ["csv", "html", "pack"], version="0")


def test_a_checkpoint_between_first_and_last_shows_what_is_older(tmp_path: Path) -> None:
    log, root = witnessed_log()
    report = made_as_it_stands(log, root, tmp_path / "made").report
    assert (report.log.first.size, report.log.last.size) == (3, 12)
    (seen,) = report.log.sightings
    assert (seen.key_id, seen.checkpoint.size) == (KEY.key_id, 5)
    assert seen.cosigned_at == "2026-01-01T00:00:05Z"
    # the audit at 5 and 6 was first seen in the second after the compromise
    assert [entry.log_index for entry in report.discounted.items] == [5, 6]
    assert "no checkpoint of this report shows" in report.discounted.items[0].problem
    assert report.damaged.total == 0
    assert report.totals.num_verdicts == 3
    assert report.key_events.total == 4
    assert "What witnesses saw before a key was compromised" in words(
        tmp_path / "made" / "report.html"
    )


def test_the_checkpoint_travels_in_the_pack(tmp_path: Path) -> None:
    log, root = witnessed_log()
    report = made_as_it_stands(log, root, tmp_path / "made").report
    pack = tmp_path / "made" / PACK_FILE
    with zipfile.ZipFile(pack) as held:
        note = held.read("checkpoints/seen-5.txt").decode("utf-8")
        assert held.read("checkpoints/seen-5-consistency.txt")
        assert [name for name in held.namelist() if "seen-" in name] == [
            "checkpoints/seen-5.txt",
            "checkpoints/seen-5-consistency.txt",
        ]
    assert note == report.log.sightings[0].checkpoint.note
    assert verify_pack(pack, root).report.log.sightings == report.log.sightings
    assert rebuild(pack, tmp_path / "again").differing == ()


def _rewritten(pack: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    with zipfile.ZipFile(pack) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(pack, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        # without it fewer entries count, and the report is not what the evidence gives
        (lambda m: m.pop("checkpoints/seen-5.txt"), "does not belong: 'checkpoints/seen-5-cons"),
        (lambda m: m.pop("checkpoints/seen-5-consistency.txt"), "has no checkpoints/seen-5-cons"),
        (
            lambda m: m.update({"checkpoints/seen-5-consistency.txt": b""}),
            "proof",
        ),
        (
            lambda m: m.update({"checkpoints/seen-4.txt": m["checkpoints/first.txt"]}),
            "does not belong: 'checkpoints/seen-4.txt'",
        ),
        (
            lambda m: m.update({"checkpoints/seen-6.txt": m.pop("checkpoints/seen-5.txt")}),
            r"the pack has no checkpoints/seen-5\.txt",
        ),
    ],
)
def test_a_pack_with_another_sighting_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], object], problem: str
) -> None:
    log, root = witnessed_log()
    made_as_it_stands(log, root, tmp_path)
    _rewritten(tmp_path / PACK_FILE, change)
    with pytest.raises(VerificationError, match=problem):
        verify_pack(tmp_path / PACK_FILE, root)


def test_one_witness_that_saw_it_before_is_enough_within_a_quorum(tmp_path: Path) -> None:
    # as in `inference-audit verify`, whose step 14 takes the earliest cosignature
    log = SampleLog()
    log.audit(0)
    bare = log.publish()
    text = parse_note(bare.note).text
    lines = [
        WITNESSES[0].cosign(text, SECOND + 900),
        WITNESSES[0].cosign(text, SECOND + 4),
        WITNESSES[1].cosign(text, SECOND + 900),
    ]
    note = bare.note + "".join(lines).encode("utf-8")
    log.store.save_checkpoint(replace(bare, note=note, is_witnessed=True))
    key = replace(verdict_key(), below_index=9, compromised_at="2026-01-01T00:00:05Z")
    source = LogSource(LogReader(log.store), trust_root(quorum="two", keys=(key,)))
    report, found = collected(source, tmp_path)
    assert len(found) == 1
    assert [witness.cosigned_at for witness in report.log.witnesses] == [
        "2026-01-01T00:00:04Z",
        "2026-01-01T00:15:00Z",
        None,
    ]
    assert report.log.sightings[0].cosigned_at == "2026-01-01T00:00:04Z"


def test_the_time_of_a_compromise_is_read_to_the_second(tmp_path: Path) -> None:
    # as `inference-audit verify` does: a witness that says 4 may have seen it at 4.9
    log = SampleLog()
    log.audit(0)
    audited = job(1)
    log.verdict(audited, verdict(1), log.intent(audited))
    log.publish(witnesses=2)
    for time, num_counted in (("04.5", 0), ("05", 2)):
        at = f"2026-01-01T00:00:{time}Z"
        key = replace(verdict_key(), below_index=9, compromised_at=at)
        root = trust_root(quorum="two", keys=(key,))
        _, lines = collected(LogSource(LogReader(log.store), root), tmp_path / time)
        assert len(lines) == num_counted
