"""Recounts of text that a client can see, or the reason why there is none."""

from audit.billing_records import Refusal, Tier, Unchecked
from audit.hidden_tokens.vocabularies import TokenCounter, UncountableText


def recount(
    text: str | None, vocabulary: str | None, counter: TokenCounter, *, what: str
) -> int | Unchecked:
    """Return how many tokens `text` has by a public vocabulary, or why that cannot be told.

    `what` names the text in the reason, such as "answer". Raises: ConfigurationError from the
    counter, for a rank file that is not what its name says.
    """
    if text is None:
        return not_checked(Refusal.NO_EVIDENCE, f"the request carries no {what}")
    if vocabulary is None:
        return not_checked(
            Refusal.UNKNOWN_MODEL, f"no public vocabulary is known for this model's {what}"
        )
    try:
        num_tokens = counter.count(vocabulary, text)
    except UncountableText as error:
        return not_checked(Refusal.UNREADABLE_EVIDENCE, f"the {what} cannot be recounted: {error}")
    if num_tokens is None:
        return not_checked(
            Refusal.VOCABULARY_MISSING,
            f"the {what} was not recounted: the rank file of {vocabulary} is not in the folder "
            "of vocabularies",
        )
    return num_tokens


def not_checked(reason: Refusal, detail: str) -> Unchecked:
    """Return that the accounting says nothing, and why."""
    return Unchecked(tier=Tier.ACCOUNTING, reason=reason, detail=detail)
