"""Streams of real requests: a short version of `benchmarks/hidden_tokens/streams.py`.

The streams of one pool are drawn with replacement from a finite set of honest requests and share
one calibration, so they try the null given both.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from audit.billing_records import BillingFinding, MeterOutcome
from audit.hidden_tokens.account.rules import load_billing_rules
from benchmarks.hidden_tokens.stream_pools import Pool, sampling_pools, timing_pools
from benchmarks.hidden_tokens.streams import figures, run_stream
from tests.support.hidden_tokens import data_folder

RULES = load_billing_rules()
NUM_STREAMS = 20

data_folder()


def findings_of(pools: Sequence[Pool], horizon: int) -> list[BillingFinding]:
    """Return what is found in `NUM_STREAMS` streams of each pool."""
    return [
        run_stream(pool, RULES, np.random.default_rng((1, index, stream)), horizon).finding
        for index, pool in enumerate(pools)
        for stream in range(NUM_STREAMS)
    ]


@cache
def timed(factor: float) -> list[Pool]:
    """Return the pools of the cells whose time is good evidence."""
    return [p for p in timing_pools([factor])[factor] if p.name.endswith("|planning|")]


def test_reference_sampling_finds_a_quarter_more_and_no_honest_meter() -> None:
    honest = findings_of(sampling_pools([1.0], "salt")[1.0], 150)
    assert MeterOutcome.DISAGREES not in [finding.outcome for finding in honest]
    found = findings_of(sampling_pools([1.25], "salt")[1.25], 200)
    assert {finding.direction for finding in found} == {"over"}
    waits = [finding.disagreed_at_request or 201 for finding in found]
    assert float(np.median(waits)) <= 40


def test_time_finds_a_quarter_more_in_o1_preview_within_hundred_requests() -> None:
    pools = timed(1.25)
    assert {"o1-preview-2024-09-12|planning|", "o1-mini-2024-09-12|planning|"} <= {
        pool.name for pool in pools
    }
    preview = [pool for pool in pools if pool.name.startswith("o1-preview")]
    assert all(finding.direction == "over" for finding in findings_of(preview, 100))


def test_time_finds_no_honest_meter() -> None:
    outcomes = [finding.outcome for finding in findings_of(timed(1.0), 150)]
    assert MeterOutcome.DISAGREES not in outcomes


def test_figures_count_streams_that_were_never_found() -> None:
    pool = sampling_pools([1.0], "salt")[1.0][0]
    accounts = [run_stream(pool, RULES, np.random.default_rng(seed), 10) for seed in range(3)]
    measured = figures(accounts, 10)
    assert (measured["num_streams"], measured["num_found"]) == (3, 0)
    assert measured["median_requests"] is None
