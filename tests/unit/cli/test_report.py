"""`report`: what it prints, what it writes, and how it ends."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from audit.app.log import open_log, running_log
from audit.cli.exits import ExitCode
from audit.config import ServiceSettings, load_log_settings
from audit.reports.make import make_report
from audit.reports.pack_layout import PACK_FILE
from audit.reports.records import ReportScope
from tests.unit.cli.command import run
from tests.unit.reports.sample_log import OTHER_KEY, busy_log, job, trust_root, verdict_key


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of twenty verdicts and one that is missing."""
    log = busy_log(20)
    log.intent(job(99))
    made = make_report(
        log.source(), ReportScope(), tmp_path / "made", ["csv", "html", "pack"], version="0"
    )
    (tmp_path / "root.json").write_bytes(trust_root())
    assert made.pack == tmp_path / "made" / PACK_FILE
    return made.pack


def test_a_pack_verifies(pack: Path, tmp_path: Path) -> None:
    done = run("report", "verify", pack, "--trust-root", tmp_path / "root.json")
    assert done.code == ExitCode.PASS
    words = " ".join(done.stdout.split())
    assert "42 entries with 20 verdicts verify up to the checkpoint of 42" in words
    assert "lists something as missing: read it" in words


def test_a_pack_verifies_for_programs(pack: Path, tmp_path: Path) -> None:
    done = run("report", "verify", pack, "--trust-root", tmp_path / "root.json", "--json")
    line = json.loads(done.stdout)
    assert (line["verified"], line["is_own_trust_root"], line["not_rebuilt"]) == (True, True, [])
    assert (line["num_verdicts"], line["num_missing"], line["is_complete"]) == (20, 1, False)


def test_a_pack_under_another_key_is_refused(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(trust_root(keys=(verdict_key(OTHER_KEY),)))
    done = run("report", "verify", pack, "--trust-root", tmp_path / "root.json")
    assert done.code == ExitCode.FAIL
    assert "entry 0 of the pack cannot be relied on" in done.stderr


def test_discounted_entries_are_told_and_the_pack_verifies(tmp_path: Path) -> None:
    root = trust_root(keys=(replace(verdict_key(), below_index=3),))
    (tmp_path / "root.json").write_bytes(root)
    source = busy_log(3).source(root)
    make_report(source, ReportScope(), tmp_path, ["csv", "pack"], version="0")
    done = run("report", "verify", tmp_path / PACK_FILE, "--trust-root", tmp_path / "root.json")
    assert done.code == ExitCode.PASS
    assert "4 of the entries do not count" in " ".join(done.stdout.split())
    shown = run("report", "rebuild", tmp_path / PACK_FILE, "--out", tmp_path / "again")
    assert "0 damaged, 4 discounted, 0 gaps" in shown.stdout


def test_a_report_is_rebuilt(pack: Path, tmp_path: Path) -> None:
    done = run("report", "rebuild", pack, "--out", tmp_path / "again", "--json")
    assert done.code == ExitCode.PASS
    assert json.loads(done.stdout)["differing"] == []
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "made" / path.name).read_bytes()
    shown = run("report", "rebuild", pack, "--out", tmp_path / "third")
    assert "1 MISSING, 0 contents gone" in shown.stdout


def test_a_report_that_is_not_what_its_evidence_gives_ends_with_1(
    pack: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(pack) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["report/verdicts.csv"] = b"nothing"
    with zipfile.ZipFile(pack, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    done = run("report", "rebuild", pack, "--out", tmp_path / "again")
    assert done.code == ExitCode.FAIL
    assert "verdicts.csv: not the same bytes as in the pack" in done.stdout


def test_a_report_of_a_log_is_made_and_logged(tmp_path: Path) -> None:
    where = ("--database", f"sqlite:///{tmp_path}/log.db", "--key", tmp_path / "key.pem")
    settings = ServiceSettings(
        database=str(where[1]), key_path=tmp_path / "key.pem", log=load_log_settings(None)
    )
    with open_log(settings) as log, running_log(log):
        (tmp_path / "root.json").write_bytes(log.reader.trust_root())
    out = tmp_path / "out"
    done = run("report", "make", *where, "--out", out, "--format", "csv,summaries,pack", "--json")
    assert done.code == ExitCode.PASS, done.stderr
    line = json.loads(done.stdout)
    # the only entry before it introduces the key
    assert (line["size"], line["logged_at_index"], line["is_complete"]) == (1, 1, True)
    assert line["others"] == ["svr.intoto.json", "vsa.intoto.json", PACK_FILE]
    checked = run("report", "verify", out / PACK_FILE, "--trust-root", tmp_path / "root.json")
    assert checked.code == ExitCode.PASS
    shown = run("report", "make", *where, "--out", tmp_path / "second", "--format", "html")
    assert "the report is entry 2 of the log" in shown.stdout
    alone = run("report", "make", *where, "--out", out, "--witnessed")
    assert alone.code == ExitCode.USAGE
    assert "the log has no witness policy" in " ".join(alone.stderr.split())
    refused = run("report", "make", *where, "--out", out, "--format", "docx")
    assert refused.code == ExitCode.USAGE
    assert "choose from html, pdf, oscal, csv, parquet, columns, summaries, pack" in " ".join(
        refused.stderr.split()
    )


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    done = run("report", "verify", tmp_path / "no.zip", "--trust-root", tmp_path / "no.json")
    assert done.code == ExitCode.USAGE
    assert "cannot read" in done.stderr
    assert run("report", "rebuild", tmp_path / "no.zip", "--out", tmp_path).code == ExitCode.USAGE
