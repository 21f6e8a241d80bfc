"""The study's tables, from its results to Markdown.

Figures are rounded here and nowhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.study.detection import NUM_TOKENS, OURS

Results = Mapping[str, Any]

#: Numbers of tokens that the excerpt of the power table shows.
POWER_EXCERPT = (20, 50, 100, 300, 1000, 3000, 10_000, 20_000)

#: Statistics as the tables name them.
TITLES = {
    OURS: "ours",
    "published": "clipped mean, published",
    "clipped": "clipped mean, mended",
    "mismatch": "mismatches",
    "surprisal": "cross-entropy",
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return one table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float) -> str:
    """Return a share in percent, small ones with more digits."""
    return f"{100 * value:.2f} %" if value < 0.1 else f"{100 * value:.1f} %"


def count(value: float | None) -> str:
    """Return a count, or that the cap came first."""
    return "beyond cap" if value is None else f"{value:,.0f}"


def _alarms(row: Results) -> list[str]:
    return [f"{row['num_events']} of {row['num_trials']:,}", percent(row["upper_95"])]


def targets(results: Results) -> str:
    """Return the targets beside what was measured."""
    return markdown(
        ("target", "measured", ""),
        [
            (t["target"], t["measured"], "met" if t["is_met"] else "**not met**")
            for t in results["targets"]
        ],
    )


def streams(results: Results) -> str:
    """Return the false alarms of streams and providers."""
    alarms = results["false_alarms"]
    rows = [
        [
            s["label"],
            str(e["num_exchanges"]),
            *_alarms(s),
            f"{s['largest_log10_e']:.2f}",
            *_alarms(p),
            f"{p['largest_log10_e']:.2f}",
        ]
        for e, s, p in zip(alarms["exchanges"], alarms["streams"], alarms["providers"], strict=True)
    ]
    head = (
        *("honest arm", "exchanges", "streams that ever cross", "at most", "largest log10 e"),
        *("providers ever failed", "at most", "largest log10 e"),
    )
    return markdown(head, rows)


def exchanges(results: Results) -> str:
    """Return the false alarms of single exchanges, by our rule and the marginal one."""
    rows = [
        [
            e["label"],
            *_alarms(e["ours"]),
            *_alarms(e["marginal"]),
            percent(e["marginal"]["share"]),
            f"{1000 * e['mean_published_logits']:.2f}",
        ]
        for e in results["false_alarms"]["exchanges"]
    ]
    head = (
        *("honest arm", "ours: failed", "at most", "marginal: failed", "at most", "share"),
        "mean deviation, thousandths of a logit",
    )
    return markdown(head, rows)


def marginal(results: Results) -> str:
    """Return the false alarms of a marginal threshold on long streams."""
    alarms = results["false_alarms"]
    rows = [
        [
            m["label"],
            *_alarms(s),
            *(percent(m[name]["share"]) for name in ("quantile", "tolerance")),
        ]
        for m, s in zip(alarms["marginal_streams"], alarms["streams"], strict=True)
    ]
    head = (
        *("honest arm", "ours: ever failed", "at most"),
        *("marginal, 99 % quantile: failed", "marginal, tolerance bound: failed"),
    )
    return markdown(head, rows)


def detection(results: Results, resampled: str, key: str) -> str:
    """Return AUC or share found for each attack, length and statistic."""
    rows = []
    for row in results["detection"]:
        if row["resampled"] != resampled:
            continue
        for cell in row["cells"]:
            name = row["label"]
            if row["against"] != "honest-code":
                name += " (against honest, T 0)"
            values = cell[key]
            shown = [f"{values[n]:.4f}" for n in TITLES]
            shown = [f"**{text}**" if text == max(shown) else text for text in shown]
            rows.append(
                [
                    name if cell["num_tokens"] == NUM_TOKENS[0] else "",
                    f"{cell['num_tokens']:,}",
                    *shown,
                ]
            )
    return markdown(("attack", "tokens", *TITLES.values()), rows)


def tokens_to_auc(results: Results) -> str:
    """Return the tokens that each statistic takes to an AUC of .99."""
    rows = []
    for row in results["detection"]:
        if row["against"] != "honest-code":
            continue
        found = row["tokens_to_auc_99"]
        shown = ["more than 3,000" if found[n] is None else count(found[n]) for n in TITLES]
        ratio = (
            ""
            if found[OURS] is None or found["published"] is None
            else f"{found[OURS] / found['published']:.0%}"
        )
        rows.append([row["label"], row["resampled"], *shown, ratio])
    head = ("attack", "resampled", *TITLES.values(), "ours / published")
    return markdown(head, rows)


def decisions(results: Results) -> str:
    """Return what a FAIL takes, in tokens and in exchanges."""
    found = results["decisions"]
    rows = [
        [
            t["label"],
            str(t["num_exchanges"]),
            *(count(t[key]) for key in ("median", "mean_capped", "p90")),
            percent(t["share_not_failed"]),
            *(count(p[key]) for key in ("median", "p90")),
            percent(p["share_not_failed"]),
        ]
        for t, p in zip(found["tokens"], found["providers"], strict=True)
    ]
    head = (
        *("attack", "exchanges", "tokens: median", "mean, capped", "p90", "not failed"),
        *("exchanges: median", "p90", "not failed"),
    )
    return markdown(head, rows)


def power(results: Results) -> str:
    """Return excerpts of the power table."""
    rows = results["decisions"]["power"]
    picked = [i for i, n in enumerate(rows[0]["num_tokens"]) if n in POWER_EXCERPT]
    head = ("attack", *(f"{rows[0]['num_tokens'][i]:,}" for i in picked))
    return markdown(head, [[r["arm"], *(f"{r['power'][i]:.3f}" for i in picked)] for r in rows])


def shares(results: Results) -> str:
    """Return how soon a share of substituted exchanges is found, and its lower bound."""
    rows = [
        [
            f"{r['share']:g}",
            *(count(r[key]) for key in ("median", "p90")),
            count(r["first_exchange_failed_p90"]),
            *_alarms(r["bound_wrong_ever"]),
            *(f"{value:.3f}" for value in r["mean_bound"].values()),
        ]
        for r in results["shares"]
    ]
    looks = list(results["shares"][0]["mean_bound"])
    head = (
        *("share", "exchanges to FAIL: median", "p90", "to the first exchange failed, p90"),
        *("bound ever too high", "at most", *(f"mean bound after {n}" for n in looks)),
    )
    return markdown(head, rows)


def known(results: Results) -> str:
    """Return coverage and width of the interval for a known substitute."""
    rows = [
        [
            f"{r['share']:g}",
            *_alarms(r["wrong_ever"]),
            *(f"{value:.3f}" for value in r["mean_width"].values()),
        ]
        for r in results["known_substitute"]
    ]
    looks = list(results["known_substitute"][0]["mean_width"])
    head = ("share", "ever wrong", "at most", *(f"mean width after {n}" for n in looks))
    return markdown(head, rows)


def sticky(results: Results) -> str:
    """Return how often runs of substituted exchanges were seen."""
    rows = [
        [
            f"{r['share']:g}",
            "independent" if r["run"] == 1 else f"runs of {r['run']}",
            f"{r['num_events']} of {r['num_trials']:,}",
            percent(r["share_of_streams"]),
        ]
        for r in results["sticky"]
    ]
    return markdown(("share", "routing", "evidence reaches 100", "share of streams"), rows)


def noise(results: Results) -> str:
    """Return the effective noise of every arm."""
    rows = [
        [
            r["label"],
            f"{r['num_tokens']:,}",
            percent(r["match_share"]),
            f"{r['sigma_logits']:.4f}",
            f"{r['low_logits']:.4f} to "
            + ("any" if r["high_logits"] is None else f"{r['high_logits']:.4f}"),
            percent(r["tell_share"]),
        ]
        for r in results["noise"]["arms"]
    ]
    head = (
        "arm",
        "tokens",
        "matched",
        "noise, logits",
        "95 % interval",
        "exchanges that are tells",
    )
    return markdown(head, rows)


def detectable(results: Results) -> str:
    """Return the smallest deviations that would mostly have been failed."""
    rows = [
        [
            f"{r['num_tokens']:,}",
            "none" if r["noise_logits"] is None else f"{r['noise_logits']:.3f}",
            "none" if r["stray_share"] is None else percent(r["stray_share"]),
        ]
        for r in results["noise"]["detectable"]
    ]
    return markdown(("tokens", "noise, logits", "tokens replaced"), rows)


def diagnosis(results: Results) -> str:
    """Return how often the first explanation was the true one."""
    rows = [
        [
            r["deviation"],
            f"{r['num_right']} of {r['num_repeats'] - r['num_not_failed']}",
            str(r["num_not_failed"]),
            ", ".join(f"{name} {n}" for name, n in r["first_names"].items()) or "-",
        ]
        for r in results["diagnosis"]["deviations"]
    ]
    head = ("simulated deviation", "named rightly", "not failed", "first explanations")
    return markdown(head, rows)
