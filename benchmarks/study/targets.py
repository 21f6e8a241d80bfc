"""The figures that the judge was meant to reach, each beside what was measured.

A target is met where the measured figure is on the right side of it, and not met otherwise; nothing
is rounded first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.study.detection import OURS
from benchmarks.study.tables import percent

Results = Mapping[str, Any]


def check_targets(results: Results) -> list[dict[str, Any]]:
    """Return each target with the measured value and whether it is met."""
    return [
        *_false_alarm_targets(results),
        *_auc_targets(results["detection"]),
        *_token_targets(results["decisions"]),
        *_comparison_targets(results["detection"]),
        *_share_targets(results),
    ]


def _row(target: str, measured: str, is_met: bool | None) -> dict[str, Any]:
    return {"target": target, "measured": measured, "is_met": is_met}


def _false_alarm_targets(results: Results) -> list[dict[str, Any]]:
    found = []
    for row in results["false_alarms"]["streams"]:
        found.append(
            _row(
                f"anytime false alarms <= 1 % (upper 95 % limit): {row['label']}",
                f"{row['num_events']} of {row['num_trials']}, at most {percent(row['upper_95'])}",
                row["upper_95"] <= 0.01,
            )
        )
    worst = results["false_alarms"]["boundary"]
    found.append(
        _row(
            "anytime false alarms <= 1 % (upper 95 % limit): simulated worst honest provider",
            f"{worst['num_events']} of {worst['num_trials']}, at most {percent(worst['upper_95'])}",
            worst["upper_95"] <= 0.01,
        )
    )
    return found


def _auc(rows: Sequence[Results], arm: str, num_tokens: int) -> float:
    row = next(r for r in rows if r["arm"] == arm and r["resampled"] == "tokens")
    cell = next(c for c in row["cells"] if c["num_tokens"] == num_tokens)
    return float(cell["auc"][OURS])


def _auc_targets(rows: Sequence[Results]) -> list[dict[str, Any]]:
    wanted = (("int4", 300, 0.985), ("kv-fp8", 300, 0.99), ("fp8", 3000, 0.98))
    found = []
    for arm, num_tokens, least in wanted:
        value = _auc(rows, arm, num_tokens)
        text = f"{arm}: AUC >= {least} at {num_tokens:,} tokens"
        found.append(_row(text, f"{value:.4f}", value >= least))
    return found


def _token_targets(decisions: Results) -> list[dict[str, Any]]:
    wanted = (
        ("int4", 350),
        ("temperature-110", 60),
        ("seed-wrong", 15),
        ("flipped-1pct", 500),
    )
    found = []
    for arm, most in wanted:
        median = next(r["median"] for r in decisions["tokens"] if r["arm"] == arm)
        shown = "beyond the cap" if median is None else f"{median:,.0f}"
        text = f"{arm}: median tokens to FAIL <= {most}"
        found.append(_row(text, shown, median is not None and median <= most))
    return found


def _comparison_targets(rows: Sequence[Results]) -> list[dict[str, Any]]:
    """Return the comparisons with the mean clipped margin, as published and with our margins."""
    by_tokens = [row for row in rows if row["resampled"] == "tokens"]
    rivals = (("published", "as published"), ("clipped", "with its filter cuts mended by us"))
    found = [_nowhere_below(by_tokens, name, label) for name, label in rivals]
    int4 = next(row for row in by_tokens if row["arm"] == "int4")["tokens_to_auc_99"]
    for name, label in rivals:
        ours, theirs = int4[OURS], int4[name]
        is_known = ours is not None and theirs is not None
        found.append(
            _row(
                f"int4: at most 60 % of the tokens to AUC .99 of the mean clipped margin {label}",
                f"{ours:.0f} against {theirs:.0f}: {100 * ours / theirs:.0f} %"
                if is_known
                else "not reached",
                is_known and ours <= 0.6 * theirs,
            )
        )
    return found


def _nowhere_below(rows: Sequence[Results], rival: str, label: str) -> dict[str, Any]:
    lower = [
        f"{row['arm']}{'' if row['against'] == 'honest-code' else ' (against T 0)'} at "
        f"{cell['num_tokens']:,} {cell['auc'][OURS] - cell['auc'][rival]:+.4f} "
        f"(± {cell['auc_gain_error'][rival]:.4f})"
        for row in rows
        for cell in row["cells"]
        if cell["auc"][OURS] < cell["auc"][rival]
    ]
    num_cells = sum(len(row["cells"]) for row in rows)
    shown = f"lower in {len(lower)} of {num_cells} cells"
    if lower:
        shown += f", with standard errors: {'; '.join(lower)}"
    return _row(
        f"every attack and length: AUC at least that of the mean clipped margin {label}",
        shown,
        not lower,
    )


def _share_targets(results: Results) -> list[dict[str, Any]]:
    rows = results["shares"]
    p90 = next(r["p90"] for r in rows if r["share"] == 0.2)
    found = [
        _row(
            "a fifth of the exchanges substituted: FAIL within 38 exchanges in 9 of 10 cases",
            "beyond the cap" if p90 is None else f"{p90:.0f}",
            p90 is not None and p90 <= 38,
        )
    ]
    for name, key, table in (
        ("lower bound", "bound_wrong_ever", rows),
        ("interval for a known substitute", "wrong_ever", results["known_substitute"]),
    ):
        worst = max(table, key=lambda r, key=key: r[key]["share"])  # type: ignore[misc]
        found.append(
            _row(
                f"{name} of the substituted share: wrong at any look with probability <= alpha",
                f"at worst {worst[key]['num_events']} of {worst[key]['num_trials']} streams "
                f"(at a share of {worst['share']:g}), alpha {percent(worst['alpha'])}",
                worst[key]["share"] <= worst["alpha"],
            )
        )
    return found
