"""Recorded answers cut in two: a made-up hidden part and a visible answer."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from audit.codec.traffic import read_traffic
from audit.hidden_tokens.recount import hidden_exchange
from audit.hidden_tokens.recount_records import HiddenExchange
from audit.planning import plan_replay
from audit.records import ReplayPlan
from reference_runner.generate import generate
from reference_runner.records import GenerationRequest, ReplaySequence
from reference_runner.regenerate import ChainRunner, NearTie
from reference_runner.replay import TorchReference

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Bills are padded by so much.
PADDING = 1.05

_HIDDEN_SHARE = 0.6

#: Recordings of which so many tokens are not left are not cut in two.
_MIN_TOKENS = 48


class Known(StrEnum):
    """What the auditor knows of the hidden part's end."""

    END_MARK = "end_mark"
    CUT_OFF = "cut_off"
    NOTHING_SAMPLED = "nothing_sampled"
    NOTHING_GREEDY = "nothing_greedy"


class RememberingRunner(ChainRunner):
    """A runner that draws each chain of an exchange once, long enough for all its recounts."""

    longest = 0
    _chains: dict[tuple[int, ...], tuple[int, ...]]
    _ties: dict[tuple[int, ...], list[NearTie]]

    def begin(self, first_chain: tuple[int, ...]) -> None:
        """Forget the last exchange's chains; the new one's first chain is drawn already."""
        self.longest = len(first_chain)
        self._chains, self._ties = {(): first_chain}, {}

    def regenerate(
        self,
        sequence: ReplaySequence,
        starts: Sequence[tuple[int, ...]],
        *,
        num_tokens: int,
        stops_at: tuple[int, ...] = (),
    ) -> list[tuple[int, ...]]:
        """Return the chains, from memory where they are there."""
        if stops_at or num_tokens > self.longest:
            return super().regenerate(sequence, starts, num_tokens=num_tokens, stops_at=stops_at)
        new = [start for start in starts if start not in self._chains]
        if new:
            drawn = super().regenerate(sequence, new, num_tokens=self.longest)
            self._chains.update(zip(new, drawn, strict=True))
        return [self._chains[start][:num_tokens] for start in starts]

    def near_ties(self, sequence: ReplaySequence, *, tolerance_logits: float) -> list[NearTie]:
        """Return the near ties, from memory where they are there."""
        output = sequence.output_token_ids
        if output not in self._ties:
            found = super().near_ties(sequence, tolerance_logits=tolerance_logits)
            self._ties[output] = found
        return self._ties[output]


def plans(names: Sequence[str], reference: TorchReference, most: int) -> list[ReplayPlan]:
    """Return recorded exchanges, evenly spread over the files."""
    lines = list(read_traffic([EXAMPLES / "traffic" / f"{name}.jsonl" for name in names]))
    chosen = [lines[i] for i in np.linspace(0, len(lines) - 1, min(most, len(lines))).astype(int)]
    made = [plan_replay(line.request, reference, None) for line in chosen if line.request]
    return [plan for plan in made if len(plan.sequence.output_token_ids) >= _MIN_TOKENS]


def cuts(plan: ReplayPlan, num_tokens: int) -> Iterator[tuple[Known, HiddenExchange | None]]:
    """Yield the exchange under each kind of knowledge; None where nothing could mark the end."""
    output = plan.sequence.output_token_ids[:num_tokens]
    mark = _mark(output)
    yield Known.END_MARK, None if mark is None else _cut(plan, output, mark + 1, marks=True)
    num_hidden = round(_HIDDEN_SHARE * len(output))
    bare = _cut(plan, output, num_hidden, marks=False)
    yield Known.CUT_OFF, replace(bare, max_output_tokens=len(output), was_cut_off=True)
    is_greedy = plan.sequence.sampling.is_greedy
    yield (Known.NOTHING_GREEDY if is_greedy else Known.NOTHING_SAMPLED), bare


def _mark(output: tuple[int, ...]) -> int | None:
    places = [output.index(token) for token in set(output)]
    inside = [place for place in places if 19 <= place < len(output) - 8]
    return min(inside, key=lambda place: (abs(place - len(output) // 2), place), default=None)


def _cut(
    plan: ReplayPlan, output: tuple[int, ...], num_hidden: int, *, marks: bool
) -> HiddenExchange:
    shown = replace(plan.sequence, output_token_ids=output[num_hidden:])
    ends = (output[num_hidden - 1],) if marks else ()
    return hidden_exchange(replace(plan, sequence=shown), num_hidden, end_mark_ids=ends)


def first_chains(
    batch: Sequence[ReplayPlan], reference: TorchReference, num_tokens: int
) -> list[tuple[int, ...]]:
    """Return what the reference draws for several exchanges, long enough for every recount."""
    # enough for a padded bill, whose search goes a quarter further
    longest = math.ceil(num_tokens * 1.25 * PADDING) + 1
    requests = [
        GenerationRequest(
            prompt_token_ids=plan.sequence.prompt_token_ids,
            sampling=plan.sequence.sampling,
            profile_id=plan.sequence.profile_ids[0],
            num_tokens=min(
                longest, reference.info.max_positions - len(plan.sequence.prompt_token_ids)
            ),
        )
        for plan in batch
    ]
    return generate(reference, requests, batch_size=len(batch))
