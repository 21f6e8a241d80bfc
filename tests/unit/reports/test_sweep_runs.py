"""Results of sweeps are told in every form of a report that people read."""

import json
from dataclasses import replace
from pathlib import Path

from audit.ledger.sweep_statement import sweep_result_statement
from audit.log_records import EntryKind, Receipt
from audit.reports.html import render_page
from audit.reports.manifest import manifest
from audit.sweep_records import SweepOutcome, SweepResult
from tests.support.sweeps import example_result
from tests.unit.reports.collecting import collected
from tests.unit.reports.sample_log import VERSION, SampleLog, busy_log


def log_result(log: SampleLog, result: SweepResult) -> Receipt:
    return log.add(
        EntryKind.SWEEP_RESULT,
        f"sweep_result:{result.run_id}",
        lambda link: sweep_result_statement(
            result, logged_at=log.now(), verifier_version=VERSION, chain=link
        ),
    )


def test_each_endpoint_of_a_run_is_a_line_of_the_report(tmp_path: Path) -> None:
    log = busy_log(3)
    receipt = log_result(log, example_result())
    report, lines = collected(log.source(), tmp_path)
    (line,) = report.sweep_runs.items
    assert line.log_index == receipt.log_index
    assert (line.endpoint, line.outcome, line.explanation) == (
        "gateway",
        "inconsistent",
        "int4-g32",
    )
    assert (line.decided_after_requests, line.num_requests) == (9, 12)
    assert line.commitment == "ab" * 32
    assert report.is_complete
    page = render_page(report, lambda: iter(lines))
    assert "Differs from the claimed model after 9 requests." in page
    (told,) = json.loads(manifest(report, []))["report"]["sweepRuns"]["items"]
    assert told["shareLow"] == 0.125


def test_a_run_that_was_not_performed_is_a_line_without_an_endpoint(tmp_path: Path) -> None:
    log = busy_log(3)
    missed = replace(
        example_result(),
        outcome=SweepOutcome.NOT_PERFORMED,
        statement="No scheduler ran at that time.",
        findings=(),
        commitment=None,
        opening=None,
        recording_digest=None,
    )
    log_result(log, missed)
    report, lines = collected(log.source(), tmp_path)
    (line,) = report.sweep_runs.items
    assert (line.endpoint, line.outcome) == ("", "not_performed")
    assert "No scheduler ran at that time." in render_page(report, lambda: iter(lines))


def test_a_window_without_results_says_so(tmp_path: Path) -> None:
    report, lines = collected(busy_log(3).source(), tmp_path)
    assert "The window holds no result of a sweep." in render_page(report, lambda: iter(lines))
