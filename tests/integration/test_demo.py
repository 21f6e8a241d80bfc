"""`demo` shows the main job, its table is right, and it says where things are."""

import base64
import csv
import json
from pathlib import Path

import pytest

from audit.app import new_id, utc_now
from audit.ledger.verify import verify_bundle
from audit.log_records import EntryKind
from audit.reports.rebuild import verify_pack
from storage.store import open_store
from tests.integration.processes import Finished, JsonLine, run
from tests.integration.traffic import recordings
from tests.support.example_model import EXAMPLES
from tests.unit.cli.command import run as run_here

#: What a single exchange of 300 tokens must show; finer cheats are a matter of rates.
MUST_FAIL = (
    "cheat-wrong-seed-t0.7.jsonl",
    "cheat-wrong-seed-t1.0.jsonl",
    "cheat-temperature-1.1.jsonl",
    "cheat-other-checkpoint.jsonl",
)
#: Recordings of the kinds that the bundled calibration covers.
MUST_PASS = ("honest-vllm-", "honest-transformers-bf16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> Finished:
    return run("demo", "--json", "--per-file", 1, "--examples", EXAMPLES, "--keep", folder)


def by_file(done: Finished) -> dict[str, JsonLine]:
    return {line["file"]: line for line in done.lines}


def test_it_succeeds_with_a_line_for_each_recording(demo: Finished) -> None:
    assert demo.code == 0, demo.stderr
    assert set(by_file(demo)) == {path.name for path in recordings("*.jsonl")}
    assert all(line["really_run"] for line in demo.lines)


def test_its_table_is_right(demo: Finished) -> None:
    rows = by_file(demo)
    assert {name: rows[name]["verdict"] for name in MUST_FAIL} == dict.fromkeys(MUST_FAIL, "FAIL")
    for name, row in rows.items():
        if name.startswith(MUST_PASS):
            assert row["verdict"] == "PASS", row
        elif name.startswith("honest"):
            assert row["verdict"] != "FAIL", row
            assert row["verdict"] == "PASS" or row["details"], row


def test_every_verdict_verifies_with_its_place_in_the_log(demo: Finished, folder: Path) -> None:
    trust_root = (folder / "trust-root.json").read_bytes()
    bundles = sorted((folder / "verdicts").glob("*.json"))
    assert len(bundles) == len(demo.lines)
    words = {"PASS": "PASSED", "FAIL": "FAILED", "INCONCLUSIVE": "INCONCLUSIVE"}
    verdicts = []
    for path in bundles:
        predicate = verify_bundle(path.read_bytes(), trust_root).statement["predicate"]
        assert isinstance(predicate, dict)
        verdicts.append(predicate["verdict"])
    assert sorted(verdicts) == sorted(words[line["verdict"]] for line in demo.lines)


def test_every_intent_names_the_policy_and_the_calibration_that_are_in_the_log(
    demo: Finished, folder: Path
) -> None:
    url = f"sqlite:///{folder / 'audits.db'}"
    store = open_store(url, clock=utc_now, new_id=new_id)
    entries = store.log.read_entries(0, 512)
    store.close()
    by_kind: dict[EntryKind, list[JsonLine]] = {}
    for entry in entries:
        assert entry.envelope is not None
        payload = base64.b64decode(json.loads(entry.envelope)["payload"])
        by_kind.setdefault(entry.kind, []).append(json.loads(payload)["predicate"])
    (policy,), (calibration,) = by_kind[EntryKind.POLICY], by_kind[EntryKind.CALIBRATION]
    assert len(by_kind[EntryKind.INTENT]) == len(demo.lines)
    for intent in by_kind[EntryKind.INTENT]:
        assert intent["policy"]["id"] == policy["policy"]["id"]
        assert intent["calibration"]["id"] == calibration["calibration"]["id"]
    (report,) = by_kind[EntryKind.REPORT]
    assert report["chain"]["sequence"] == len(entries)


def test_its_report_counts_the_same_verdicts_and_misses_none(demo: Finished, folder: Path) -> None:
    with (folder / "report" / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(demo.lines)
    verified = verify_pack(
        folder / "report" / "evidence-pack.zip", (folder / "trust-root.json").read_bytes()
    )
    assert verified.report.is_complete
    assert verified.report.totals.num_verdicts == len(demo.lines)
    assert "<html" in (folder / "report" / "report.html").read_text(encoding="utf-8")


def test_a_person_is_told_what_was_seen_and_what_to_try_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = run_here("demo", "--per-file", 1, "--examples", EXAMPLES, "--keep", tmp_path)
    assert done.code == 0, done.stderr
    assert f"database:   {tmp_path / 'audits.db'}" in done.stdout
    assert (tmp_path / "audits.db").stat().st_size > 0
    for command in ("verify", "report", "check", "serve"):
        assert f"inference-audit {command} " in done.stdout
    assert "honest exchanges were failed" in done.stdout
    assert f"{len(recordings('*.jsonl'))} verdicts verified offline" in done.stdout
    assert "a PASS says what it could not see" in done.stdout


@pytest.mark.parametrize("manifest", [None, "{", "[{}]"], ids=["missing", "truncated", "bare"])
def test_damaged_examples_are_a_usage_error(manifest: str | None, tmp_path: Path) -> None:
    (tmp_path / "traffic").mkdir()
    if manifest is not None:
        (tmp_path / "traffic" / "manifest.json").write_text(manifest, encoding="utf-8")
    done = run_here("demo", "--json", "--examples", tmp_path, "--keep", tmp_path)
    assert (done.code, done.stdout) == (64, "")
    assert "--examples" in done.stderr


def test_the_manifest_names_every_recording() -> None:
    text = (EXAMPLES / "traffic" / "manifest.json").read_text(encoding="utf-8")
    named = {entry["file"] for entry in json.loads(text)}
    assert named == {path.name for path in (EXAMPLES / "traffic").glob("*.jsonl")}
