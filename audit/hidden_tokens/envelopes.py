"""Fits the envelopes of models from honest bills.

    output = reasoning + visible + envelope

The envelope is a handful of markers, and in some requests a draft of the answer as well, which is
metered as output but not as reasoning. It is never longer than the answer, so the upper end is a
constant plus a share of the visible tokens. The share is fitted on a whole family: drafts are rare,
and a model with few rows would else be told apart from its siblings by chance.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from audit.errors import CalibrationError
from audit.hidden_tokens.facts import Disclosure, Envelope, Facts

#: Room below and above the constant part, in tokens: what future rows may differ by.
LOW_MARGIN_TOKENS = 8
HIGH_MARGIN_TOKENS = 16
#: The typical constant part is read at this order statistic, below all drafts.
TYPICAL_QUANTILE = 0.1
SHARE_STEP = 0.05
#: Fewer rows say too little about the least and the most.
MIN_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRow:
    """One honest bill whose visible answer was recounted."""

    model: str
    output_tokens: int
    reasoning_tokens: int
    visible_tokens: int

    @property
    def residual_tokens(self) -> int:
        """Tokens that are neither reasoning nor visible."""
        return self.output_tokens - self.reasoning_tokens - self.visible_tokens


def fit_envelopes(
    rows: Iterable[EnvelopeRow], facts: Facts, *, source: str, date: str
) -> dict[str, Envelope]:
    """Return the envelope of each model of the facts that has rows, by the model's name.

    The lower end leaves room for answers that were cut off, which lack the end marker. Raises:
    CalibrationError for a row of an unknown model, and for a model with fewer than 100 rows.
    """
    rows_of: dict[str, list[EnvelopeRow]] = defaultdict(list)
    family_of: dict[str, str] = {}
    for row in rows:
        model = facts.of(row.model)
        if model is None:
            raise CalibrationError(f"no facts name the model {row.model}: add its patterns")
        rows_of[model.name].append(row)
        family_of[model.name] = model.family
    high_of = {name: _high(name, model_rows) for name, model_rows in rows_of.items()}
    share_of: dict[str, float] = defaultdict(float)
    for name, model_rows in rows_of.items():
        family = family_of[name]
        share_of[family] = max(share_of[family], _share(model_rows, high_of[name]))
    return {
        name: Envelope(
            low_tokens=min(0, min(row.residual_tokens for row in model_rows) - LOW_MARGIN_TOKENS),
            high_tokens=high_of[name],
            visible_share=share_of[family_of[name]],
            source=source,
            date=date,
            num_rows=len(model_rows),
        )
        for name, model_rows in sorted(rows_of.items())
    }


def _high(name: str, rows: list[EnvelopeRow]) -> int:
    if len(rows) < MIN_ROWS:
        raise CalibrationError(f"{name} has {len(rows)} rows; an envelope needs {MIN_ROWS}")
    ordered = sorted(row.residual_tokens for row in rows)
    return ordered[int(TYPICAL_QUANTILE * len(ordered))] + HIGH_MARGIN_TOKENS


def _share(rows: list[EnvelopeRow], high_tokens: int) -> float:
    """Return the share of the answer, rounded up, that covers what exceeds the constant part."""
    shares = [
        (row.residual_tokens - high_tokens) / row.visible_tokens
        for row in rows
        if row.visible_tokens > 0
    ]
    steps = math.ceil(max(0.0, *shares) / SHARE_STEP)
    return round(steps * SHARE_STEP, 2)


#: Room around the ratios seen, and tokens beside them for chains so short that ratios say little.
RATIO_MARGIN = 0.02
DISCLOSURE_SLACK_TOKENS = 16


def fit_disclosure(
    pairs: Iterable[tuple[int, int]], *, vocabulary: str, source: str, date: str
) -> Disclosure:
    """Return how billed counts stand to recounts of shown chains, from pairs (billed, recount).

    Raises: CalibrationError for fewer than 100 pairs with a recount of 1 or more.
    """
    ratios = [billed / recount for billed, recount in pairs if recount > 0]
    if len(ratios) < MIN_ROWS:
        raise CalibrationError(f"{len(ratios)} shown chains; a disclosure needs {MIN_ROWS}")
    return Disclosure(
        vocabulary=vocabulary,
        low_ratio=round(min(ratios) - RATIO_MARGIN, 3),
        high_ratio=round(max(ratios) + RATIO_MARGIN, 3),
        slack_tokens=DISCLOSURE_SLACK_TOKENS,
        source=source,
        date=date,
        num_rows=len(ratios),
    )
