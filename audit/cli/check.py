"""`check`: audit recorded traffic here and now, without a server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from audit.cli import options
from audit.cli.exits import exit_code_of_outcomes
from audit.cli.lines import (
    add_verdict_row,
    print_line,
    stderr,
    stdout,
    token_arrays,
    verdict_line,
    verdict_table,
)
from audit.codec.traffic import TrafficLine, read_traffic
from audit.config import DEFAULT_NUM_THREADS, ReplaySettings, parse_model
from audit.errors import ConfigurationError
from audit.examine import Examiner, inconclusive
from audit.records import Examination, Outcome, Reason
from reference_runner.samplers.registry import PROFILES

#: A table longer than this tells a person less than the summary below it.
MAX_TABLE_ROWS = 200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    model: options.Model,
    traffic: options.Traffic,
    calibration: options.Calibration = None,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Add the per-token arrays.")] = False,
) -> None:
    """Audit recorded traffic against a local checkpoint."""
    from audit.app import build_examiner

    require_profile(profile)
    require_files(traffic)
    settings = ReplaySettings(
        models=(parse_model(str(model)),),
        calibration=calibration,
        profile=profile,
        precision=dtype,
        num_threads=threads,
    )
    examiner = build_examiner(settings)
    outcomes: list[Outcome] = []
    table = verdict_table("claimed model")
    with progress() as bar:
        task = bar.add_task("auditing", total=None)
        for line in read_traffic(traffic):
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
            bar.update(task, advance=1, description=f"auditing: {len(outcomes)} exchanges")
    if not as_json:
        stdout().print(table)
        stdout().print(summary(outcomes))
    raise typer.Exit(exit_code_of_outcomes(outcomes))


def examine_line(line: TrafficLine, examiner: Examiner) -> Examination:
    """Return the examination of a line; a malformed one is INCONCLUSIVE, and the rest goes on."""
    if line.request is None:
        return inconclusive(Reason.INVALID_EXCHANGE, f"{line.source}: {line.error}")
    return examiner(line.request)


def summary(outcomes: list[Outcome]) -> str:
    """Return the counts of all outcomes in a line."""
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome.value}" for outcome in Outcome)
    more = len(outcomes) - MAX_TABLE_ROWS
    return f"{len(outcomes)} exchanges: {counts}" + (
        f" ({more} not listed above; --json lists all)" if more > 0 else ""
    )


def progress() -> Progress:
    """Return a progress bar on stderr, which shows only where a person looks."""
    console = stderr()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def require_profile(profile: str | None) -> None:
    """Pass a known profile or none. Raises: ConfigurationError."""
    if profile is not None and profile not in PROFILES:
        raise ConfigurationError(
            f"no sampler profile is called {profile!r}; known are: {', '.join(sorted(PROFILES))}"
        )


def require_files(paths: list[Path]) -> None:
    """Pass where every file exists. Raises: ConfigurationError before any slow work."""
    for path in paths:
        if not path.is_file():
            raise ConfigurationError(f"there is no traffic file {path}")
