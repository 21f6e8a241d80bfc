"""The report's answer in plain sentences, for readers who read nothing else.

Every sentence is a figure of the report in words. None says more than the figures: a FAILED verdict
means that an answer does not fit the claimed model under the named calibration, and nothing about
intent.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from audit.reports.groups import Tally
from audit.reports.records import ProviderStanding, Report
from audit.reports.wording import count, counted, figure, name

_MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the report comes to."""

    headline: str
    sentences: tuple[str, ...]
    tone: str
    """good, bad or open: how the headline is coloured, never its only sign."""


def answer(report: Report, tally: Tally) -> Answer:
    """Return the report's answer."""
    headline, tone = _headline(report, tally)
    return Answer(
        headline=headline,
        tone=tone,
        sentences=(
            _what_was_done(report),
            _what_came_out(report),
            *_providers(report),
            _chance(report),
            _completeness(report),
        ),
    )


def _headline(report: Report, tally: Tally) -> tuple[str, str]:
    if not report.totals.num_verdicts:
        return "No verdict lies in this window, so it answers nothing.", "open"
    if tally.is_provider_failed:
        return "At least one provider's answers do not fit the model that it is said to run.", "bad"
    if tally.num_failed:
        return "Single answers do not fit the claimed model; no provider as a whole failed.", "bad"
    if not tally.num_passed:
        return "No answer could be judged.", "open"
    if not report.is_complete:
        return "Nothing judged here failed, but the record of the window is not complete.", "open"
    return "Nothing judged here failed, and the record of the window is complete.", "good"


def _what_was_done(report: Report) -> str:
    totals, scope = report.totals, report.scope
    whose = f" of tenant {name(scope.tenant)}" if scope.tenant else ""
    return (
        f"This report reads log entries {count(scope.first_index)} up to, not including, "
        f"{count(scope.end_index)} of the log {name(report.log.origin)}: "
        f"{counted(totals.num_intents, 'announced audit')}{whose} and "
        f"{counted(totals.num_verdicts, 'verdict')} in its scope, over "
        f"{counted(totals.num_tokens, 'replayed token')}."
    )


def _what_came_out(report: Report) -> str:
    totals = report.totals
    return (
        f"{count(totals.num_passed)} PASSED, {count(totals.num_failed)} FAILED and "
        f"{count(totals.num_inconclusive)} were INCONCLUSIVE, which means that nobody can tell."
    )


def _providers(report: Report) -> Iterable[str]:
    failed = [standing for standing in report.standings.items if standing.verdict == "FAILED"]
    for standing in failed[:_MAX_NAMED]:
        yield _failed_provider(standing)
    if len(failed) > _MAX_NAMED:
        yield f"{counted(len(failed) - _MAX_NAMED, 'more provider')} failed; see the evidence."
    if report.standings.total and not failed:
        yield "Added up over exchanges, the evidence reached no listed provider's threshold."


def _failed_provider(standing: ProviderStanding) -> str:
    index = standing.failed_at_index
    where = "" if index is None else f" at log entry {index:,}"
    return (
        f"Added up over {counted(standing.num_exchanges, 'exchange')}, the evidence against "
        f"{name(standing.provider_name)} for {name(standing.model)} reached its threshold{where}: "
        f"log10 e-value {figure(standing.log10_e_value)}, threshold "
        f"{figure(standing.log10_threshold)}."
    )


def _chance(report: Report) -> str:
    error = report.error
    return (
        f"Were every provider honest, {figure(error.expected_false_alarms)} FAILED verdicts would "
        f"be expected by chance in {counted(error.num_tested, 'tested verdict')}."
    )


def _completeness(report: Report) -> str:
    found = (
        (report.missing.total, "MISSING verdict", "MISSING verdicts"),
        (report.gone.total, "entry whose content is gone", "entries whose content is gone"),
        (report.damaged.total, "damaged entry", "damaged entries"),
        (
            report.discounted.total,
            "entry signed by a key that does not count there",
            "entries signed by keys that do not count there",
        ),
        (report.gaps.total, "gap in a tenant's numbering", "gaps in tenants' numbering"),
    )
    said = [counted(total, one, many) for total, one, many in found if total]
    erased = (
        f" {counted(report.erased.total, 'entry', 'entries')} had content erased on record."
        if report.erased.total
        else ""
    )
    if not said:
        return f"No verdict is missing, damaged, discounted or out of sequence.{erased}"
    return f"The record is not complete: {', '.join(said)}.{erased}"
