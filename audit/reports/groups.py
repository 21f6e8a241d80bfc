"""What the renderers for people count in one pass over the verdicts.

The collected report counts by provider and by model; here they are counted together, with the first
failed verdicts, still in bounded memory: groups beyond a number are added up in one.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from audit.reports.records import VerdictLine

MAX_GROUPS = 200
MAX_FAILED = 100
MAX_EXAMPLES = 5

MAX_REASONS = 100

REST_LABEL = "(all others)"


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A provider and a model, as claimed; None where not stated."""

    provider: str | None
    model: str | None
    is_rest: bool = False
    """Whether this stands for all groups beyond `MAX_GROUPS`."""


@dataclass(slots=True)
class Group:
    """Verdicts of one provider and model."""

    key: GroupKey
    first_index: int
    first_digest: str
    last_index: int = 0
    last_digest: str = ""
    last_verified_at: str = ""
    first_verified_at: str = ""
    num_passed: int = 0
    num_failed: int = 0
    num_inconclusive: int = 0
    num_tokens: int = 0
    num_matches: int = 0
    is_provider_failed: bool = False
    """Whether the accumulated evidence reached its threshold, whatever the single verdicts say."""
    failed_examples: list[VerdictLine] = field(default_factory=list)

    @property
    def num_verdicts(self) -> int:
        """All of them."""
        return self.num_passed + self.num_failed + self.num_inconclusive

    def add(self, line: VerdictLine) -> None:
        """Count one more verdict."""
        self.first_verified_at = self.first_verified_at or line.verified_at
        self.last_index, self.last_digest = line.log_index, line.entry_digest
        self.last_verified_at = max(self.last_verified_at, line.verified_at)
        self.num_passed += line.verdict == "PASSED"
        self.num_failed += line.verdict == "FAILED"
        self.num_inconclusive += line.verdict == "INCONCLUSIVE"
        self.num_tokens += line.num_tokens
        self.num_matches += line.num_matches
        self.is_provider_failed = self.is_provider_failed or line.stream_verdict == "FAILED"
        if line.verdict == "FAILED" and len(self.failed_examples) < MAX_EXAMPLES:
            self.failed_examples.append(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonSpan:
    """Where the verdicts with one reason lie."""

    verdict: str
    reason: str
    num_verdicts: int
    first_index: int
    first_digest: str
    last_index: int
    last_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of one pass, all of bounded size."""

    groups: tuple[Group, ...]
    """In the order of provider and model, the rest last."""
    failed: tuple[VerdictLine, ...]
    """The first failed verdicts, in log order."""
    reasons: tuple[ReasonSpan, ...]
    """The most frequent first."""
    num_passed: int
    num_failed: int
    is_provider_failed: bool
    digests: Mapping[int, str]
    """Entry digests of the verdicts asked for, as far as they are in scope."""

    @property
    def num_failed_unlisted(self) -> int:
        """Failed verdicts that are counted but not listed."""
        return self.num_failed - len(self.failed)


def tally(lines: Iterable[VerdictLine], wanted: Container[int] = ()) -> Tally:
    """Return the counts of all lines, read once, and the digests of the `wanted` indexes."""
    groups: dict[GroupKey, Group] = {}
    reasons: dict[tuple[str, str], ReasonSpan] = {}
    failed: list[VerdictLine] = []
    digests: dict[int, str] = {}
    for line in lines:
        _group_of(line, groups).add(line)
        for reason in line.reasons:
            is_new = (line.verdict, reason) not in reasons
            known = REST_LABEL if is_new and len(reasons) >= MAX_REASONS else reason
            span = reasons.get((line.verdict, known))
            reasons[line.verdict, known] = _grown(span, line, known)
        if line.log_index in wanted:
            digests[line.log_index] = line.entry_digest
        if line.verdict == "FAILED" and len(failed) < MAX_FAILED:
            failed.append(line)
    ordered = sorted(groups.values(), key=_group_order)
    return Tally(
        groups=tuple(ordered),
        failed=tuple(failed),
        reasons=tuple(sorted(reasons.values(), key=_span_order)),
        num_passed=sum(group.num_passed for group in ordered),
        num_failed=sum(group.num_failed for group in ordered),
        is_provider_failed=any(group.is_provider_failed for group in ordered),
        digests=digests,
    )


def _group_of(line: VerdictLine, groups: dict[GroupKey, Group]) -> Group:
    key = GroupKey(line.provider_name, line.claimed_model)
    if key not in groups and len(groups) >= MAX_GROUPS:
        key = GroupKey(REST_LABEL, None, is_rest=True)
    if key not in groups:
        groups[key] = Group(key, first_index=line.log_index, first_digest=line.entry_digest)
    return groups[key]


def _group_order(group: Group) -> tuple[bool, str, str]:
    return group.key.is_rest, group.key.provider or "", group.key.model or ""


def _grown(span: ReasonSpan | None, line: VerdictLine, reason: str) -> ReasonSpan:
    return ReasonSpan(
        verdict=line.verdict,
        reason=reason,
        num_verdicts=1 if span is None else span.num_verdicts + 1,
        first_index=line.log_index if span is None else span.first_index,
        first_digest=line.entry_digest if span is None else span.first_digest,
        last_index=line.log_index,
        last_digest=line.entry_digest,
    )


def _span_order(span: ReasonSpan) -> tuple[int, str, str]:
    return -span.num_verdicts, span.verdict, span.reason
