"""Findings about meters are told in every form of a report that people read."""

import json
from pathlib import Path

from audit.ledger.billing_statement import billing_statement
from audit.log_records import EntryKind, Receipt
from audit.reports.html import render_page
from audit.reports.manifest import manifest
from tests.support.billing import example_account
from tests.unit.reports.collecting import collected
from tests.unit.reports.sample_log import VERSION, SampleLog, busy_log


def log_finding(log: SampleLog) -> Receipt:
    account = example_account()
    return log.add(
        EntryKind.BILLING,
        f"billing:{account.finding.finding_id}:{account.version}",
        lambda link: billing_statement(
            account, logged_at=log.now(), verifier_version=VERSION, chain=link
        ),
    )


def test_a_finding_of_the_log_is_a_line_of_the_report(tmp_path: Path) -> None:
    log = busy_log(3)
    receipt = log_finding(log)
    report, lines = collected(log.source(), tmp_path)
    (line,) = report.meters.items
    account = example_account()
    assert line.log_index == receipt.log_index
    assert line.finding_id == account.finding.finding_id
    assert (line.meter, line.direction, line.tier) == ("DISAGREES", "over", "reference_sampling")
    assert line.statement == account.finding.statement
    assert line.num_requests == 120
    assert report.is_complete
    page = render_page(report, lambda: iter(lines))
    assert "disagrees with the reference: more tokens were billed" in page
    assert "team-a" in page
    (told,) = json.loads(manifest(report, []))["report"]["meters"]["items"]
    assert told["log10EOver"] == 3.25


def test_a_window_without_findings_says_so(tmp_path: Path) -> None:
    report, lines = collected(busy_log(3).source(), tmp_path)
    assert report.meters.total == 0
    assert "The window holds no finding about billed tokens." in render_page(
        report, lambda: iter(lines)
    )
