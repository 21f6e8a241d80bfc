"""SIGKILL of a serving process at random moments loses and duplicates nothing.

Each round starts the service on the same database, submits some exchanges, and kills the process
while they are under way. What is under way at a kill is taken up by the next round's process.
"""

import contextlib
import random
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from audit.client.client import AuditClient
from audit.errors import ConfigurationError, StorageError
from audit.ledger.verify import verify_envelope
from audit.records import AuditRequest, AuditState, Outcome, Reason
from tests.integration.processes import CALIBRATION, ServeProcess
from tests.integration.traffic import HONEST, renamed, requests_of

NUM_ROUNDS = 6
NUM_SUBMITTED_PER_ROUND = 8
MAX_DELAY_S = 0.8
#: Far more than the replays of all rounds together.
FINISH_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Acknowledged:
    """What the clients were told, by request id."""

    audit_ids: dict[str, str] = field(default_factory=dict)
    requests: dict[str, AuditRequest] = field(default_factory=dict)
    num_unanswered: int = 0


def submit_until_dead(address: str, requests: list[AuditRequest], told: Acknowledged) -> None:
    """Submit one after the other; note an audit only once it was acknowledged."""
    with AuditClient(address, timeout_s=10.0) as client:
        for request in requests:
            told.requests[request.request_id] = request
            try:
                audit = client.submit(request)
            except (ConfigurationError, StorageError):
                told.num_unanswered += 1
                return
            told.audit_ids[request.request_id] = audit.audit_id


def killed_round(
    folder: Path, requests: list[AuditRequest], delay_s: float, told: Acknowledged
) -> None:
    """Start, submit, and kill `delay_s` after the first acknowledgement."""
    num_before = len(told.audit_ids)
    with ServeProcess(folder, "--calibration", CALIBRATION) as process:
        submitter = threading.Thread(
            target=submit_until_dead, args=(process.address, requests, told)
        )
        submitter.start()
        while len(told.audit_ids) == num_before and submitter.is_alive():
            time.sleep(0.001)
        time.sleep(delay_s)
        process.kill()
        submitter.join()
    assert len(told.audit_ids) > num_before, process.stderr
    assert "Traceback" not in process.stderr


def await_all(process: ServeProcess, told: Acknowledged) -> None:
    """Check each acknowledged audit: there, done, signed, and known by its request id."""
    key = process.public_key.read_bytes()
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    with AuditClient(process.address) as client:
        for request_id, audit_id in told.audit_ids.items():
            while (audit := client.get(audit_id)).state is not AuditState.DONE:
                assert time.monotonic() < deadline, f"{audit_id} is {audit.state}"
                time.sleep(0.05)
            assert audit.request_id == request_id
            assert audit.signed is not None
            statement = verify_envelope(audit.signed.envelope, key)
            subject = statement["subject"]
            assert audit.request_digest.removeprefix("sha256:") in str(subject)
            verdict = audit.signed.verdict
            # three kills in the midst of one replay are a stated failure, and never a FAIL
            is_given_up = verdict.reasons == (Reason.REPLAY_FAILED,)
            assert verdict.outcome is Outcome.PASS or is_given_up, verdict
            again = client.submit(told.requests[request_id])
            assert (again.audit_id, again.state) == (audit_id, AuditState.DONE)


def check_database(path: Path) -> int:
    """Check that each audit has exactly one verdict; return how many there are."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        audits = connection.execute("SELECT audit_id, request_id, state FROM audits").fetchall()
        verdicts = [row[0] for row in connection.execute("SELECT audit_id FROM verdicts")]
    assert {state for _, _, state in audits} == {"DONE"}
    assert len({request_id for _, request_id, _ in audits}) == len(audits)
    assert sorted(verdicts) == sorted(audit_id for audit_id, _, _ in audits)
    return len(verdicts)


def await_queue_empty(process: ServeProcess) -> None:
    """Wait for audits too that were stored, but whose acknowledgement the kill cut off."""
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    with AuditClient(process.address) as client:
        while any(audit.state is not AuditState.DONE for audit in client.list()):
            assert time.monotonic() < deadline, process.stderr
            time.sleep(0.05)


def test_sigkill_at_random_moments_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261121)  # noqa: S311  moments to kill at, not a secret
    exchanges = requests_of(HONEST)
    told = Acknowledged()
    for number in range(NUM_ROUNDS):
        chosen = chance.sample(exchanges, NUM_SUBMITTED_PER_ROUND)
        requests = [renamed(r, f"round{number}-{i}") for i, r in enumerate(chosen)]
        killed_round(tmp_path, requests, chance.uniform(0.0, MAX_DELAY_S), told)
    with ServeProcess(tmp_path, "--calibration", CALIBRATION) as process:
        await_all(process, told)
        await_queue_empty(process)
        assert process.terminate() == 0
    num_verdicts = check_database(process.database)
    assert len(told.audit_ids) >= NUM_ROUNDS
    assert len(told.audit_ids) <= num_verdicts <= len(told.audit_ids) + told.num_unanswered
