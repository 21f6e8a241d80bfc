"""`calibrate`: learn from honest traffic how far honest answers lie from the reference."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from audit.cli import options
from audit.cli.common import progress, require_files, require_profile
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line, stderr, stdout
from audit.codec.traffic import TrafficLine, read_traffic
from audit.config import (
    DEFAULT_CONFIDENCE,
    DEFAULT_FALSE_ALARM_RATE,
    DEFAULT_NUM_THREADS,
    ReplaySettings,
    parse_model,
)
from audit.errors import CannotJudge
from audit.examine import Replayer
from audit.judge.calibration import Calibration, save_calibration
from audit.judge.collect import CalibrationCollector
from audit.judge.verdict import null_laws

#: Lengths for which thresholds are shown.
SHOWN_NUM_TOKENS = (100, 300, 1000)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)


def calibrate(
    model: options.Model,
    traffic: options.Traffic,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The calibration to write.")],
    more_traffic: options.MoreTraffic = None,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of honest exchanges that may be failed.")
    ] = DEFAULT_FALSE_ALARM_RATE,
    confidence: Annotated[
        float, typer.Option(help="How sure that share is kept, over the choice of traffic.")
    ] = DEFAULT_CONFIDENCE,
    as_json: options.AsJson = False,
) -> None:
    """Make a calibration from traffic that is known to be honest.

    Only deviations are kept, never prompts or answers.
    """
    from audit.app import build_replayer, utc_now

    require_profile(profile)
    files = [*traffic, *(more_traffic or ())]
    require_files(files)
    collector = CalibrationCollector(false_alarm_rate=false_alarm_rate, confidence=confidence)
    replay = build_replayer(
        ReplaySettings(
            models=(parse_model(str(model)),),
            profile=profile,
            precision=dtype,
            num_threads=threads,
        )
    )
    skipped: Counter[str] = Counter()
    with progress() as bar:
        task = bar.add_task("calibrating", total=None)
        for count, line in enumerate(read_traffic(files), start=1):
            reason = _collect(line, replay, collector)
            if reason is not None:
                skipped[reason] += 1
            bar.update(task, description=f"calibrating: {count} exchanges")
    calibration, warnings = collector.finish(utc_now())
    save_calibration(calibration, out)
    for reason, number in skipped.items():
        warnings += (f"{number} exchanges left out: {reason}",)
    _report(calibration, warnings, out, as_json=as_json)
    raise typer.Exit(ExitCode.PASS)


def _collect(line: TrafficLine, replay: Replayer, collector: CalibrationCollector) -> str | None:
    """Add one exchange; return why it was left out, or None."""
    if line.request is None:
        return f"invalid_exchange ({line.error})"
    try:
        collector.add(replay(line.request))
    except CannotJudge as error:
        return f"{error.reason.value} ({error})"
    return None


def _report(
    calibration: Calibration, warnings: tuple[str, ...], out: Path, *, as_json: bool
) -> None:
    laws = null_laws(calibration)
    for stratum in calibration.strata:
        line = {
            "profile": stratum.key.profile_id,
            "precision": stratum.key.precision,
            "greedy": stratum.key.is_greedy,
            "ids_inferred": stratum.key.ids_inferred,
            "num_exchanges": len(stratum.exchanges),
            "num_tokens": stratum.num_tokens,
            "match_share": stratum.num_matches / stratum.num_tokens,
            "thresholds": {str(n): laws[stratum.key].threshold(n) for n in SHOWN_NUM_TOKENS},
            "calibration_id": calibration.calibration_id,
            "false_alarm_rate": calibration.false_alarm_rate,
            "confidence": calibration.confidence,
            "out": str(out),
        }
        if as_json:
            print_line(line)
            continue
        thresholds = ", ".join(
            f"{1000 * laws[stratum.key].threshold(n):.3g}m at {n} tokens" for n in SHOWN_NUM_TOKENS
        )
        stdout().print(
            f"{stratum.key}: {len(stratum.exchanges)} exchanges, {stratum.num_tokens} tokens, "
            f"{line['match_share']:.2%} matched; FAIL above {thresholds}",
            highlight=False,
        )
    if not as_json:
        stdout().print(f"wrote {out}, id {calibration.calibration_id}", highlight=False)
    for warning in warnings:
        stderr().print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
