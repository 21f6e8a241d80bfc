"""Time-stamps of the last checkpoint: told with their time only where the trust root vouches."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from audit.ledger.notes import parse_note
from audit.ledger.trust_root import TrustRoot, dump_trust_root, load_trust_root
from audit.log_records import StoredTimestamp
from audit.reports.make import make_report
from audit.reports.pack_layout import PACK_FILE
from audit.reports.rebuild import verify_pack
from audit.reports.records import ReportScope
from tests.unit.ledger.test_timestamps import make_authority
from tests.unit.reports.collecting import collected
from tests.unit.reports.sample_log import SampleLog, trust_root

pytest.importorskip("rfc3161_client", reason="the extra `timestamps` is not installed")


def stamped_log(folder: Path) -> tuple[SampleLog, bytes]:
    """Return a log with a stamped checkpoint, and a trust root with the authority."""
    authority = make_authority(folder, usage=ExtendedKeyUsageOID.TIME_STAMPING, years=(0, 2))
    log = SampleLog()
    log.audit(0)
    note = log.publish().note
    query, text = folder / "note.tsq", folder / "note.txt"
    text.write_text(parse_note(note).text, encoding="utf-8")
    command = ["openssl", "ts", "-query", "-data", str(text), "-sha256", "-cert", "-out"]
    subprocess.run([*command, str(query)], check=True, capture_output=True)
    _, _, response = authority.answer(query.read_bytes())
    log.store.save_timestamp(
        StoredTimestamp(size=2, authority="tsa", response=response, obtained_at=log.now())
    )
    root = load_trust_root(trust_root())
    return log, dump_trust_root(
        TrustRoot(
            policy=root.policy,
            verdict_keys=root.verdict_keys,
            timestamp_authorities=("".join(authority.chain),),
        )
    )


def test_a_stamp_is_told_with_its_time(tmp_path: Path) -> None:
    log, root = stamped_log(tmp_path / "tsa")
    report, _ = collected(log.source(root), tmp_path / "a")
    (stamp,) = report.log.timestamps
    assert stamp.stamped_at is not None
    (held,) = log.store.list_timestamps(first_size=2, limit=9)
    assert stamp.response_digest == f"sha256:{hashlib.sha256(held.response).hexdigest()}"


def test_a_stamp_of_an_unknown_authority_has_no_time(tmp_path: Path) -> None:
    log, _ = stamped_log(tmp_path / "tsa")
    report, _ = collected(log.source(), tmp_path / "a")
    assert [stamp.stamped_at for stamp in report.log.timestamps] == [None]


def test_a_stamp_travels_in_the_pack(tmp_path: Path) -> None:
    log, root = stamped_log(tmp_path / "tsa")
    make_report(log.source(root), ReportScope(), tmp_path, ["csv", "pack"], version="0")
    verified = verify_pack(tmp_path / PACK_FILE, root)
    assert [stamp.stamped_at is not None for stamp in verified.report.log.timestamps] == [True]
