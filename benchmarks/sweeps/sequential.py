"""Sequential decisions of sweeps on streams whose truth is known: sample sizes, errors, changes.

Everything is drawn from laws that are stated here, so the figures show the statistics and not a
model; what models and engines do is measured by the other benchmarks of this folder.

sample_sizes   Requests until bets on tells reach 1 / 0.01, cap 8,000; honest rate p0, rate q of a
               substitute, share eps. Published figures beside them are those of the same design
               drawn before this program was written. False alarms: streams at exactly p0.
combined       Four detectors at exactly their honest bounds, interleaved, 300 requests a run: runs
               that reach the policy's threshold at any look.
shares         Runs in which a bound on the share was wrong at any look; the policy's confidence.
stepped        26 prompts whose next-token law is frozen in a reference of 100 answers each, 200
               requests a day, 41 days. A tell is a randomised conformal rank of 5 % at most, so its
               nominal rate is 0.05; each day's laws differ by themselves, which spreads the daily
               rates over about 0.02 to 0.16. One day in between differs more; from day 16 another
               model answers. Baseline of 5 days, tolerance of the bundled policy, fixed before.
arl            Histories at exactly the tolerated rate: runs to an alarm, cut at twice the promise.
sticky         Tells of a substitute that answers in blocks of 10, against independent ones.

Run: python benchmarks/sweeps/sequential.py [--quick]. The last line is one JSON object.
"""

import argparse
import json
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.judge.betting import log_bets, log_e_of_counts
from audit.judge.substitution import sticky_log_e
from audit.sweep_records import Reading, ReadingStatus
from audit.sweeps.decide.combine import combine
from audit.sweeps.decide.share import share_bounds
from audit.sweeps.decide.sticky import transitions_of
from audit.sweeps.drift.detector import fresh_watch, watch_run
from audit.sweeps.drift.epochs import Baseline
from audit.sweeps.drift.history import alarm_query, changes_of
from audit.sweeps.drift.records import RunTells
from audit.sweeps.policy import load_sweep_policy

Figures = dict[str, object]
IntArray = NDArray[np.int64]

ALPHA = 0.01
MAX_LOOKS = 8000

#: (p0, q, eps, published mean, median and 90th percentile).
PUBLISHED = (
    *((0.02, 1.0, 1.0, 2, 2, 2), (0.02, 1.0, 0.4, 7.4, 6, 14), (0.02, 1.0, 0.2, 19, 16, 38)),
    *((0.02, 1.0, 0.1, 56, 46, 110), (0.02, 1.0, 0.05, 172, 147, 332)),
    *((0.02, 0.5, 1.0, 5.8, 5, 11), (0.02, 0.5, 0.4, 22, 19, 43), (0.02, 0.5, 0.2, 57, 46, 105)),
    *((0.02, 0.5, 0.1, 179, 152, 339), (0.02, 0.5, 0.05, 580, 517, 1030)),
    *((0.05, 0.5, 1.0, 8.2, 7, 13), (0.05, 0.5, 0.4, 34, 29, 64), (0.05, 0.5, 0.2, 106, 99, 195)),
    *((0.05, 0.5, 0.1, 383, 330, 747), (0.05, 0.5, 0.05, 1334, 1255, 2426)),
)


def crossing_counts(null_mean: float, num_looks: int) -> IntArray:
    """Return how many tells first reach 1 / alpha, after each number of answers."""
    total = np.arange(1, num_looks + 1)
    low, high = np.zeros(num_looks, np.int64), total + 1
    for _ in range(num_looks.bit_length() + 1):
        middle = (low + high) // 2
        reached = log_e_of_counts(np.minimum(middle, total), total, null_mean) >= -np.log(ALPHA)
        reached |= middle > total
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def looks_to_cross(
    rng: np.random.Generator, rate: float, num_streams: int, crossings: IntArray
) -> IntArray:
    """Return each stream's first look at or above the crossing, one past the last for none."""
    looks = []
    for _ in range(0, num_streams, 250):
        ones = (rng.random((250, len(crossings)), np.float32) < rate).cumsum(axis=1, dtype=np.int32)
        hit = ones >= crossings
        looks.append(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, len(crossings) + 1))
    return np.concatenate(looks)


def sample_sizes(rng: np.random.Generator, num_streams: int) -> Figures:
    """Measure the table of sample sizes and the false alarms at every look."""
    crossings = {p0: crossing_counts(p0, MAX_LOOKS) for p0 in (0.02, 0.05)}
    rows: list[Figures] = []
    for p0, q, eps, *published in PUBLISHED:
        rate = (1.0 - eps) * p0 + eps * q
        looks = looks_to_cross(rng, rate, num_streams, crossings[p0])
        rows.append(
            {
                "honest_rate": p0,
                "tell_rate": q,
                "share": eps,
                "mean": round(float(looks.mean()), 1),
                "median": int(np.median(looks)),
                "p90": int(np.quantile(looks, 0.9, method="inverted_cdf")),
                "published_mean_median_p90": published,
            }
        )
        print(rows[-1])
    false_alarms = {
        str(p0): rate_of(looks_to_cross(rng, p0, num_streams, crossings[p0]) <= MAX_LOOKS)
        for p0 in (0.02, 0.05)
    }
    return {"alpha": ALPHA, "rows": rows, "false_alarms": false_alarms, "looks": MAX_LOOKS}


def rate_of(hits: NDArray[np.bool_]) -> Figures:
    """Return a rate with its one-sided 95 % upper limit."""
    num, total = int(hits.sum()), len(hits)
    upper = 1.0 if num == total else float(stats.beta.ppf(0.95, num + 1, total - num))
    return {"count": num, "of": total, "rate": num / total, "upper_95": round(upper, 5)}


def reading_of(detector: str, tells_N: NDArray[np.bool_], honest: float) -> Reading:
    """Return what a detector that bets on tells would have read."""
    return Reading(
        detector=detector,
        tier=1,
        status=ReadingStatus.READ,
        log_e_nats_N=tuple(log_bets(tells_N.astype(np.float64), honest).tolist()),
        tells="".join("1" if tell else "0" for tell in tells_N),
        honest_tell_rate=honest,
        num_sent=len(tells_N),
        num_used=len(tells_N),
    )


def combined(rng: np.random.Generator, num_runs: int) -> Figures:
    """Measure how often the common evidence of honest endpoints reaches the threshold."""
    policy = load_sweep_policy()
    laws = {"border-greedy/1": 0.02, "replay/1": 0.05, "logprob-kl/1": 0.2, "text-mmd/1": 0.5}
    hits = []
    for _ in range(num_runs):
        readings = [reading_of(d, rng.random(75) < rate, rate) for d, rate in laws.items()]
        hits.append(combine(readings, policy).first_at(policy.log_threshold_nats(1)) is not None)
    return {"test_rate": policy.test_rate(1), "accused": rate_of(np.array(hits))}


def shares(rng: np.random.Generator, num_runs: int) -> Figures:
    """Measure how often a bound on the share is wrong at any look; the truth is never beyond it."""
    policy = load_sweep_policy()
    figures: Figures = {"allowed": 1.0 - policy.share_confidence}
    for eps in (0.0, 0.05, 0.2, 0.5):
        wrong, lows = [], []
        for _ in range(num_runs):
            tells_N = rng.random(160) < (1.0 - eps) * 0.02 + eps * 0.5
            reading = reading_of("border-greedy/1", tells_N, 0.02)
            law = (("tell_rate:int4-g32", 0.5),)
            bounds = share_bounds([replace_statistics(reading, law)], policy)
            wrong.append(not bounds.low <= eps <= bounds.high)
            lows.append((bounds.low, bounds.high))
        middle = np.median(np.array(lows), axis=0)
        figures[str(eps)] = {
            "wrong": rate_of(np.array(wrong)),
            "median_low": round(float(middle[0]), 3),
            "median_high": round(float(middle[1]), 3),
        }
    return figures


def replace_statistics(reading: Reading, statistics: tuple[tuple[str, float], ...]) -> Reading:
    """Return the reading with other statistics."""
    return replace(reading, statistics=statistics)


def stepped_history(rng: np.random.Generator, is_swapped: bool) -> list[RunTells]:
    """Return 41 days of one-token answers to 26 prompts, told against a frozen reference."""
    num_prompts, num_tokens, swap_day, blip_day = 26, 4, 16, 9
    own = rng.normal(0.0, 1.0, (num_prompts, num_tokens)) + np.array([3.0, 2.6, 0.5, -0.5])
    reference = np.stack([rng.multinomial(100, _softmax(row)) for row in own])
    history = []
    for day in range(41):
        spread = 1.2 if day == blip_day else abs(rng.normal(0.0, 0.45))
        shifted = own + rng.normal(0.0, spread, own.shape)
        prompts_Q = np.arange(200) % num_prompts
        tokens_Q = (shifted[prompts_Q] + rng.gumbel(size=(200, num_tokens))).argmax(axis=1)
        counts_QV = reference[prompts_Q]
        own_Q1 = np.take_along_axis(counts_QV, tokens_Q[:, None], axis=1)
        rarer_Q = np.where(counts_QV < own_Q1, counts_QV, 0).sum(axis=1)
        as_rare_Q = np.where(counts_QV == own_Q1, counts_QV, 0).sum(axis=1)
        tells_Q = (rarer_Q + rng.random(200) * (as_rare_Q + 1)) / 101 <= 0.05
        # the other model's answers are none of the reference's
        tells_Q |= is_swapped and day >= swap_day
        tells = ["1" if tell else "0" for tell in tells_Q]
        history.append(
            RunTells(run_id=f"{day:02d}", detector="one-token-cells/1", tells="".join(tells))
        )
    return history


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def stepped(rng: np.random.Generator, num_series: int) -> Figures:
    """Measure early alarms and the requests between the swap and the alarm."""
    policy = load_sweep_policy()
    early, delays, false, daily, kinds = 0, [], 0, [], []
    for _ in range(num_series):
        history = stepped_history(rng, is_swapped=True)
        daily += [run.num_tells / run.num_answers for run in history[:16]]
        alarm = alarm_query(history, policy)
        if alarm is None or alarm[0] < "16":
            early += 1
            continue
        delays.append((int(alarm[0]) - 16) * 200 + alarm[1])
        changes = changes_of(history, policy)
        kinds.append((changes[0].kind.value, changes[0].since_run))
        false += alarm_query(stepped_history(rng, is_swapped=False), policy) is not None
    return {
        "series": num_series,
        "early_or_no_alarm": early,
        "alarms_in_41_honest_days": false,
        "daily_honest_rate_min_mean_max": [
            round(float(x), 3) for x in (np.min(daily), np.mean(daily), np.max(daily))
        ],
        "requests_to_alarm_median_max": [int(np.median(delays)), int(np.max(delays))],
        "called_step_since_the_day": sum(kind == ("step", "16") for kind in kinds) / len(kinds),
    }


def arl(rng: np.random.Generator, num_histories: int) -> Figures:
    """Measure the runs to a false alarm of one detector at exactly the tolerated rate."""
    policy = load_sweep_policy()
    promise = policy.drift.arl_runs
    baseline = Baseline(rate=0.02, high=0.08, low=None, dispersion=1.0)
    runs = []
    for _ in range(num_histories):
        watch, alarm = fresh_watch(baseline), 2 * promise
        for run in range(2 * promise):
            tells = "".join("1" if tell else "0" for tell in rng.random(20) < baseline.high)
            watch, values_N = watch_run(watch, tells, baseline)
            if values_N.max() >= math.log(promise):
                alarm = run + 1
                break
        runs.append(alarm)
    cut = np.array(runs)
    return {
        "promised_runs": promise,
        "mean_runs_cut": round(float(cut.mean()), 1),
        "cut_at": 2 * promise,
        "share_cut": float((cut == 2 * promise).mean()),
        "histories": num_histories,
    }


def sticky(rng: np.random.Generator, num_runs: int) -> Figures:
    """Measure how often tells in blocks are told from independent ones at an e-value of 100."""
    figures: Figures = {}
    for num in (80, 160, 400):
        for name, block in (("independent", 1), ("blocks_of_10", 10)):
            hits = []
            for _ in range(num_runs):
                routed = np.repeat(rng.random(-(-num // block)) < 0.2, block)[:num]
                tells_N = rng.random(num) < np.where(routed, 0.8, 0.02)
                text = "".join("1" if tell else "0" for tell in tells_N)
                hits.append(sticky_log_e(transitions_of(text)) >= math.log(100.0))
            figures[f"{name}_{num}"] = rate_of(np.array(hits))
    return figures


def main() -> None:
    """Run all parts and print what they measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    scale = 1 if parser.parse_args().quick else 10
    parts = {
        "sample_sizes": (sample_sizes, 500),
        "combined": (combined, 400),
        "shares": (shares, 100),
        "stepped": (stepped, 10),
        "arl": (arl, 6),
        "sticky": (sticky, 200),
    }
    figures: Figures = {}
    for number, (name, (measure, count)) in enumerate(parts.items()):
        figures[name] = measure(np.random.Generator(np.random.PCG64(number)), count * scale)
        print(name, figures[name], flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
