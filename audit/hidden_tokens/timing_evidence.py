"""What the client's clock recorded of one billed request, in the terms of the speed laws.

Neither time uses a number of the bill: seconds to the end of the answer, and, where the answer came
in a stream, the characters that this very host would have written until the answer began, at the
pace at which it then wrote the answer.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from audit.billing_records import BilledRequest, CallTiming, Refusal, Tier, Unchecked
from audit.hidden_tokens.conformal import cell_key
from audit.hidden_tokens.laws import Counted, counted_of

#: A pace is not read off fewer chunks, a shorter answer or a shorter stretch: a gateway that holds
#: the stream back delivers it in one burst.
_MIN_CHUNKS = 8
_MIN_ANSWER_CHARS = 64
_MIN_STRETCH_S = 0.5


class Clock(StrEnum):
    """What a law takes for time."""

    STREAM = "stream"
    """Characters that the host would have written until the answer began, at the answer's pace."""
    WHOLE = "whole"
    """Seconds from sending the request to the end of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedSample:
    """What is read off one timed request."""

    cell: str
    model: str
    counted: Counted
    count: int
    """Tokens billed, of the counted kind."""
    output_tokens: int
    elapsed_s: float
    stream_chars: float | None
    """`Clock.STREAM`, where the answer was streamed evenly enough."""

    def time(self, clock: Clock) -> float | None:
        """Return the time on that clock, above 0; None where it did not run."""
        return self.elapsed_s if clock is Clock.WHOLE else self.stream_chars


def timed_sample(request: BilledRequest, domain: str) -> TimedSample | Unchecked:
    """Return what the laws use of a request, or why they can use none of it.

    Raises: InvalidRequest for a model, domain or effort that cannot name a cell.
    """
    timing = request.timing
    if timing is None:
        return unchecked(Refusal.NO_EVIDENCE, "no timing was recorded")
    if request.is_aggregator:
        return unchecked(
            Refusal.NOT_A_METER_READING, "a middleman counted again, with another tokenizer perhaps"
        )
    problem = _problem(timing)
    if problem is not None:
        return unchecked(Refusal.UNREADABLE_EVIDENCE, problem)
    counted, count = counted_of(request)
    return TimedSample(
        cell=cell_key(request.model, domain, request.effort or ""),
        model=request.model,
        counted=counted,
        count=count,
        output_tokens=request.usage.output_tokens,
        elapsed_s=timing.elapsed_s,
        stream_chars=_stream_chars(timing, len(request.answer or "")),
    )


def unchecked(reason: Refusal, detail: str) -> Unchecked:
    """Return that time says nothing about a request."""
    return Unchecked(tier=Tier.TIMING, reason=reason, detail=detail)


def _problem(timing: CallTiming) -> str | None:
    if not (math.isfinite(timing.elapsed_s) and timing.elapsed_s > 0):
        return "elapsed_s must be above 0"
    marks = [*timing.chunk_times_s]
    if timing.first_answer_token_s is not None:
        marks.append(timing.first_answer_token_s)
    # a little beyond the end is the rounding of two clocks' prints, not a contradiction
    if not all(0.0 <= mark <= timing.elapsed_s + 0.05 for mark in marks):
        return "an answer token arrived before the request was sent, or after its end"
    if any(b < a for a, b in zip(timing.chunk_times_s, timing.chunk_times_s[1:], strict=False)):
        return "chunk_times_s must ascend"
    return None


def _stream_chars(timing: CallTiming, num_answer_chars: int) -> float | None:
    chunks = timing.chunk_times_s
    if len(chunks) < _MIN_CHUNKS or num_answer_chars < _MIN_ANSWER_CHARS:
        return None
    first = timing.first_answer_token_s
    began_s = chunks[0] if first is None else first
    stretch_s = chunks[-1] - chunks[0]
    if stretch_s < _MIN_STRETCH_S or began_s <= 0:
        return None
    # the first chunk was written before the stretch began
    pace_chars_per_s = num_answer_chars * (1.0 - 1.0 / len(chunks)) / stretch_s
    return began_s * pace_chars_per_s
