"""A real service, audited from outside: gRPC in, signed verdicts out, verified offline."""

import stat
import time
from pathlib import Path

import pytest

from audit.client.client import AuditClient
from audit.errors import RequestConflict
from audit.ledger.verify import verify_envelope
from audit.records import AuditFilter, AuditState, Outcome
from tests.integration.processes import CALIBRATION, Finished, ServeProcess, run
from tests.integration.traffic import CHEAT, HONEST, renamed, requests_of, write_lines


@pytest.fixture(scope="module")
def submitted(service: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    traffic = write_lines(
        tmp_path_factory.mktemp("traffic") / "mixed.jsonl", (HONEST, 1), (CHEAT, 1)
    )
    return run("submit", "--json", "--address", service.address, "--traffic", traffic)


def test_an_honest_line_passes_and_a_cheating_one_fails(submitted: Finished) -> None:
    assert submitted.code == 1, submitted.stderr
    honest, cheat = submitted.lines
    assert (honest["verdict"], cheat["verdict"]) == ("PASS", "FAIL")
    assert honest["could_have_seen"]["statement"]
    assert cheat["reasons"] == ["token_divergence"]
    assert honest["audit_id"] != cheat["audit_id"]
    assert honest["state"] == cheat["state"] == "DONE"
    assert honest["claimed_model"] == "example"


def test_only_honest_traffic_exits_zero(service: ServeProcess, tmp_path: Path) -> None:
    honest = write_lines(tmp_path / "honest.jsonl", (HONEST, 2))
    done = run("submit", "--json", "--address", service.address, "--traffic", honest)
    assert done.code == 0, done.stdout
    assert [line["verdict"] for line in done.lines] == ["PASS", "PASS"]


def test_submitting_again_returns_the_same_audits(
    service: ServeProcess, submitted: Finished, tmp_path: Path
) -> None:
    traffic = write_lines(tmp_path / "again.jsonl", (HONEST, 1), (CHEAT, 1))
    again = run("submit", "--json", "--address", service.address, "--traffic", traffic)
    first = [line["audit_id"] for line in submitted.lines]
    assert [line["audit_id"] for line in again.lines] == first
    assert again.code == 1


def test_the_stored_verdict_is_shown_and_verifies_offline(
    service: ServeProcess, submitted: Finished, tmp_path: Path
) -> None:
    audit_id, envelope = submitted.lines[0]["audit_id"], tmp_path / "verdict.json"
    shown = run("show", audit_id, "--json", "--address", service.address, "--envelope", envelope)
    assert shown.code == 0, shown.stderr
    (line,) = shown.lines
    assert (line["audit_id"], line["verdict"]) == (audit_id, "PASS")
    verified = run("verify", envelope, "--json", "--key", service.public_key)
    assert verified.code == 0, verified.stderr
    (statement,) = verified.lines
    assert statement["verified"] is True
    assert statement["statement"]["predicate"]["verdict"] == "PASSED"


def test_a_flipped_byte_is_refused(
    service: ServeProcess, submitted: Finished, tmp_path: Path, client: AuditClient
) -> None:
    signed = client.get(submitted.lines[1]["audit_id"]).signed
    assert signed is not None
    middle = len(signed.envelope) // 2
    flipped = bytearray(signed.envelope)
    flipped[middle] = ord("A") if flipped[middle] != ord("A") else ord("B")
    bad = tmp_path / "flipped.json"
    bad.write_bytes(flipped)
    done = run("verify", bad, "--key", service.public_key)
    assert done.code == 1
    assert "step " in done.stderr
    assert "do not rely on this verdict" in done.stderr
    as_json = run("verify", bad, "--json", "--key", service.public_key)
    assert as_json.code == 1
    assert [line["verified"] for line in as_json.lines] == [False]


def test_audits_are_listed_newest_first_and_filtered(
    service: ServeProcess, submitted: Finished
) -> None:
    listed = run("list", "--json", "--address", service.address, "--model", "example")
    assert listed.code == 0, listed.stderr
    times = [line["submitted_at"] for line in listed.lines]
    assert times == sorted(times, reverse=True)
    ids = {line["audit_id"] for line in listed.lines}
    assert {line["audit_id"] for line in submitted.lines} <= ids
    failed = run("list", "--json", "--address", service.address, "--outcome", "fail")
    assert {line["verdict"] for line in failed.lines} == {"FAIL"}
    limited = run("list", "--json", "--address", service.address, "--limit", "1")
    assert len(limited.lines) == 1


def test_the_python_client_sees_what_the_command_line_sees(
    service: ServeProcess, submitted: Finished, client: AuditClient
) -> None:
    audit = client.get(submitted.lines[1]["audit_id"])
    assert audit.state is AuditState.DONE
    assert audit.signed is not None
    assert audit.signed.verdict.outcome is Outcome.FAIL
    verify_envelope(audit.signed.envelope, service.public_key.read_bytes())
    failed = [a.audit_id for a in client.list(AuditFilter(outcome=Outcome.FAIL), page_size=1)]
    assert audit.audit_id in failed


def test_a_watch_ends_with_the_verdict_and_an_id_holds_one_exchange(client: AuditClient) -> None:
    first, second = requests_of(HONEST)[2:4]
    audit = client.submit(renamed(first, "watched-1"))
    *_, last = client.watch(audit.audit_id)
    assert last.state is AuditState.DONE
    assert client.submit(renamed(first, "watched-1")).audit_id == audit.audit_id
    with pytest.raises(RequestConflict):
        client.submit(renamed(second, "watched-1"))


def test_an_unknown_audit_exits_66_and_a_missing_service_64(service: ServeProcess) -> None:
    unknown = run("show", "no-such-audit", "--json", "--address", service.address)
    assert (unknown.code, unknown.stdout) == (66, "")
    assert "list the audits" in unknown.stderr
    nobody = run("list", "--json", "--address", "127.0.0.1:1")
    assert (nobody.code, nobody.stdout) == (64, "")
    assert "inference-audit serve" in nobody.stderr


def test_the_key_is_private_and_its_text_stays_in_its_file(
    service: ServeProcess, submitted: Finished
) -> None:
    assert stat.S_IMODE(service.key.stat().st_mode) == 0o600
    pem = service.key.read_text(encoding="utf-8").splitlines()
    secret = [line for line in pem if line and not line.startswith("-----")]
    assert secret
    for text in (service.stdout, service.stderr, submitted.stdout, submitted.stderr):
        assert not any(line in text for line in secret)
    for path in service.folder.iterdir():
        content = path.read_bytes()
        assert path == service.key or not any(line.encode() in content for line in secret)


def test_the_announcement_is_one_json_line(service: ServeProcess) -> None:
    assert len(service.stdout.splitlines()) == 1
    assert service.address.startswith("127.0.0.1:")
    assert not service.address.endswith(":0")
    assert service.announcement["public_key"] == str(service.public_key)


def test_sigterm_stops_cleanly_with_work_in_hand(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, "--calibration", CALIBRATION) as process:
        with AuditClient(process.address) as client:
            for number, request in enumerate(requests_of(HONEST)[:20]):
                client.submit(renamed(request, f"late-{number}"))
        start = time.monotonic()
        assert process.terminate() == 0
        assert time.monotonic() - start < 10
        assert "Traceback" not in process.stderr
        assert len(process.stdout.splitlines()) == 1
