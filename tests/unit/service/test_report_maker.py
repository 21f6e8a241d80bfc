"""Reports over the wire, made by the real thing from a real log."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.client.log_client import LogClient
from audit.client.report_client import FileStart, ReportClient
from audit.codec.wire_report import FORMATS, ReportReceipt
from audit.errors import EntryNotFound, InvalidRequest
from audit.ledger.entries import KeyAction, KeyEvent
from audit.ledger.verdict_log import Trust, VerdictLog
from audit.reports import formats as rendered
from audit.reports.make import PACK_FORMAT, SUMMARIES_FORMAT
from audit.reports.rebuild import verify_pack
from audit.reports.records import ReportScope
from audit.service.report_maker import ReportMaker
from tests.support.logs import log_signer, verdict_key
from tests.unit.service.examples import memory_store
from tests.unit.service.logs import Scene, scene
from tests.unit.service.running import RunningService, running

CHOSEN = ("oscal", "csv", "summaries", "pack")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path / "log") as found:
        yield found


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def service(own: Scene, scratch: Path) -> Iterator[RunningService]:
    log = VerdictLog(own.log.store, Trust(log_key=log_signer().key))
    maker = ReportMaker(log, own.log.recorder.log_report, version="0.0.0-test", scratch=scratch)
    with running(own.audits, log=log, reports=maker) as service:
        yield service


def introduce_key(own: Scene) -> None:
    key = verdict_key()
    event = KeyEvent(
        action=KeyAction.INTRODUCED, key_id=key.key_id, public_key_pem=key.public_key_pem
    )
    own.log.recorder.log_key_event(event)


def received(client: ReportClient) -> tuple[dict[str, bytes], ReportReceipt]:
    files: dict[str, bytes] = {}
    name = ""
    for piece in client.export(ReportScope(), CHOSEN):
        if isinstance(piece, FileStart):
            name = piece.name
            files[name] = b""
        elif isinstance(piece, bytes):
            files[name] += piece
        else:
            return files, piece
    raise AssertionError("no receipt")


def test_the_wire_knows_every_format() -> None:
    assert set(FORMATS) == {*rendered.FORMATS, SUMMARIES_FORMAT, PACK_FORMAT}


def test_a_report_is_sent_whole_and_logged(
    own: Scene, service: RunningService, scratch: Path, tmp_path: Path
) -> None:
    introduce_key(own)
    own.audit("request-1")
    with ReportClient(service.address) as reports, LogClient(service.address) as log:
        files, receipt = received(reports)
        entry, trust_root = log.entry(receipt.log_index), log.trust_root()
    manifest = json.loads(files["manifest.json"])
    for file in manifest["files"]:
        assert file["digest"] == f"sha256:{hashlib.sha256(files[file['name']]).hexdigest()}"
    assert {"oscal-assessment-results.json", "verdicts.csv", "columns.json"} <= files.keys()
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    assert receipt.manifest_digest == f"sha256:{digest}"
    assert entry.entry_key == f"report:{digest}"
    assert entry.entry_digest == receipt.entry_digest
    (pack,) = (name for name in files if name.endswith(".zip"))
    (tmp_path / pack).write_bytes(files[pack])
    assert verify_pack(tmp_path / pack, trust_root).report.totals.num_verdicts == 1
    assert list(scratch.iterdir()) == [], "temporary files are left behind"


def test_an_index_beyond_the_log_is_named(own: Scene, service: RunningService) -> None:
    introduce_key(own)
    with ReportClient(service.address) as reports:
        for scope, field in (
            (ReportScope(first_index=2), "first_index"),
            (ReportScope(end_index=2), "end_index"),
        ):
            with pytest.raises(InvalidRequest, match=rf"scope\.{field}: is 2; the log has 1"):
                list(reports.export(scope, ["oscal"]))


def test_a_log_without_a_checkpoint_has_no_report(own: Scene) -> None:
    log = VerdictLog(memory_store().log, Trust(log_key=log_signer().key))
    maker = ReportMaker(log, own.log.recorder.log_report, version="0.0.0-test")
    with (
        running(own.audits, reports=maker) as service,
        ReportClient(service.address) as reports,
        pytest.raises(EntryNotFound, match="no checkpoint yet"),
    ):
        list(reports.export(ReportScope(), ["oscal"]))
