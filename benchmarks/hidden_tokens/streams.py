"""How often, and how soon, does an account's evidence say that the meter disagrees?

Method: streams of requests are drawn with replacement from pools of real honest requests
(`stream_pools`), their counts multiplied by a factor, and folded as an audit folds them, under the
bundled rules (alpha 1 %, both directions, calibration error paid). A stream ends when the meter
disagrees or after `--horizon` requests. Each pool gets the same number of streams.

What it shows, and not: the streams of one pool share one calibration and one finite set of test
requests. False alarms are thus those of the bets given these calibrations; how often a calibration
fails is paid for in the rules (`account.rules`) and simulated in the unit tests, not here.

    python benchmarks/hidden_tokens/streams.py [--evidence text timing sampling]
        [--factors 1 1.1 1.25 1.5 2] [--num-streams 480] [--horizon 300] [--seed 7]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.billing_records import MeterOutcome, StoredAccount
from audit.hidden_tokens.account.fold import fold
from audit.hidden_tokens.account.rules import BillingRules, load_billing_rules
from benchmarks.hidden_tokens.stream_pools import Pool, sampling_pools, text_pools, timing_pools

#: Requests folded at a time; a stream ends with the one in which the meter disagrees.
_BATCH = 25


def run_stream(
    pool: Pool, rules: BillingRules, rng: np.random.Generator, horizon: int
) -> StoredAccount:
    """Return an account after a stream that ends early where the meter disagrees."""
    account: StoredAccount | None = None
    for begin in range(0, horizon, _BATCH):
        numbers = range(begin, min(begin + _BATCH, horizon))
        # the id places a bill among its ties, so it differs from stream to stream
        checks = [pool.draw(rng, f"{number}-{rng.integers(2**62)}") for number in numbers]
        account = fold(account, pool.key, checks, rules)
        if account.finding.outcome is MeterOutcome.DISAGREES:
            break
    if account is None:
        raise ValueError("a stream needs one request at least")
    return account


def figures(accounts: Sequence[StoredAccount], horizon: int) -> dict[str, float | int | None]:
    """Return how many streams of a kind ended in each outcome, and how soon."""
    findings = [account.finding for account in accounts]
    found = [f.disagreed_at_request for f in findings if f.disagreed_at_request is not None]
    # a stream that was never found counts as found after the last: the median is over all of them
    waits = [f.disagreed_at_request or horizon + 1 for f in findings]
    median = statistics.median(waits)
    return {
        "num_streams": len(findings),
        "num_found": len(found),
        "share_found": round(len(found) / len(findings), 4),
        "num_found_under": sum(f.direction == "under" for f in findings),
        "median_requests": None if median > horizon else median,
        "median_requests_of_found": statistics.median(found) if found else None,
        "max_requests": max(found, default=None),
        "num_agrees": sum(f.outcome is MeterOutcome.AGREES for f in findings),
    }


def run_pools(
    pools: Sequence[Pool], rules: BillingRules, *, num_streams: int, horizon: int, seed: int
) -> dict[str, object]:
    """Return the figures of all streams together and of each pool."""
    each = -(-num_streams // len(pools))
    accounts: dict[str, list[StoredAccount]] = {}
    for index, pool in enumerate(pools):
        rng = np.random.default_rng((seed, index))
        accounts[pool.name] = [run_stream(pool, rules, rng, horizon) for _ in range(each)]
    together = [account for listed in accounts.values() for account in listed]
    return {
        "together": figures(together, horizon),
        "pools": {
            pool.name: {
                "num_requests_to_draw_from": pool.num_requests,
                **figures(accounts[pool.name], horizon),
            }
            for pool in pools
        },
    }


def main() -> None:
    """Print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ("text", "timing", "sampling")
    parser.add_argument("--evidence", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--factors", nargs="+", type=float, default=[1.0, 1.1, 1.25, 1.5, 2.0])
    parser.add_argument("--num-streams", type=int, default=480)
    parser.add_argument("--horizon", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rules, started = load_billing_rules(), time.perf_counter()
    makers = {
        "text": lambda: text_pools(options.factors, options.seed),
        "timing": lambda: timing_pools(options.factors),
        "sampling": lambda: sampling_pools(options.factors, "streams"),
    }
    results: dict[str, object] = {}
    for kind in options.evidence:
        pools = makers[kind]()
        results[kind] = {
            f"{factor:g}": run_pools(
                pools[factor],
                rules,
                num_streams=options.num_streams,
                horizon=options.horizon,
                seed=options.seed,
            )
            for factor in options.factors
        }
    elapsed_s = round(time.perf_counter() - started, 1)
    print(json.dumps({"rules": rules.rules_id, "results": results, "elapsed_s": elapsed_s}))


if __name__ == "__main__":
    main()
