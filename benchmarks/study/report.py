"""Writes the study's report: README.md for people, results.json with every number.

The words are those of `report.md`; every figure in them comes from the results.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.study import tables

Results = Mapping[str, Any]

TEMPLATE = Path(__file__).with_name("report.md")

QUICK = (
    "\n**A quick run: a few exchanges of each arm, to see that everything works. No figure here is "
    "a measurement of the judge.**\n"
)

#: Digits kept in results.json.
_DIGITS = 6


def rounded(value: Any) -> Any:
    """Return results with floats rounded, ready for JSON."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def write_report(results: Results, out: Path) -> None:
    """Write both files."""
    text = json.dumps(results, indent=1, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    template = TEMPLATE.read_text(encoding="utf-8")
    filled = template.format(**_figures(results), **_tables(results))
    (out / "README.md").write_text(filled, encoding="utf-8")


def _tables(results: Results) -> dict[str, str]:
    return {
        "targets": tables.targets(results),
        "streams": tables.streams(results),
        "exchanges": tables.exchanges(results),
        "marginal_streams": tables.marginal(results),
        "auc_tokens": tables.detection(results, "tokens", "auc"),
        "auc_exchanges": tables.detection(results, "exchanges", "auc"),
        "found_tokens": tables.detection(results, "tokens", "found_at_1pct"),
        "tokens_to_auc": tables.tokens_to_auc(results),
        "decisions": tables.decisions(results),
        "power": tables.power(results),
        "shares": tables.shares(results),
        "known": tables.known(results),
        "sticky": tables.sticky(results),
        "noise": tables.noise(results),
        "detectable": tables.detectable(results),
        "diagnosis": _diagnosis(results),
    }


def _figures(results: Results) -> dict[str, Any]:
    facts, alarms, found = results["facts"], results["false_alarms"], results["decisions"]
    sizes = [row["num_exchanges"] for row in (*alarms["exchanges"][:-1], *found["tokens"])]
    provider = found["providers"][0]
    return {
        "facts": facts,
        "quick": QUICK if facts["is_quick"] else "",
        "minutes": max(1, round(facts["run_time_s"] / 60)),
        "libraries": ", ".join(f"{name} {v}" for name, v in facts["libraries"].items()),
        "num_tokens_each": facts["num_tokens_each"],
        "fewest": min(sizes),
        "most": max(sizes),
        "num_met": sum(bool(t["is_met"]) for t in results["targets"]),
        "num_targets": len(results["targets"]),
        "auc_error": _largest_error(results),
        "stream_tokens": alarms["streams"][0]["num_tokens"],
        "provider_exchanges": alarms["providers"][0]["num_exchanges"],
        "worst": alarms["boundary"],
        "marginal": 1000 * alarms["marginal_threshold_logits"],
        "num_draws": results["detection"][0]["num_draws"],
        "attack_streams": found["tokens"][0]["num_streams"],
        "cap_tokens": found["num_cap_tokens"],
        "cap_exchanges": provider["num_cap_exchanges"],
        "fail_provider_streams": provider["num_streams"],
        "shares_first": results["shares"][0],
        "int8": _int8(results),
        "long": {
            name: 1000 * value for name, value in alarms["marginal_long_thresholds_logits"].items()
        },
        "seldom": ", ".join(
            f"{t['label']} ({tables.percent(t['share_not_failed'])})"
            for t in found["tokens"]
            if t["share_not_failed"] > 0.5
        )
        or "none",
    }


def _largest_error(results: Results) -> float:
    return max(float(cell["auc_error"]) for row in results["detection"] for cell in row["cells"])


def _int8(results: Results) -> str:
    """Say how 8-bit and fp8 weights compare with what can be seen."""
    sigma = {row["arm"]: row["sigma_logits"] for row in results["noise"]["arms"]}
    honest, int8 = sigma["honest-code"], sigma["int8"]
    added = max(int8**2 - honest**2, 0.0) ** 0.5
    fp8 = next(t for t in results["decisions"]["tokens"] if t["arm"] == "fp8")
    last = results["noise"]["detectable"][-1]
    promised = "none" if last["noise_logits"] is None else f"{last['noise_logits']:.3f}"
    cap = results["decisions"]["num_cap_tokens"]
    return (
        f"Against measurement: fp8 weights stray {sigma['fp8']:.4f} logits, and "
        f"{tables.percent(1 - fp8['share_not_failed'])} of their streams of {cap:,} tokens were "
        f"failed; the table says 90 % from {promised} logits on at {last['num_tokens']:,} tokens. "
        "Where the two disagree, believe the measurement: rounding is not Gaussian noise.\n\n"
        f"8-bit weights in groups of 32 stray {int8:.4f} logits where honest code strays "
        f"{honest:.4f}: {added:.4f} logits more, as variances add."
    )


def _diagnosis(results: Results) -> str:
    found = results["diagnosis"]
    if not found or not found["deviations"]:
        return "Not part of this run; see `benchmarks/study/diagnosis.py`."
    return (
        "Answers that the reference itself generates with one deviation at a time, audited, and "
        "diagnosed where they fail (`python -m benchmarks.study.diagnosis`): of "
        f"{found['num_diagnosed']} diagnoses {found['share_right']:.1%} name the true cause "
        f"first.\n\n{tables.diagnosis(results)}"
    )
