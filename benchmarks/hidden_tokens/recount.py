"""How well are hidden tokens recounted when seed, sampler and weights are known?

Method: real vLLM recordings of the example model (`examples/traffic`) are cut in two. The first
part of an answer plays the hidden part, the rest is the visible answer; the true count is thus
known. Each exchange is recounted as it is (billed = true count) and padded (billed = the true count
times 1.05, rounded up), under four kinds of knowledge:

    end_mark         the token that ends the hidden part: the one that is new nearest to the middle
    cut_off          the limit that cut the output; the hidden part is 60 % of it
    nothing_sampled  neither, at a temperature above 0; 60 %
    nothing_greedy   neither, at temperature 0; 60 %

Answers are shortened to `--num-tokens`: what a lower limit would have drawn. Exchanges without a
token that could mark the end are left out of the first kind, and counted. float32 rests on one
chain. For bfloat16, what rounding does to a logit is measured on every other recording (the largest
shortfall of an honest token there, times 1.25), and the rest is recounted.

    exact      low = high = the true count        interval   the true count is inside
    wrong      it is outside                      false_violations   honest, but called impossible

First chains are drawn for several exchanges at a time, and an exchange's chains are remembered from
one recount to the next, only to be faster. One thread.

    python benchmarks/hidden_tokens/recount.py [--float32 120] [--bfloat16 64] [--num-tokens 128]
        [--num-chains 32]
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.billing_records import Refusal, Unchecked
from audit.hidden_tokens.recount import violation_of
from audit.hidden_tokens.recount_records import (
    HiddenExchange,
    Recount,
    RecountMethod,
    RecountRules,
)
from audit.hidden_tokens.recount_search import find_count
from audit.records import ReplayPlan
from benchmarks.hidden_tokens.recount_cuts import (
    EXAMPLES,
    PADDING,
    Known,
    RememberingRunner,
    cuts,
    first_chains,
    plans,
)
from reference_runner.records import ReplayBatch
from reference_runner.replay import TorchReference, load_reference

_FLOAT32 = (
    "honest-vllm-fp32",
    "honest-vllm-fp32-calibration-batch-1",
    "honest-vllm-fp32-calibration-batch-16",
)
_BFLOAT16 = ("honest-vllm-bf16-2",)

#: Rounding at float32 moves no token of the recordings.
_FLOAT32_RULES = RecountRules(tolerance_logits=1e-3, num_chains=1)

_TOLERANCE_MARGIN = 1.25
_BATCH = 16


@dataclass(slots=True)
class Tally:
    """What became of the exchanges of one kind."""

    num_exchanges: int = 0
    exact: int = 0
    interval: int = 0
    wrong: int = 0
    reference_diverged: int = 0
    refused_otherwise: int = 0
    branched: int = 0
    """Counts for which near ties had to be taken another way."""
    aligned: int = 0
    num_divergences: int = 0
    with_near_ties: int = 0
    """Counts that rounding may have changed: these make no violation."""
    paddings_found: int = 0
    """Padded bills above the count."""
    padding_violations: int = 0
    false_violations: int = 0
    false_over: int = 0
    """Honest bills above the count."""
    wrong_counts: list[list[object]] = field(default_factory=list)

    def line(self) -> dict[str, object]:
        """Return all numbers, with the shares that matter."""
        num = max(1, self.num_exchanges)
        shares = {"share_exact": self.exact / num, "share_padding": self.paddings_found / num}
        return asdict(self) | {name: round(value, 4) for name, value in shares.items()}


def tolerance_of(held: Sequence[ReplayPlan], reference: TorchReference, num_tokens: int) -> float:
    """Return what rounding moves a logit by, from recordings that are not recounted."""
    worst = 0.0
    for plan in held:
        shown = replace(plan.sequence, output_token_ids=plan.sequence.output_token_ids[:num_tokens])
        ((evidence, *_),) = reference.replay(ReplayBatch(sequences=(shown,)))
        worst = max(worst, float((-evidence.signed_margin_logits_R).max()))
    return _TOLERANCE_MARGIN * worst


def add(tally: Tally, honest: HiddenExchange, counts: Sequence[Recount | Unchecked]) -> None:
    """Add one exchange: its honest recount, and the recount of its padded bill."""
    found, padded = counts
    true, billed = honest.billed_tokens, math.ceil(honest.billed_tokens * PADDING)
    tally.num_exchanges += 1
    if isinstance(padded, Recount):
        tally.paddings_found += billed > padded.high_tokens
        tally.padding_violations += violation_of(billed, padded) is not None
    if isinstance(found, Unchecked):
        has_diverged = found.reason is Refusal.REFERENCE_DIVERGED
        tally.reference_diverged += has_diverged
        tally.refused_otherwise += not has_diverged
        return
    low, high = found.low_tokens, found.high_tokens
    tally.exact += low == true == high
    tally.interval += low <= true <= high and low < high
    tally.branched += found.method is RecountMethod.BRANCHED
    tally.aligned += found.method is RecountMethod.ALIGNED
    tally.num_divergences += found.num_divergences
    tally.with_near_ties += found.num_near_ties > 0
    tally.false_violations += violation_of(true, found) is not None
    tally.false_over += true > high
    if not low <= true <= high:
        tally.wrong += 1
        temperature = honest.sampling.temperature
        tally.wrong_counts.append([true, low, high, str(found.method), temperature])


def study(
    recorded: Sequence[ReplayPlan], reference: TorchReference, rules: RecountRules, num_tokens: int
) -> dict[str, object]:
    """Return what became of all exchanges under each kind of knowledge."""
    runner = RememberingRunner(reference, batch_size=_BATCH)
    tallies, without_mark = {known: Tally() for known in Known}, Counter[str]()
    began_s = time.process_time()
    for first in range(0, len(recorded), _BATCH):
        batch = recorded[first : first + _BATCH]
        for plan, chain in zip(batch, first_chains(batch, reference, num_tokens), strict=True):
            runner.begin(chain)
            for known, honest in cuts(plan, num_tokens):
                if honest is None:
                    without_mark[known] += 1
                    continue
                padded = replace(honest, billed_tokens=math.ceil(honest.billed_tokens * PADDING))
                counts = [find_count(one, runner, reference, rules) for one in (honest, padded)]
                add(tallies[known], honest, counts)
        done = {known: tally.line() for known, tally in tallies.items()}
        print(first + len(batch), json.dumps(done), file=sys.stderr, flush=True)
    return {
        "tolerance_logits": round(rules.tolerance_logits, 5),
        "num_chains": rules.num_chains,
        "num_recordings": len(recorded),
        "without_end_mark": without_mark[Known.END_MARK],
        "cpu_s": round(time.process_time() - began_s, 1),
        "known": {str(known): tally.line() for known, tally in tallies.items()},
    }


def main() -> None:
    """Print what was found as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--float32", type=int, default=120, help="recordings")
    parser.add_argument("--bfloat16", type=int, default=64, help="recordings, half of them held")
    parser.add_argument("--num-tokens", type=int, default=128)
    parser.add_argument("--num-chains", type=int, default=32)
    given = parser.parse_args()
    line: dict[str, object] = {"benchmark": "recount", "num_tokens": given.num_tokens}
    if given.float32:
        reference = load_reference(EXAMPLES / "model", "float32", num_threads=1)
        recorded = plans(_FLOAT32, reference, given.float32)
        line["float32"] = study(recorded, reference, _FLOAT32_RULES, given.num_tokens)
    if given.bfloat16:
        reference = load_reference(EXAMPLES / "model", "bfloat16", num_threads=1)
        recorded = plans(_BFLOAT16, reference, given.bfloat16)
        tolerance = tolerance_of(recorded[::2], reference, given.num_tokens)
        rules = RecountRules(tolerance_logits=tolerance, num_chains=given.num_chains)
        line["bfloat16"] = study(recorded[1::2], reference, rules, given.num_tokens)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
