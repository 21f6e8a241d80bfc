"""Thirty answers that a real engine drew at float32: honest counts are exact, padding is found."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from audit.billing_records import BilledRequest, BilledUsage, UsageSchema
from audit.hidden_tokens.recount import RecountChannel, RecountCheck, RecountRecord
from audit.hidden_tokens.recount_records import HiddenExchange
from audit.hidden_tokens.recount_search import find_count
from reference_runner.records import ReplaySequence
from reference_runner.regenerate import ChainRunner
from tests.support.example_model import example_reference
from tests.unit.hidden_tokens.recount_cases import FLOAT32, cut, recorded

NUM_EXCHANGES = 30
NUM_TOKENS = 48
PADDING = 1.05
REQUEST_ID = "request-1"


class RememberingRunner(ChainRunner):
    """Draws the seeded chain of an exchange once for all its bills."""

    def __init__(self) -> None:
        super().__init__(example_reference(), batch_size=16)
        self.chains: dict[ReplaySequence, tuple[int, ...]] = {}

    def regenerate(
        self,
        sequence: ReplaySequence,
        starts: Sequence[tuple[int, ...]],
        *,
        num_tokens: int,
        stops_at: tuple[int, ...] = (),
    ) -> list[tuple[int, ...]]:
        known = self.chains.get(sequence, ())
        if list(starts) == [()] and num_tokens <= len(known):
            return [known[:num_tokens]]
        chains = super().regenerate(sequence, starts, num_tokens=num_tokens, stops_at=stops_at)
        if list(starts) == [()]:
            self.chains[sequence] = chains[0]
        return chains


@cache
def honest() -> tuple[HiddenExchange, ...]:
    """Return exchanges whose hidden part ends with a known mark."""
    cuts = [cut(sequence, NUM_TOKENS)[0] for sequence in recorded("honest-vllm-fp32", 60)]
    return tuple(exchange for exchange in cuts if exchange.end_mark_ids)[:NUM_EXCHANGES]


def padded(exchange: HiddenExchange) -> HiddenExchange:
    return replace(exchange, billed_tokens=math.ceil(PADDING * exchange.billed_tokens))


def check(exchange: HiddenExchange, runner: ChainRunner) -> RecountCheck:
    channel = RecountChannel(
        exchanges={REQUEST_ID: exchange},
        count=lambda one: find_count(one, runner, example_reference(), FLOAT32),
        record=RecountRecord(num_wrong=0, num_exchanges=NUM_EXCHANGES),
    )
    return channel.check(request_for(exchange), "code")


def request_for(exchange: HiddenExchange) -> BilledRequest:
    billed = exchange.billed_tokens
    usage = BilledUsage(
        schema=UsageSchema.VLLM,
        output_tokens=billed + len(exchange.visible_token_ids),
        reasoning_tokens=billed,
    )
    return BilledRequest(
        request_id=REQUEST_ID,
        account="team-a",
        provider="https://host.example/v1",
        model="example",
        usage=usage,
        observed_at="2026-11-21T00:00:00Z",
    )


def test_honest_counts_are_exact_and_every_padding_of_a_twentieth_is_found() -> None:
    assert len(honest()) == NUM_EXCHANGES
    assert {exchange.sampling.temperature for exchange in honest()} == {0.0, 0.7, 1.0}
    runner = RememberingRunner()
    num_exact = num_found = num_impossible = 0
    for exchange in honest():
        # the longer search first: the shorter one then has its chain
        over = check(padded(exchange), runner)
        found = check(exchange, runner)
        assert over.recount is not None and found.recount is not None
        low, high = found.recount.low_tokens, found.recount.high_tokens
        num_exact += low == high == exchange.billed_tokens
        num_found += padded(exchange).billed_tokens > over.recount.high_tokens
        assert found.violation is None
        if over.violation is not None:
            num_impossible += 1
            excess = padded(exchange).billed_tokens - exchange.billed_tokens
            assert over.violation.excess_tokens == excess
    # the bar is 99 %
    assert num_exact == NUM_EXCHANGES
    assert num_found == NUM_EXCHANGES
    # beside a draw that rounding could have turned, a count is a reading only
    assert num_impossible >= NUM_EXCHANGES - 2
