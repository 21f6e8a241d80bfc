"""A sample of exchanges with what became of them, and its counts in words."""

from collections import Counter
from dataclasses import dataclass

from audit.records import AuditRequest, Examination, Outcome
from tests.integration.traffic import shares


@dataclass(frozen=True, slots=True)
class Audited:
    """What became of a sample of one or more recordings."""

    name: str
    requests: list[AuditRequest]
    examinations: list[Examination]

    @property
    def num_exchanges(self) -> int:
        return len(self.examinations)

    @property
    def match_share(self) -> float:
        matches, tokens = shares(self.examinations)
        return matches / tokens

    def num(self, outcome: Outcome) -> int:
        return sum(e.verdict.outcome is outcome for e in self.examinations)

    def __str__(self) -> str:
        """Return the counts, for messages."""
        counts = ", ".join(f"{self.num(o)} {o.value}" for o in Outcome)
        matches, tokens = shares(self.examinations)
        why = Counter(r.value for e in self.examinations for r in e.verdict.reasons)
        return f"{self.name}: {counts}; {matches} of {tokens} tokens match; {dict(why)}"
