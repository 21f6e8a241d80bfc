"""What the estimator sees of a request: what can be counted in prompt and answer.

Nothing here may come from the meter or the clock: an estimate that follows the bill cannot check
the bill.

Legend: N rows, F features.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from audit.hidden_tokens.estimator.cells import EstimatorRow, Quantity

Float64Array = NDArray[np.float64]

#: Categories first: the booster is told that their numbers have no order.
CATEGORIES = ("model", "domain", "effort")

_WORD = re.compile(r"\w+")
_PIECE = re.compile(r"\w{1,6}|[^\w\s]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
# blanks without line ends, so that a long run of empty lines is read once
_OPTION = re.compile(r"^[ \t]*\(?[A-J][).:]", re.MULTILINE)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]", re.MULTILINE)
_MATHS = re.compile(r"[+*/=<>^_\u00d7\u00f7\u2264\u2265\u221a\u2211\u222b\u03c0-]")
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_EAST_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UPPER = re.compile(r"[A-Z]")

_COUNTED_TEXTS = (
    "\n", "$", "\\", "`", "```", "?", ",", "(", '"', "**", "{", ";", "def ", "return",
)  # fmt: skip
_COUNTED_WORDS = (
    "not", "all", "every", "how many", "prove", "which", "find", "except", "most likely", "best",
    "impossible", "cannot", "sum", "probability", "goal", "unique", "if", "then", "insufficient",
    "assume", "therefore", "unstack", "true", "false", "error", "missing",
)  # fmt: skip
_SHAPE_NAMES = (
    "chars", "words", "distinct_words", "distinct_share", "pieces", "sentences", "numbers",
    "largest_number", "word_length", "long_words", "longest_line", "options", "list_items",
    "maths", "upper_case", "foreign", "east_asian",
)  # fmt: skip
_NUMBER_DIGITS = 12
_LARGEST_NUMBER = 1e9


def feature_names() -> tuple[str, ...]:
    """Return the names of the columns in order, length F."""
    of_a_text = (
        *_SHAPE_NAMES,
        *(f"text:{text!r}" for text in _COUNTED_TEXTS),
        *(f"word:{word}" for word in _COUNTED_WORDS),
    )
    texts = (f"{part}:{name}" for part in ("prompt", "answer") for name in of_a_text)
    return (*CATEGORIES, "counts_output", *texts)


def features_id() -> str:
    """Return a digest of what the columns are; a booster fits no other columns."""
    patterns = (_PIECE, _NUMBER, _SENTENCE_END, _OPTION, _LIST_ITEM, _MATHS)
    meaning = "\n".join((*feature_names(), *(pattern.pattern for pattern in patterns)))
    return hashlib.sha256(meaning.encode()).hexdigest()[:16]


def features(rows: Sequence[EstimatorRow], levels: Mapping[str, Sequence[str]]) -> Float64Array:
    """Return the features of rows, shape [N, F].

    `levels` holds the known values of each category; others become -1, which boosters read as
    missing.
    """
    numbers = {
        category: {value: index for index, value in enumerate(levels[category])}
        for category in CATEGORIES
    }
    # answers differ from row to row, but a prompt often serves several models
    of_prompt = {prompt: text_features(prompt) for prompt in {row.prompt for row in rows}}
    matrix_NF = np.empty((len(rows), len(feature_names())), dtype=np.float64)
    for index, row in enumerate(rows):
        matrix_NF[index] = (
            numbers["model"].get(row.model, -1),
            numbers["domain"].get(row.domain, -1),
            numbers["effort"].get(row.effort, -1),
            row.quantity is Quantity.OUTPUT,
            *of_prompt[row.prompt],
            *text_features(row.answer),
        )
    return matrix_NF


def text_features(text: str) -> tuple[float, ...]:
    """Return what is counted in one text, in the order of `feature_names`.

    Takes time linear in the text, whatever it holds.
    """
    lowered = text.lower()
    words = _WORD.findall(lowered)
    num_words, num_distinct = len(words), len(set(words))
    numbers = _NUMBER.findall(text)
    shape = (
        len(text),
        num_words,
        num_distinct,
        num_distinct / max(num_words, 1),
        approximate_tokens(text),
        len(_SENTENCE_END.findall(text)),
        len(numbers),
        max((_size(number) for number in numbers), default=0.0),
        sum(map(len, words)) / max(num_words, 1),
        sum(len(word) > 9 for word in words),
        max(map(len, text.split("\n"))),
        len(_OPTION.findall(text)),
        len(_LIST_ITEM.findall(text)),
        len(_MATHS.findall(text)),
        len(_UPPER.findall(text)),
        len(_FOREIGN.findall(text)),
        len(_EAST_ASIAN.findall(text)),
    )
    counted = (text.count(part) for part in _COUNTED_TEXTS)
    found = (lowered.count(word) for word in _COUNTED_WORDS)
    return tuple(float(value) for value in (*shape, *counted, *found))


def approximate_tokens(text: str) -> int:
    """Return about how many tokens a text has, without any tokenizer.

    Words in pieces of six characters, and each mark by itself.
    """
    return len(_PIECE.findall(text))


def _size(number: str) -> float:
    # \d matches digits of every script, and float reads them all
    size = float(number[:_NUMBER_DIGITS])
    return min(size, _LARGEST_NUMBER) if math.isfinite(size) else _LARGEST_NUMBER
