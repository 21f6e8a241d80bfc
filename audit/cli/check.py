"""`check`: audit recorded traffic here and now, without a server."""

from typing import Annotated

import typer
from rich.table import Table

from audit.cli import options
from audit.cli.common import MAX_TABLE_ROWS, progress, require_files, require_profile, summary
from audit.cli.exits import exit_code_of_outcomes
from audit.cli.lines import (
    add_verdict_row,
    print_line,
    stdout,
    token_arrays,
    verdict_line,
    verdict_table,
)
from audit.codec.traffic import TrafficLine, read_traffic
from audit.config import DEFAULT_NUM_THREADS, ReplaySettings, parse_model
from audit.errors import ConfigurationError
from audit.examine import Examiner, inconclusive
from audit.records import Examination, Outcome, Reason, Verdict


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    model: options.Model,
    traffic: options.Traffic,
    more_traffic: options.MoreTraffic = None,
    calibration: options.Calibration = None,
    policy: options.Policy = None,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Explain each FAIL; takes seconds a FAIL.")
    ] = False,
    siblings: options.Siblings = None,
    as_json: options.AsJson = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Add the per-token arrays.")] = False,
) -> None:
    """Audit recorded traffic against a local checkpoint."""
    from audit.app import build_examiner

    require_profile(profile)
    if siblings and not diagnose:
        raise ConfigurationError("--sibling is tried by a diagnosis; add --diagnose")
    files = [*traffic, *(more_traffic or ())]
    require_files(files)
    settings = ReplaySettings(
        models=(parse_model(str(model)),),
        calibration=calibration,
        policy=policy,
        diagnose=diagnose,
        siblings=tuple(parse_model(text) for text in siblings or ()),
        profile=profile,
        precision=dtype,
        num_threads=threads,
    )
    examiner = build_examiner(settings)
    outcomes: list[Outcome] = []
    causes: list[str] = []
    table = verdict_table("claimed model")
    with progress() as bar:
        task = bar.add_task("auditing", total=None)
        for line in read_traffic(files):
            examination = examine_line(line, examiner)
            verdict = examination.verdict
            outcomes.append(verdict.outcome)
            if as_json:
                arrays = token_arrays(examination.evidence) if tokens else {}
                print_line(
                    verdict_line(line.index, line.request_id, verdict)
                    | {"source": line.source}
                    | arrays
                )
            elif len(outcomes) <= MAX_TABLE_ROWS:
                claimed = line.request.claim.model if line.request is not None else None
                add_verdict_row(table, line.source, verdict, claimed or "-")
                causes += [f"{line.source}: {text}" for text in cause_of(verdict)]
            bar.update(task, advance=1, description=f"auditing: {len(outcomes)} exchanges")
    if not as_json:
        _show(table, causes, outcomes)
    raise typer.Exit(exit_code_of_outcomes(outcomes))


def _show(table: Table, causes: list[str], outcomes: list[Outcome]) -> None:
    stdout().print(table)
    for text in causes:
        stdout().print(text, markup=False, highlight=False)
    stdout().print(summary(outcomes))


def cause_of(verdict: Verdict) -> list[str]:
    """Return the likeliest explanation of a FAIL in words; nothing where none was looked for."""
    return [f"{e.statement} ({e.probability:.0%} likely)" for e in verdict.diagnosis[:1]]


def examine_line(line: TrafficLine, examiner: Examiner) -> Examination:
    """Return the examination of a line; a malformed one is INCONCLUSIVE, and the rest goes on."""
    if line.request is None:
        return inconclusive(Reason.INVALID_EXCHANGE, f"{line.source}: {line.error}")
    return examiner(line.request)
