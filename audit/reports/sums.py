"""Counts over the spool, bounded: what does not fit on a page is summed under "others"."""

import json
from collections.abc import Iterable, Sequence

from audit.reports.records import (
    ContentState,
    CountLine,
    CountTable,
    ErasureLine,
    FigureRange,
    GoneContent,
    Listing,
    MissingVerdict,
    ReasonCount,
)
from audit.reports.spool import Spool
from audit.reports.tallies import MAX_LISTED

MAX_LABELS = 50
MAX_DAYS = 400

#: Entry keys of what an erasure erases: what tells about single exchanges.
_ERASABLE = ("intent:", "verdict:")

#: What stands for a name that no verdict states.
NOT_STATED = "(not stated)"
OTHERS = "(others)"
_NOTHING = CountLine(label=OTHERS, num_passed=0, num_failed=0, num_inconclusive=0, num_tokens=0)

# All names in these queries are constants of this module and its callers.
_COUNTS = (
    "SUM(verdict = 'PASSED'), SUM(verdict = 'FAILED'), SUM(verdict = 'INCONCLUSIVE'), "
    "SUM(num_tokens)"
)
_FIGURES = (
    ("sensitivity_noise_logits", "Smallest noise that would have been failed", "logits"),
    (
        "sensitivity_substituted_share",
        "Smallest share of substituted tokens that would have been failed",
        "share",
    ),
)


def totals(spool: Spool) -> CountLine:
    """Return the sums over all verdicts in scope."""
    return next(iter(_count_lines(spool, f"SELECT 'all', {_COUNTS} FROM lines")))  # noqa: S608


def by_label(spool: Spool, column: str) -> CountTable:
    """Return the verdicts by a column, the most frequent labels first."""
    label = f"COALESCE({column}, '{NOT_STATED}')"
    lines = _count_lines(
        spool,
        f"SELECT {label} AS label, {_COUNTS} FROM lines GROUP BY label "  # noqa: S608
        "ORDER BY COUNT(*) DESC, label",
    )
    return _bounded(lines, MAX_LABELS)


def by_day(spool: Spool) -> CountTable:
    """Return the verdicts by the day of `verified_at` (UTC), in order; the last days are kept."""
    newest_first = _count_lines(
        spool,
        f"SELECT substr(verified_at, 1, 10) AS day, {_COUNTS} FROM lines GROUP BY day "  # noqa: S608
        "ORDER BY day DESC",
    )
    table = _bounded(newest_first, MAX_DAYS)
    return CountTable(
        lines=tuple(reversed(table.lines)), others=table.others, num_labels=table.num_labels
    )


def reasons(spool: Spool) -> tuple[ReasonCount, ...]:
    """Return how often each reason was given, by verdict and reason."""
    sql = "SELECT verdict, reasons, COUNT(*) FROM lines GROUP BY verdict, reasons"
    counts: dict[tuple[str, str], int] = {}
    for verdict, names, count in spool.query(sql):
        for name in json.loads(str(names)):
            key = str(verdict), str(name)
            counts[key] = counts.get(key, 0) + int(count or 0)
    return tuple(
        ReasonCount(verdict=verdict, reason=reason, num_verdicts=count)
        for (verdict, reason), count in sorted(counts.items())
    )


def missing(spool: Spool) -> Listing[MissingVerdict]:
    """Return the intents in scope that no verdict answers."""
    where = "FROM intents WHERE in_scope AND verdict_index IS NULL"
    rows = spool.query(
        "SELECT log_index, audit_id, tenant, entry_digest, exchange_digest, announced_at "
        f"{where} ORDER BY log_index LIMIT {MAX_LISTED}"
    )
    return Listing(
        total=_only_count(spool, f"SELECT COUNT(*) {where}"),
        items=tuple(
            MissingVerdict(
                log_index=int(index or 0),
                audit_id=str(audit_id),
                tenant=str(tenant),
                entry_digest=str(digest),
                exchange_digest=str(exchange),
                announced_at=str(announced_at),
            )
            for index, audit_id, tenant, digest, exchange, announced_at in rows
        ),
    )


def gone(
    spool: Spool, erasures: Sequence[ErasureLine]
) -> tuple[Listing[GoneContent], Listing[GoneContent], dict[int, int]]:
    """Return content that was erased, content that is missing, and counts by erasure's index."""
    erased, lost = list[GoneContent](), list[GoneContent]()
    num_erased, num_lost, counts = 0, 0, dict[int, int]()
    for index, digest, tenant, key in spool.query("SELECT * FROM gone ORDER BY log_index"):
        is_erasable = str(key).startswith(_ERASABLE)
        erasure = _erasure_of(int(index or 0), str(tenant), erasures) if is_erasable else None
        found = GoneContent(
            log_index=int(index or 0),
            entry_digest=str(digest),
            state=ContentState.MISSING if erasure is None else ContentState.ERASED,
            stated_key=str(key),
            stated_tenant=str(tenant),
            erasure_index=erasure,
        )
        if erasure is None:
            num_lost += 1
            lost += [found] if num_lost <= MAX_LISTED else []
        else:
            num_erased += 1
            counts[erasure] = counts.get(erasure, 0) + 1
            erased += [found] if num_erased <= MAX_LISTED else []
    return (
        Listing(total=num_erased, items=tuple(erased)),
        Listing(total=num_lost, items=tuple(lost)),
        counts,
    )


def figure_ranges(spool: Spool) -> tuple[FigureRange, ...]:
    """Return between which bounds the sensitivity of the audits lay."""
    return tuple(_figure_range(spool, *figure) for figure in _FIGURES)


def _figure_range(spool: Spool, name: str, label: str, unit: str) -> FigureRange:
    count, low, high = next(
        iter(spool.query(f"SELECT COUNT({name}), MIN({name}), MAX({name}) FROM lines"))  # noqa: S608
    )
    num_stated = int(count or 0)
    middle = spool.query(
        f"SELECT {name} FROM lines WHERE {name} IS NOT NULL "  # noqa: S608
        f"ORDER BY {name} LIMIT 1 OFFSET ?",
        ((num_stated - 1) // 2,),
    )
    median = next(iter(middle), (None,))[0] if num_stated else None
    return FigureRange(
        name=name,
        label=label,
        unit=unit,
        low=None if low is None else float(low),
        median=None if median is None else float(median),
        high=None if high is None else float(high),
        num_stated=num_stated,
        num_unseen=_only_count(
            spool,
            "SELECT COUNT(*) FROM lines "  # noqa: S608
            f"WHERE sensitivity_power IS NOT NULL AND {name} IS NULL",
        ),
    )


def _erasure_of(index: int, tenant: str, erasures: Sequence[ErasureLine]) -> int | None:
    for erasure in erasures:
        if erasure.tenant == tenant and index < min(erasure.below_index, erasure.log_index):
            return erasure.log_index
    return None


def _only_count(spool: Spool, sql: str) -> int:
    return int(next(iter(spool.query(sql)))[0] or 0)


def _count_lines(spool: Spool, sql: str) -> Iterable[CountLine]:
    for label, passed, failed, inconclusive, tokens in spool.query(sql):
        yield CountLine(
            label=str(label),
            num_passed=int(passed or 0),
            num_failed=int(failed or 0),
            num_inconclusive=int(inconclusive or 0),
            num_tokens=int(tokens or 0),
        )


def _bounded(lines: Iterable[CountLine], limit: int) -> CountTable:
    shown, others, num_labels = list[CountLine](), _NOTHING, 0
    for line in lines:
        num_labels += 1
        if num_labels <= limit:
            shown.append(line)
        else:
            others = CountLine(
                label=OTHERS,
                num_passed=others.num_passed + line.num_passed,
                num_failed=others.num_failed + line.num_failed,
                num_inconclusive=others.num_inconclusive + line.num_inconclusive,
                num_tokens=others.num_tokens + line.num_tokens,
            )
    return CountTable(
        lines=tuple(shown), others=others if num_labels > limit else None, num_labels=num_labels
    )
