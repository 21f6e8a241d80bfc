"""What several commands do alike: check their arguments, show progress, sum up."""

from pathlib import Path

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from audit.cli.lines import stderr
from audit.errors import ConfigurationError
from audit.records import Outcome
from reference_runner.samplers.registry import PROFILES

#: A table longer than this tells a person less than the summary below it.
MAX_TABLE_ROWS = 200


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
