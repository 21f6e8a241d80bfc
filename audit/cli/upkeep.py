"""`upkeep`: what an operator does to a verdict log on the machine that keeps it."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line, stdout
from audit.cli.log_options import choose_log
from audit.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Check a verdict log, adopt it after a loss, erase content.", no_args_is_help=True
    )
    group.callback()(choose_log)
    group.command()(fsck)
    group.command()(adopt)
    group.command()(erase)
    app.add_typer(group, name="upkeep")


def fsck(context: typer.Context, as_json: options.AsJson = False) -> None:
    """Derive tree, tiles and chains anew from the entries; exit 1 where anything contradicts."""
    from audit.app.upkeep import check

    found = check(context.obj)
    if as_json:
        print_line(
            {
                "num_entries": found.size,
                "num_checkpoints": found.num_checkpoints,
                "num_erased": found.num_erased,
                "problems": list(found.problems),
            }
        )
    else:
        for problem in found.problems:
            stdout().print(problem, markup=False, highlight=False)
        stdout().print(
            f"{found.size} entries, {found.num_checkpoints} checkpoints, "
            f"{found.num_erased} contents erased: {len(found.problems)} problems",
            highlight=False,
        )
    raise typer.Exit(ExitCode.FAIL if found.problems else ExitCode.PASS)


def adopt(context: typer.Context) -> None:
    """Write a lost anchor anew; only for a database that is known to be the newest."""
    from audit.app.upkeep import adopt as adopt_log

    size = adopt_log(context.obj)
    stdout().print(f"the anchor names {size} entries now", highlight=False)


def erase(
    context: typer.Context,
    before: Annotated[
        str, typer.Option(metavar="TIME", help="RFC 3339, such as 2026-01-31T00:00:00Z.")
    ],
    tenant: Annotated[str, typer.Option(help="Whose content.")] = "default",
    as_json: options.AsJson = False,
) -> None:
    """Erase prompts, answers, verdicts and intents of finished audits; leaves and proofs stay."""
    from audit.app.upkeep import erase as erase_content

    done = erase_content(context.obj, tenant=tenant, before=_utc(before))
    index = None if done.receipt is None else done.receipt.log_index
    if as_json:
        print_line({"num_entries": done.num_entries, "log_index": index})
    elif index is None:
        stdout().print("nothing of this tenant is that old", highlight=False)
    else:
        stdout().print(
            f"{done.num_entries} entries' contents are erased; entry {index} says so",
            highlight=False,
        )


def _utc(text: str) -> str:
    """Return a time in the form that the log records times in. Raises: ConfigurationError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--before {text!r} is no RFC 3339 time: write it as 2026-01-31T00:00:00Z"
        ) from error
    if time.utcoffset() != timedelta(0):
        raise ConfigurationError(f"--before {text!r} must be in UTC: end it with Z")
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
