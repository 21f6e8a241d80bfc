"""What commands print: one JSON object a line for programs, tables for people.

Field names of a line are a promise to scripts; add, never rename.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from audit.records import AuditRequest, Outcome, Verdict
from reference_runner.records import Evidence

#: How each outcome is shown to people.
STYLES = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.INCONCLUSIVE: "yellow"}

WIDTH_WITHOUT_TERMINAL = 120

Line = dict[str, Any]


def verdict_line(index: int, request_id: str, verdict: Verdict) -> Line:
    """Return the line of one judged exchange; margins in logits."""
    statistic = verdict.statistics[0] if verdict.statistics else None
    return {
        "index": index,
        "request_id": request_id,
        "verdict": verdict.outcome.value,
        "reasons": [reason.value for reason in verdict.reasons],
        "profile": verdict.profile_id,
        "precision": verdict.precision,
        "num_tokens": verdict.num_tokens,
        "num_matches": verdict.num_matches,
        "mean_clipped_margin": verdict.mean_clipped_margin_logits,
        "threshold": None if statistic is None else statistic.threshold,
        "false_alarm_rate": None if statistic is None else statistic.false_alarm_rate,
        "could_have_seen": None if verdict.sensitivity is None else asdict(verdict.sensitivity),
        "details": list(verdict.details),
        "notes": list(verdict.notes),
        "calibration_id": verdict.calibration_id,
        "model_digest": verdict.model_digest,
        "policy_id": verdict.policy_id,
        "log10_e_value": verdict.log10_e_value,
        "noise": None if verdict.noise is None else asdict(verdict.noise),
        "diagnosis": [asdict(explanation) for explanation in verdict.diagnosis],
        "provider": None if verdict.provider is None else asdict(verdict.provider),
    }


def token_arrays(evidence: Evidence | None) -> Line:
    """Return the per-token arrays behind a verdict, empty where no replay took place."""
    if evidence is None:
        names = ("signed_margin", "top_two_gap", "matched", "rank", "logprob", "excluded")
        return {name: [] for name in names}
    return {
        "signed_margin": [float(x) for x in evidence.signed_margin_logits_R],
        "top_two_gap": [float(x) for x in evidence.top_two_gap_logits_R],
        "matched": [bool(x) for x in evidence.matched_R],
        "rank": [int(x) for x in evidence.rank_R],
        "logprob": [float(x) for x in evidence.logprob_nats_R],
        "excluded": [bool(x) for x in evidence.excluded_R],
    }


def print_line(line: Line) -> None:
    """Write one JSON object to stdout at once."""
    # NaN or Infinity would not be JSON: better to crash here than to write what no parser reads
    sys.stdout.write(json.dumps(line, allow_nan=False) + "\n")
    sys.stdout.flush()


def claim_text(request: AuditRequest) -> str:
    """Return what an exchange claims, in a few words: engine, precision, sampling."""
    provider, sampling = request.exchange.provider, request.exchange.sampling
    words = [provider.engine or "unknown engine", request.claim.precision or "precision not stated"]
    if sampling.temperature is not None:
        words.append(f"T={sampling.temperature:g}")
    if sampling.top_k is not None and sampling.top_k > 0:
        words.append(f"k={sampling.top_k}")
    if sampling.top_p is not None and sampling.top_p < 1.0:
        words.append(f"p={sampling.top_p:g}")
    return " ".join(words)


def verdict_table(*extra_columns: str) -> Table:
    """Return an empty table of verdicts."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("exchange", overflow="fold")
    for name in extra_columns:
        table.add_column(name, overflow="fold")
    table.add_column("tokens", justify="right")
    table.add_column("matches", justify="right")
    table.add_column("margin", justify="right")
    table.add_column("verdict")
    return table


def add_verdict_row(table: Table, name: str, verdict: Verdict, *extra: str) -> None:
    """Add one exchange; the margin is the mean clipped one, in thousandths of a logit."""
    mean = verdict.mean_clipped_margin_logits
    style = STYLES[verdict.outcome]
    reasons = ""
    if verdict.outcome is Outcome.INCONCLUSIVE:
        reasons = f" ({', '.join(r.value for r in verdict.reasons)})"
    table.add_row(
        name,
        *extra,
        str(verdict.num_tokens),
        f"{verdict.num_matches / verdict.num_tokens:.1%}" if verdict.num_tokens else "-",
        "-" if mean is None else f"{1000 * mean:.2f}m",
        f"[{style}]{verdict.outcome.value}[/]{reasons}",
    )


def stdout() -> Console:
    """Return the console for results; tables get room where no terminal sets a width."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def stderr() -> Console:
    """Return the console for progress and messages."""
    return Console(stderr=True)
