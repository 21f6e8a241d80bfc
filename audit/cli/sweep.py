"""`sweep`: a standing watch over endpoints that claim a model, kept by the service."""

import secrets
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from audit.cli import options, sweep_demo, sweep_lines, sweep_local
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line
from audit.cli.sweep_as_json import sweep_line
from audit.client.sweep_client import SweepClient
from audit.codec.sweep_file import load_sweep
from audit.codec.wire_sweep import SweepRunView
from audit.config import DEFAULT_LISTEN
from audit.errors import ConfigurationError
from audit.sweep_records import SlotState, Sweep

SweepId = Annotated[str, typer.Argument(help="As printed by `sweep create` or `sweep list`.")]
RunId = Annotated[str, typer.Argument(help="As printed by `sweep runs`.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A sweep, TOML.")]

_OVER = (SlotState.DONE, SlotState.NOT_PERFORMED)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Watch endpoints that claim a model.")
    for command in (create, show, pause, resume, delete, run, runs, result, report, watch):
        group.command()(command)
    group.command("list")(list_sweeps)
    sweep_local.register(group)
    sweep_demo.register(group)
    app.add_typer(group, name="sweep")


def create(
    file: File,
    address: options.Address = DEFAULT_LISTEN,
    request_id: Annotated[
        str | None, typer.Option(help="Sent again, it makes no second sweep; default: a new one.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Have the service keep a sweep and follow its schedule."""
    spec = load_sweep(file)
    with SweepClient(address) as client:
        sweep = client.create(spec, request_id=request_id or f"cli-{secrets.token_hex(16)}")
    _tell(sweep, "kept", as_json=as_json)


def list_sweeps(
    with_deleted: Annotated[bool, typer.Option(help="Those that were deleted, too.")] = False,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """List sweeps, newest first."""
    with SweepClient(address) as client:
        sweep_lines.print_sweeps(list(client.list(with_deleted=with_deleted)), as_json=as_json)


def show(
    sweep_id: SweepId,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """Show one sweep."""
    with SweepClient(address) as client:
        sweep_lines.print_sweeps([client.get(sweep_id)], as_json=as_json)


def pause(
    sweep_id: SweepId, address: options.Address = DEFAULT_LISTEN, as_json: options.AsJson = False
) -> None:
    """Stop following a sweep's schedule; a run that is going on ends."""
    with SweepClient(address) as client:
        _tell(client.pause(sweep_id), "paused", as_json=as_json)


def resume(
    sweep_id: SweepId, address: options.Address = DEFAULT_LISTEN, as_json: options.AsJson = False
) -> None:
    """Follow a sweep's schedule again, from now on."""
    with SweepClient(address) as client:
        _tell(client.resume(sweep_id), "resumed", as_json=as_json)


def delete(
    sweep_id: SweepId, address: options.Address = DEFAULT_LISTEN, as_json: options.AsJson = False
) -> None:
    """End a sweep for good; what it found stays in the log."""
    with SweepClient(address) as client:
        _tell(client.delete(sweep_id), "deleted", as_json=as_json)


def run(
    sweep_id: SweepId,
    wait: Annotated[bool, typer.Option(help="Wait for the result.")] = True,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """Have a sweep run now; exit code 0 consistent, 1 something found, 2 nothing could be told."""
    with SweepClient(address) as client:
        view = client.run_now(sweep_id, request_id=f"cli-{secrets.token_hex(16)}")
        if wait and view.slot.state not in _OVER:
            view = _awaited(client, sweep_id, view.slot.run_id)
    _end(view, as_json=as_json)


def runs(
    sweep_id: SweepId,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """List a sweep's runs, newest first."""
    with SweepClient(address) as client:
        found = list(islice(client.list_runs(sweep_id), limit))
    sweep_lines.print_runs(found, as_json=as_json)


def result(
    run_id: RunId,
    envelope: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the signed result there.")
    ] = None,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """Show what a run concluded, and save its signed result."""
    with SweepClient(address) as client:
        view = client.get_run(run_id)
    if envelope is not None:
        if view.envelope is None:
            raise ConfigurationError(
                f"run {run_id} is {view.slot.state.value}: no signed result to save yet"
            )
        envelope.write_bytes(view.envelope)
    _end(view, as_json=as_json)


def report(
    sweep_id: SweepId,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page goes.")],
    limit: Annotated[int, typer.Option(min=1, help="The latest runs, at most so many.")] = 100,
    sweep_policy: sweep_local.SweepPolicy = None,
    address: options.Address = DEFAULT_LISTEN,
) -> None:
    """Write a page about a sweep: its newest run, its history, plots of the evidence."""
    from audit.app.sweeps import write_page_of

    with SweepClient(address) as client:
        name = client.get(sweep_id).spec.name
        latest = [
            v.slot.run_id for _, v in zip(range(limit), client.list_runs(sweep_id), strict=False)
        ]
        results = [found for run_id in latest if (found := client.get_run(run_id).result)]
    sweep_lines.tell(str(write_page_of(results, sweep_policy, name, out)))


def watch(
    sweep_id: SweepId,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """Tell of each run as it starts and ends, until interrupted."""
    with SweepClient(address) as client:
        for view in client.watch(sweep_id):
            sweep_lines.print_run(view, as_json=as_json)


def _awaited(client: SweepClient, sweep_id: str, run_id: str) -> SweepRunView:
    for view in client.watch(sweep_id):
        if view.slot.run_id == run_id and view.slot.state in _OVER:
            break
    return client.get_run(run_id)


def _end(view: SweepRunView, *, as_json: bool) -> None:
    sweep_lines.print_run(view, as_json=as_json)
    if view.result is None:
        raise typer.Exit(ExitCode.INCONCLUSIVE)
    raise typer.Exit(sweep_lines.exit_code([view.result.outcome]))


def _tell(sweep: Sweep, done: str, *, as_json: bool) -> None:
    if as_json:
        print_line(sweep_line(sweep))
    else:
        sweep_lines.tell(f"{sweep.spec.name}: {done}; its id is {sweep.sweep_id}")
