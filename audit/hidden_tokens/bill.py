"""One bill beside what is known of its model, and what an identity can say about it."""

from dataclasses import dataclass

from audit.billing_records import BilledRequest, BilledUsage, Refusal, Unchecked, Violation
from audit.hidden_tokens.facts import Facts, ModelFacts
from audit.hidden_tokens.visible import not_checked
from audit.hidden_tokens.vocabularies import TokenCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One request beside what is known of its model."""

    request: BilledRequest
    facts: Facts
    model: ModelFacts | None
    counter: TokenCounter

    @property
    def usage(self) -> BilledUsage:
        """The usage object in our terms."""
        return self.request.usage


#: None: the identity holds.
Outcome = Violation | Unchecked | None


def violation(identity: str, statement: str, excess_tokens: int) -> Violation:
    """Return that an identity is violated by so many tokens."""
    return Violation(identity=identity, statement=statement, excess_tokens=excess_tokens)


def retokenised() -> Unchecked:
    """Return that the counts of a middleman are no meter reading."""
    return not_checked(
        Refusal.NOT_A_METER_READING, "a middleman may have counted with another tokenizer"
    )
