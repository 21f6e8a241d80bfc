"""An evidence pack gives its report again, byte for byte, and nothing false passes the check."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rfc8785

from audit.errors import ConfigurationError, StorageError, VerificationError
from audit.ledger.merkle import leaf_hash, verify_inclusion
from audit.ledger.notes import parse_note
from audit.ledger.reader import LogReader
from audit.ledger.tiles import tile_path
from audit.log_records import StoredTimestamp
from audit.reports import rebuild as rebuild_module
from audit.reports.formats import FORMATS, can_render
from audit.reports.make import MadeReport, make_report
from audit.reports.pack import needed_tiles, write_pack
from audit.reports.pack_layout import PACK_FILE
from audit.reports.rebuild import rebuild, verify_pack
from audit.reports.records import ReportScope
from audit.reports.render import choose_formats
from audit.reports.source import LogSource
from tests.unit.reports.sample_log import (
    OTHER_KEY,
    WITNESSES,
    SampleLog,
    busy_log,
    job,
    trust_root,
    verdict,
    verdict_key,
)

LIGHT = ("html", "oscal", "csv", "parquet", "pack")


def made(
    log: SampleLog,
    folder: Path,
    scope: ReportScope | None = None,
    *,
    formats: tuple[str, ...] = LIGHT,
    root: bytes | None = None,
) -> MadeReport:
    return make_report(
        log.source(root), scope or ReportScope(), folder, formats, version="0.0.0-test"
    )


def troubled_log() -> SampleLog:
    """Return a log with something missing, erased, gone and damaged."""
    log = busy_log(150)
    tokens = log.keep_tokens(_tokens())
    audited = job(900)
    log.verdict(audited, verdict(900), log.intent(audited), evidence=(tokens,))
    log.intent(job(901))
    log.erase(9, 1, 2)
    log.lose(50)
    log.change(60, lambda entry: replace(entry, envelope=b"not\njson\xff"))
    return log


def _tokens() -> bytes:
    columns = {
        "profile": "p",
        "margin_logits": [1.0, -0.5],
        "gap_logits": [1.0, 0.5],
        "rank": [0, 1],
        "is_mismatch": [0, 1],
    }
    return json.dumps(columns, separators=(",", ":")).encode()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pdf"])
def test_each_format_is_rebuilt_from_the_pack_byte_for_byte(tmp_path: Path, name: str) -> None:
    scope = ReportScope(exchanges=("audit-900",))
    report = made(troubled_log(), tmp_path / "made", scope, formats=(name, "pack"))
    assert report.report.exchanges[0].tokens == _tokens()
    rebuilt = rebuild(tmp_path / "made" / PACK_FILE, tmp_path / "again")
    assert rebuilt.differing == ()
    again, first = files_in(tmp_path / "again"), files_in(tmp_path / "made")
    del first[PACK_FILE]
    assert again == first
    assert FORMATS[name].file_name in again


def test_a_pdf_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    if not can_render("pdf"):
        # what a machine without Pango does instead is part of the promise
        with pytest.raises(ConfigurationError, match="WeasyPrint"):
            made(busy_log(5), tmp_path / "made", formats=("pdf", "pack"))
        return
    made(busy_log(5), tmp_path / "made", formats=("pdf", "pack"))
    rebuilt = rebuild(tmp_path / "made" / PACK_FILE, tmp_path / "again")
    assert rebuilt.differing == ()


def test_without_the_library_a_pdf_counts_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_render("pdf"):
        pytest.fail("this test needs WeasyPrint and Pango: apt-get install libpango-1.0-0")
    made(busy_log(5), tmp_path, formats=("pdf", "csv", "pack"))
    monkeypatch.setattr(rebuild_module, "can_render", lambda name: name != "pdf")
    verified = verify_pack(tmp_path / PACK_FILE, trust_root())
    assert verified.not_rebuilt == ("report.pdf",)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    log = busy_log(40)
    for name in ("one", "two"):
        made(log, tmp_path / name)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


def test_the_manifest_names_every_file_and_repeats_the_record(tmp_path: Path) -> None:
    report = made(busy_log(30), tmp_path)
    manifest = json.loads(report.manifest)
    assert report.manifest == rfc8785.dumps(manifest)
    found = files_in(tmp_path)
    for file in manifest["files"]:
        content = found.pop(file["name"])
        assert file["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert file["sizeBytes"] == len(content)
    assert sorted(found) == [PACK_FILE, "manifest.json"]
    assert manifest["report"]["totals"]["numVerdicts"] == 30
    assert manifest["report"]["log"]["origin"] == "log.test.example"
    assert manifest["report"]["scope"]["endIndex"] == 61


def test_a_sound_pack_verifies(tmp_path: Path) -> None:
    made(busy_log(300), tmp_path)
    verified = verify_pack(tmp_path / PACK_FILE, trust_root())
    assert verified.is_own_trust_root
    assert verified.not_rebuilt == ()
    assert verified.report.totals.num_verdicts == 300


def test_a_pack_verifies_under_a_newer_trust_root(tmp_path: Path) -> None:
    made(busy_log(20), tmp_path)
    newer = trust_root(keys=(verdict_key(), verdict_key(OTHER_KEY, from_index=500)))
    assert not verify_pack(tmp_path / PACK_FILE, newer).is_own_trust_root


def test_a_pack_of_a_damaged_log_does_not_verify(tmp_path: Path) -> None:
    made(troubled_log(), tmp_path)
    with pytest.raises(VerificationError, match="entry 60 of the pack cannot be relied on"):
        verify_pack(tmp_path / PACK_FILE, trust_root())


def test_a_key_that_the_reader_does_not_trust_is_refused(tmp_path: Path) -> None:
    made(busy_log(5), tmp_path)
    other = trust_root(keys=(verdict_key(OTHER_KEY),))
    with pytest.raises(VerificationError, match=r"entry 0 .* trust root does not know its key"):
        verify_pack(tmp_path / PACK_FILE, other)


def test_a_missing_quorum_is_refused(tmp_path: Path) -> None:
    log = busy_log(5)
    log.publish(witnesses=1)
    made(log, tmp_path)
    with pytest.raises(VerificationError, match="no quorum of witnesses"):
        verify_pack(tmp_path / PACK_FILE, trust_root(quorum="two"))


def test_a_window_is_proven_under_the_whole_tree(tmp_path: Path) -> None:
    log = busy_log(500)
    log.publish()
    log.audit(990)
    made(log, tmp_path / "made", ReportScope(first_index=600, end_index=700), formats=LIGHT)
    verified = verify_pack(tmp_path / "made" / PACK_FILE, trust_root())
    report = verified.report
    assert report.totals.num_entries == 100
    assert (report.log.first.size, report.log.last.size) == (1001, 1003)
    assert report.log.consistency
    assert any("begins at index 600" in text for text in report.limits.statements)
    with zipfile.ZipFile(tmp_path / "made" / PACK_FILE) as pack:
        tiles = {name for name in pack.namelist() if name.startswith("tile/")}
        assert tile_path(0, 0) not in tiles
        read = pack.read(tile_path(0, 2))
        assert len(read) == 256 * 32
    assert {tile_path(*tile) for tile in needed_tiles(report)} == tiles


def test_any_inclusion_proof_can_be_made_from_the_packs_tiles(tmp_path: Path) -> None:
    from audit.ledger.merkle import inclusion_proof
    from audit.reports.pack_source import PackSource
    from audit.reports.tree_check import TreeCheck

    log = busy_log(290)
    made(log, tmp_path, ReportScope(first_index=250, end_index=330))
    with PackSource(tmp_path / PACK_FILE) as source:
        tree = TreeCheck(source.checkpoint, source.tile)
        size, root = source.checkpoint.size, source.checkpoint.root
        for entry in source.entries(250, 330, None):
            assert entry.leaf_body is not None
            verify_inclusion(
                leaf=leaf_hash(entry.leaf_body),
                index=entry.log_index,
                size=size,
                proof=inclusion_proof(entry.log_index, size, tree._hash_at),
                root=root,
            )


def test_one_tenants_pack_holds_nothing_of_the_others(tmp_path: Path) -> None:
    log = SampleLog()
    log.policy()
    for number in range(4):
        log.audit(number, tenant="acme" if number % 2 else "secret-tenant")
    made(log, tmp_path, ReportScope(tenant="acme"))
    with zipfile.ZipFile(tmp_path / PACK_FILE) as pack:
        held = b"".join(pack.read(name) for name in pack.namelist())
    assert b"secret-tenant" not in held
    assert b"audit-0" not in held
    verified = verify_pack(tmp_path / PACK_FILE, trust_root())
    assert verified.report.totals.num_foreign == 4
    assert verified.report.is_complete


def test_content_erased_while_the_report_is_made_is_noticed(tmp_path: Path) -> None:
    log = busy_log(10)
    source = log.source()
    report = make_report(source, ReportScope(), tmp_path, ["csv"], version="0")
    log.lose(3)
    with pytest.raises(StorageError, match="make the report again"):
        write_pack(source, report.report, tmp_path, report.files, tmp_path / PACK_FILE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "columns.json",
        "manifest.json",
        "verdicts.csv",
    ]


def test_a_stamp_that_comes_while_the_report_is_made_is_for_the_next(tmp_path: Path) -> None:
    log = busy_log(10)
    source = log.source()
    report = make_report(source, ReportScope(), tmp_path, ["csv"], version="0")
    log.store.save_timestamp(
        StoredTimestamp(size=log.size, authority="tsa", response=b"late", obtained_at=log.now())
    )
    write_pack(source, report.report, tmp_path, report.files, tmp_path / PACK_FILE)
    assert verify_pack(tmp_path / PACK_FILE, trust_root()).report.log.timestamps == ()
    assert len(log.source().timestamps()) == 1


def test_a_cosignature_that_comes_while_the_report_is_made_is_for_the_next(tmp_path: Path) -> None:
    log = busy_log(3)
    early = log.publish()
    log.audit(9)
    source = log.source()
    report = make_report(source, ReportScope(), tmp_path, ["csv", "pack"], version="0")
    made_at_once = (tmp_path / PACK_FILE).read_bytes()
    for checkpoint in (early, source.checkpoint):
        text = parse_note(checkpoint.note).text
        line = WITNESSES[0].cosign(text, 1_800_000_000).encode("utf-8")
        log.store.save_checkpoint(
            replace(checkpoint, note=checkpoint.note + line, issued_at=log.now(), is_witnessed=True)
        )
    assert next(LogReader(log.store).checkpoints(above_size=0)).is_witnessed
    write_pack(source, report.report, tmp_path, report.files, tmp_path / PACK_FILE)
    assert (tmp_path / PACK_FILE).read_bytes() == made_at_once
    verify_pack(tmp_path / PACK_FILE, trust_root())


def rewrite(pack: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Change members of a pack and write it again, as somebody with an editor would."""
    with zipfile.ZipFile(pack) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)


def _replace(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        assert old in members[name], (name, old)
        members[name] = members[name].replace(old, new, 1)

    return change


def _drop_verdict(members: dict[str, bytes]) -> None:
    lines = members["entries/000000.jsonl"].splitlines(keepends=True)
    line = json.loads(lines[4])
    del line["envelope"]
    lines[4] = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    envelopes = members["envelopes/000000.intoto.jsonl"].splitlines(keepends=True)
    members["entries/000000.jsonl"] = b"".join(lines)
    members["envelopes/000000.intoto.jsonl"] = b"".join(envelopes[:4] + envelopes[5:])


def _hide_as_foreign(members: dict[str, bytes]) -> None:
    _drop_verdict(members)
    lines = members["entries/000000.jsonl"].splitlines(keepends=True)
    lines[4] = b'{"index":4}\n'
    members["entries/000000.jsonl"] = b"".join(lines)


def _swap_envelopes(members: dict[str, bytes]) -> None:
    lines = members["envelopes/000000.intoto.jsonl"].splitlines(keepends=True)
    lines[2], lines[4] = lines[4], lines[2]
    members["envelopes/000000.intoto.jsonl"] = b"".join(lines)


def _cut(members: dict[str, bytes]) -> None:
    content = members["entries/000000.jsonl"]
    members["entries/000000.jsonl"] = content[: content.rindex(b"\n", 0, -1) + 1]


def _lie_in_the_csv(members: dict[str, bytes]) -> None:
    members["report/verdicts.csv"] = members["report/verdicts.csv"].replace(b"FAILED", b"PASSED")


def _lie_throughout(members: dict[str, bytes]) -> None:
    old = f"sha256:{hashlib.sha256(members['report/verdicts.csv']).hexdigest()}"
    _lie_in_the_csv(members)
    new = f"sha256:{hashlib.sha256(members['report/verdicts.csv']).hexdigest()}"
    manifest = members["report/manifest.json"]
    members["report/manifest.json"] = manifest.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_replace("checkpoints/last.txt", b"\n121\n", b"\n120\n"), "does not verify"),
        (_replace("checkpoints/first.txt", b"log.test", b"log.best"), "does not verify"),
        (_replace("tile/0/000.p/121", b"\x00", b"\x01"), "the tiles of the log give the root"),
        (_replace("entries/000000.jsonl", b"hashedrekord", b"hashedrekorb"), "its leaf is not the"),
        (_replace("entries/000000.jsonl", b'"index":7,', b'"index":8,'), "is of another one"),
        (_replace("entries/000000.jsonl", b'"index":7,', b'"index":7'), "is not strict JSON"),
        (_replace("envelopes/000000.intoto.jsonl", b'"sig":"', b'"sig":"A'), "entry 0 of the pack"),
        (_swap_envelopes, "entry 2 of the pack cannot be relied on: its envelope is not the one"),
        (_cut, "the pack ends, or has too long a line, at entry 120"),
        (_drop_verdict, "is not what its evidence gives"),
        (_hide_as_foreign, "entry 4 of the pack cannot be relied on: it is withheld"),
        (_lie_in_the_csv, "report/verdicts.csv of the pack is not the file that its manifest"),
        (_lie_throughout, "report/manifest.json of the pack is not what its evidence gives"),
        (lambda members: members.pop("tile/0/000.p/121"), "the pack has no tile/0/000.p/121"),
        (lambda members: members.pop("report/verdicts.csv"), "the pack has no report/verdicts.csv"),
        (lambda members: members.pop("pack.json"), "the pack has no pack.json"),
        (lambda members: members.pop("README.txt"), "the pack has no README.txt"),
        (lambda members: members.update({"virus.exe": b""}), "does not belong: 'virus.exe'"),
        (lambda members: members.update({"report/more.txt": b""}), "not belong: 'report/more.txt'"),
        (lambda members: members.update({"tile/5/000": b""}), "does not belong: 'tile/5/000'"),
        (
            lambda members: members.update({"README.txt": b"Trust me."}),
            "README.txt of the pack does",
        ),
        (lambda members: members.update({"pack.json": b"{}"}), "the pack is of the form None"),
    ],
)
def test_nothing_false_passes(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], problem: str
) -> None:
    made(busy_log(60), tmp_path, formats=("csv", "pack"))
    rewrite(tmp_path / PACK_FILE, change)
    with pytest.raises(VerificationError, match=problem):
        verify_pack(tmp_path / PACK_FILE, trust_root())


def test_a_damaged_file_is_refused_wherever_a_bit_flips(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    made(log, tmp_path, formats=("csv", "pack"))
    pack, sound = tmp_path / PACK_FILE, (tmp_path / PACK_FILE).read_bytes()
    contents = _contents(pack)
    accepted = 0
    for place in range(0, len(sound), 97):
        pack.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        try:
            verify_pack(pack, trust_root())
        except VerificationError:
            continue
        accepted += 1
        # some bits of a zip say nothing of the content, such as a member's time
        assert _contents(pack) == contents, place
    assert accepted < 10


def _contents(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with pytest.raises(ConfigurationError, match="cannot read"):
        verify_pack(path, trust_root())
    path.write_bytes(b"not a zip")
    with pytest.raises(VerificationError, match="is not a zip file"):
        verify_pack(path, trust_root())
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr("a", b"")
    shutil.copy(path, tmp_path / "y.zip")
    with pytest.raises(VerificationError, match=r"the pack has no pack\.json"):
        verify_pack(path, trust_root())


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    made(busy_log(3), tmp_path, formats=("csv", "pack"))
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / PACK_FILE, "a") as pack,
    ):
        pack.writestr("pack.json", b"{}")
    with pytest.raises(VerificationError, match="two members of one name"):
        verify_pack(tmp_path / PACK_FILE, trust_root())


def test_summaries_name_the_manifest(tmp_path: Path) -> None:
    source: LogSource = busy_log(5).source()
    report = make_report(
        source,
        ReportScope(),
        tmp_path,
        ["csv", "summaries"],
        version="1.2.3",
        sign=lambda statement: b'{"signed":' + statement + b"}",
    )
    digest = hashlib.sha256(report.manifest).hexdigest()
    assert [path.name for path in report.summaries] == ["svr.intoto.json", "vsa.intoto.json"]
    for path in report.summaries:
        statement = json.loads(path.read_bytes())["signed"]
        assert statement["subject"][0]["digest"] == {"sha256": digest}


def test_formats_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no report format 'docx': choose from html"):
        made(SampleLog(), tmp_path / "made", formats=("docx",))
    assert not (tmp_path / "made").exists()
    assert choose_formats(["parquet", "csv", "csv"]) == ("csv", "parquet", "columns")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="the report cannot be written to"):
        made(busy_log(2), tmp_path / "file" / "below")
