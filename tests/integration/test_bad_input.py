"""Bad input ends as a named reason, through `check` and through the running service alike."""

import json
import re
from pathlib import Path

import pytest

from audit.client.client import AuditClient
from audit.records import Outcome, Reason
from tests.integration.bad_traffic import CASES, HONEST_FILE, Case, content_of, honest_line
from tests.integration.processes import Finished, JsonLine, ServeProcess
from tests.integration.processes import run as run_process
from tests.integration.traffic import renamed, requests_of
from tests.unit.cli.command import JUDGED, run

ALL_FILES = tuple(path for c in CASES for path in ("--traffic", c.path))
WITH_HONEST = (*ALL_FILES, "--traffic", HONEST_FILE)
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@pytest.fixture(scope="module")
def checked() -> Finished:
    """All bad recordings and an honest one in one `check`, in a process of its own."""
    return run_process("check", "--json", *JUDGED, *WITH_HONEST)


@pytest.fixture(scope="module")
def submitted(service: ServeProcess) -> Finished:
    """The same, submitted to the running service."""
    return run_process("submit", "--json", "--address", service.address, *WITH_HONEST)


def lines_of(done: Finished, path: Path) -> list[JsonLine]:
    """Return the lines that stem from one file."""
    found = [x for x in done.lines if x["source"].rpartition(":")[0] == str(path)]
    assert found, f"nothing was said of {path}"
    return found


def assert_told(done: Finished, case: Case) -> None:
    for line in lines_of(done, case.path):
        assert line["verdict"] == "INCONCLUSIVE"
        assert line["reasons"] == [case.reason.value]
        details = " ".join(line["details"])
        assert re.search(case.says, details), details


@BY_NAME
def test_the_recording_is_the_honest_one_with_one_thing_wrong(case: Case) -> None:
    assert case.path.read_bytes() == content_of(case)


@BY_NAME
def test_check_names_what_is_wrong(checked: Finished, case: Case) -> None:
    assert_told(checked, case)


@BY_NAME
def test_the_service_names_what_is_wrong(submitted: Finished, case: Case) -> None:
    assert_told(submitted, case)


def test_check_goes_on_after_bad_lines_and_judges_the_good_one(checked: Finished) -> None:
    (honest,) = lines_of(checked, HONEST_FILE)
    assert (honest["verdict"], honest["reasons"]) == ("PASS", [])
    assert checked.code == 2
    assert [line["index"] for line in checked.lines] == list(range(len(checked.lines)))


def test_the_service_stays_up_and_judges_the_good_one(
    service: ServeProcess, submitted: Finished
) -> None:
    (honest,) = lines_of(submitted, HONEST_FILE)
    assert (honest["verdict"], honest["state"]) == ("PASS", "DONE")
    assert submitted.code == 2
    assert service.is_running
    assert "Traceback" not in service.stderr


def test_a_good_line_before_and_after_a_truncated_one_is_judged(tmp_path: Path) -> None:
    good = HONEST_FILE.read_text(encoding="utf-8")
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(f"{good}{good[:500]}\n\n{good}", encoding="utf-8")
    done = run("check", "--json", *JUDGED, "--traffic", mixed)
    assert [line["verdict"] for line in done.lines] == ["PASS", "INCONCLUSIVE", "PASS"]
    assert [line["source"] for line in done.lines] == [f"{mixed}:{n}" for n in (1, 2, 4)]
    assert done.code == 2


def test_an_answer_of_100_000_tokens_exceeds_the_context(
    tmp_path: Path, client: AuditClient
) -> None:
    line = honest_line()
    line["response"]["choices"][0]["token_ids"] = [n % 4096 for n in range(100_000)]
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    done = run("check", "--json", *JUDGED, "--traffic", path)
    assert done.code == 2
    assert done.lines[0]["reasons"] == ["context_exceeded"]
    assert "100019 tokens, the model's context 1024" in done.lines[0]["details"][0]
    *_, audit = client.watch(client.submit(requests_of(path)[0]).audit_id)
    assert audit.signed is not None
    assert audit.signed.verdict.reasons == (Reason.CONTEXT_EXCEEDED,)
    *_, after = client.watch(client.submit(renamed(requests_of(HONEST_FILE)[0], "after")).audit_id)
    assert after.signed is not None
    assert after.signed.verdict.outcome is Outcome.PASS


def test_a_claim_for_a_model_that_the_service_lacks_is_inconclusive(
    tmp_path: Path, service: ServeProcess
) -> None:
    line = honest_line()
    line["request"]["model"] = "another-model"
    path = tmp_path / "other.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    done = run("submit", "--json", "--address", service.address, "--traffic", path)
    assert done.code == 2
    assert done.lines[0]["reasons"] == ["model_unavailable"]
    assert "this auditor holds: example" in done.lines[0]["details"][0]
