"""`profiles`: which sampler profiles exist, and which one applies to an engine."""

from typing import Annotated

import typer
from rich.table import Table

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line, stdout
from reference_runner.errors import UnsupportedProfile
from reference_runner.samplers.choose import choose_profiles
from reference_runner.samplers.registry import PROFILES, get_profile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(profiles)


def profiles(
    engine: Annotated[str | None, typer.Option(help="As in meta.engine, such as vllm.")] = None,
    version: Annotated[str | None, typer.Option(help="As in meta.engine_version.")] = None,
    device: Annotated[str | None, typer.Option(help="As in meta.device, such as cpu.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="The response's fingerprint.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List sampler profiles and their self-test, or explain which one applies to an engine."""
    if engine is not None or fingerprint is not None:
        _explain(engine, version, device, fingerprint, as_json=as_json)
        return
    table = Table(
        "profile", "how it draws", "engines", "self-test", show_edge=False, pad_edge=False
    )
    for profile in PROFILES.values():
        state = _self_test(profile.id)
        if as_json:
            print_line(
                {
                    "profile": profile.id,
                    "summary": profile.summary,
                    "engines": profile.engines,
                    "self_test": state,
                }
            )
        table.add_row(profile.id, profile.summary, profile.engines, state)
    if not as_json:
        stdout().print(table)


def _explain(
    engine: str | None,
    version: str | None,
    device: str | None,
    fingerprint: str | None,
    *,
    as_json: bool,
) -> None:
    choice = choose_profiles(
        engine=engine, version=version, device=device, system_fingerprint=fingerprint
    )
    if as_json:
        print_line({"profiles": list(choice.profile_ids), "explanation": choice.explanation})
    else:
        stdout().print(choice.explanation, highlight=False)
    raise typer.Exit(ExitCode.PASS if choice.profile_ids else ExitCode.INCONCLUSIVE)


def _self_test(profile_id: str) -> str:
    try:
        get_profile(profile_id)
    except UnsupportedProfile as error:
        return f"failed: {error}"
    return "passed"
