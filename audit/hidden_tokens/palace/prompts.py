"""What the estimating model is asked, and how its reply is read.

The paper's prompt and form of reply are not known to us, so both are our own. The reply is a
number of six digits with zeros in front: the order of magnitude is then settled by the first
tokens, where a plain number settles it by when it ends. Only two digits count, since the counts of
one prompt vary far more than 5 % between samples, and fewer replies are learnt from fewer rows.
"""

import math
import re
from dataclasses import dataclass

#: Billed counts beyond this are refused at submission; a reply beyond it is no estimate either.
MAX_TOKENS = 10_000_000

#: Digits of a reply that carry information; the others are zeros.
SIGNIFICANT_DIGITS = 2

#: Digits of a whole reply, zeros in front included.
REPLY_DIGITS = 6

_GAP = " [...] "

_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])|(?<![\d.,])\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceQuestion:
    """One billed request, as far as the estimating model may see it."""

    prompt: str
    answer: str
    """The visible answer."""
    model: str
    domain: str
    effort: str = ""
    """Empty where none was stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLimits:
    """How many characters of each text are shown; the middle is left out beyond that."""

    prompt_chars: int = 2_000
    answer_chars: int = 2_000


def format_prompt(question: PalaceQuestion, limits: PromptLimits) -> str:
    """Return the question that is put to the estimating model.

    The full lengths of both texts are named, so that cutting them loses no length.
    """
    return (
        "Estimate how many tokens of hidden reasoning came before this answer.\n"
        f"Model: {question.model}\n"
        f"Effort: {question.effort or 'not stated'}\n"
        f"Domain: {question.domain}\n"
        f"Question, {len(question.prompt)} characters:\n"
        f"{shortened(question.prompt, limits.prompt_chars)}\n"
        f"Answer, {len(question.answer)} characters:\n"
        f"{shortened(question.answer, limits.answer_chars)}\n"
        f"Reply with {REPLY_DIGITS} digits."
    )


def shortened(text: str, max_chars: int) -> str:
    """Return `text`, or its first and last parts within `max_chars` characters.

    Raises ValueError where `max_chars` cannot hold the mark of the gap.
    """
    if max_chars <= len(_GAP):
        raise ValueError(f"max_chars must be above {len(_GAP)}")
    if len(text) <= max_chars:
        return text
    kept = max_chars - len(_GAP)
    tail = kept // 2
    return text[: kept - tail] + _GAP + (text[-tail:] if tail else "")


def format_count(num_tokens: int) -> str:
    """Return the reply that stands for a count, rounded to two significant digits.

    Counts below one stand as 1: the score is a logarithm. Raises ValueError beyond `MAX_TOKENS`.
    """
    if num_tokens > MAX_TOKENS:
        raise ValueError(f"no request has more than {MAX_TOKENS} reasoning tokens")
    num_tokens = max(num_tokens, 1)
    num_dropped = max(0, math.floor(math.log10(num_tokens)) + 1 - SIGNIFICANT_DIGITS)
    unit: int = 10**num_dropped
    return f"{(num_tokens + unit // 2) // unit * unit:0{REPLY_DIGITS}d}"


def parse_count(reply: str) -> int | None:
    """Return the first whole number of a reply, from 1 to `MAX_TOKENS`, or None.

    Thousands may be set apart by commas. A number out of range is not skipped for a later one: the
    reply as a whole is then no estimate.
    """
    found = _NUMBER.search(reply)
    # more digits than MAX_TOKENS has are out of range, whatever they are; int() would be slow
    if found is None or len(found[0]) > 12:
        return None
    count = int(found[0].replace(",", ""))
    return count if 1 <= count <= MAX_TOKENS else None
