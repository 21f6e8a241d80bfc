"""The log entries that an HTML report names, so that each figure leads to an index and a digest."""

from collections.abc import Iterator
from dataclasses import dataclass

from audit.reports.groups import Tally
from audit.reports.records import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEntry:
    """An entry that the report names."""

    log_index: int
    what: str
    entry_digest: str


def wanted_verdicts(report: Report) -> frozenset[int]:
    """Return the indexes of verdicts that the report names without their digest."""
    indexes: set[int | None] = set()
    for standing in report.standings.items:
        indexes |= {standing.last_index, standing.failed_at_index}
    for use in (*report.policies.items, *report.calibrations.items):
        indexes |= {use.first_verdict_index, use.last_verdict_index}
    return frozenset(index for index in indexes if index is not None)


def named_entries(report: Report, tally: Tally, *, most: int) -> dict[int, NamedEntry]:
    """Return the entries by index, ascending; only the first `most` items of each list count."""
    found: dict[int, NamedEntry] = {}
    for entry in (*_of_verdicts(report, tally), *_of_findings(report, most)):
        found.setdefault(entry.log_index, entry)
    return dict(sorted(found.items()))


def _of_verdicts(report: Report, tally: Tally) -> Iterator[NamedEntry]:
    pairs = [(line.log_index, line.entry_digest) for line in tally.failed]
    pairs += tally.digests.items()
    for group in tally.groups:
        pairs += [(group.first_index, group.first_digest), (group.last_index, group.last_digest)]
    for span in tally.reasons:
        pairs += [(span.first_index, span.first_digest), (span.last_index, span.last_digest)]
    for exchange in report.exchanges:
        if exchange.line is not None:
            pairs.append((exchange.line.log_index, exchange.line.entry_digest))
    for log_index, entry_digest in pairs:
        yield NamedEntry(log_index=log_index, what="verdict", entry_digest=entry_digest)


def _of_findings(report: Report, most: int) -> Iterator[NamedEntry]:
    triples = [
        (intent.log_index, "intent without a verdict", intent.entry_digest)
        for intent in report.missing.items[:most]
    ]
    triples += [
        (gone.log_index, f"content {gone.state.lower()}", gone.entry_digest)
        for gone in (*report.erased.items[:most], *report.gone.items[:most])
    ]
    triples += [
        (entry.log_index, "damaged", entry.entry_digest) for entry in report.damaged.items[:most]
    ]
    triples += [
        (entry.log_index, f"discounted {entry.kind}", entry.entry_digest)
        for entry in report.discounted.items[:most]
    ]
    for log_index, what, entry_digest in triples:
        yield NamedEntry(log_index=log_index, what=what, entry_digest=entry_digest)
