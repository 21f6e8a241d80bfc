"""The entry point: collects the command groups and turns errors into messages and exit codes."""

import sys

import typer
from typer.exceptions import TyperException

from audit.cli import (
    calibrate,
    check,
    demo,
    diagnose,
    keys,
    log,
    policy,
    profiles,
    providers,
    report,
    service,
    sweep,
    tokens,
    upkeep,
    verify,
    witness,
)
from audit.cli.exits import ExitCode, exit_code_of
from audit.cli.lines import stderr
from audit.errors import AuditError

app = typer.Typer(
    name="inference-audit",
    help="Replays what an LLM provider returned and gives a signed verdict on whether it ran "
    "the claimed model.\n\n"
    "Exit codes: 0 all PASS, 1 any FAIL, 2 any INCONCLUSIVE and no FAIL, 64 and above for usage "
    "and environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (
    check,
    diagnose,
    calibrate,
    service,
    providers,
    policy,
    verify,
    log,
    upkeep,
    report,
    tokens,
    sweep,
    keys,
    witness,
    profiles,
    demo,
):
    group.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors are told on stderr, never as a traceback."""
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="inference-audit", standalone_mode=False)
    except AuditError as error:
        _tell(f"{type(error).__name__}: {error}")
        return exit_code_of(error)
    except TyperException as error:
        _tell(f"{error.format_message()} (see --help)".strip())
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        _tell("interrupted")
        return ExitCode.INTERRUPTED
    except SystemExit:
        # typer and rich answer a closed stdout so, as after `| head`; not all verdicts were told
        return ExitCode.OUTPUT_CLOSED
    return int(result or 0)


def _tell(message: str) -> None:
    stderr().print(message, style="red", markup=False, highlight=False, soft_wrap=True)
