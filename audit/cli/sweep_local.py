"""`sweep check|rescore|calibrate`: sweeps without a service."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.cli import log_options, options, sweep_lines
from audit.cli.common import require_files
from audit.cli.lines import print_line
from audit.cli.sweep_as_json import result_line
from audit.codec.sweep_file import load_sweep
from audit.config import (
    DEFAULT_DATABASE,
    DEFAULT_NUM_THREADS,
    ModelSource,
    ReplaySettings,
    SweepSettings,
    parse_model,
)
from audit.errors import ConfigurationError
from audit.sweep_records import SweepResult

if TYPE_CHECKING:
    # loads the detectors' arithmetic, which most commands do without
    from audit.sweeps.bundle import HonestBundle

Models = Annotated[
    list[str],
    typer.Option("--model", metavar="[NAME=]DIR", help="A checkpoint, and the name of claims."),
]
Bundle = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="FILE", help="Made by `sweep calibrate`."),
]
SweepPolicy = Annotated[
    Path | None,
    typer.Option("--sweep-policy", metavar="FILE", help="Default: the bundled one."),
]
Texts = Annotated[
    Path | None,
    typer.Option("--texts", metavar="DIR", help="Ordinary text that probes are cut from."),
]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command()(check)
    group.command()(rescore)
    group.command()(export)
    group.command()(calibrate)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep, TOML.")],
    model: Models,
    bundle: Bundle = None,
    calibration: options.Calibration = None,
    sweep_policy: SweepPolicy = None,
    texts: Texts = None,
    controls: Annotated[
        bool, typer.Option(help="Ask an honest endpoint and a 4-bit copy along, started here.")
    ] = True,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was asked and answered there.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with plots there.")
    ] = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Run a sweep once, now, without a service; nothing is logged.

    Exit code 0: all endpoints consistent, 1: something was found, 2: something could not be told.
    """
    from audit.app.sweeps import open_sweeps, run_once, save_recording, write_report

    spec = load_sweep(file)
    builder = open_sweeps(
        _replay(model, calibration, threads),
        SweepSettings(bundle=bundle, policy=sweep_policy, texts=texts, controls=controls),
    )
    done = run_once(builder, spec)
    if record is not None:
        save_recording(done.recording, record)
    if report is not None:
        write_report([done], builder, spec.name, report)
    _end(done.result, as_json=as_json)


def rescore(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="Written by `sweep check`.")],
    model: Models,
    bundle: Bundle = None,
    calibration: options.Calibration = None,
    sweep_policy: SweepPolicy = None,
    texts: Texts = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Conclude from a recording again, asking nobody: same recording, same bits."""
    from audit.app.sweeps import open_sweeps
    from audit.app.sweeps import rescore as score_again

    require_files([recording])
    builder = open_sweeps(
        _replay(model, calibration, threads),
        SweepSettings(bundle=bundle, policy=sweep_policy, texts=texts),
    )
    _end(score_again(builder, recording), as_json=as_json)


def export(
    run_id: Annotated[str, typer.Argument(help="As printed by `sweep runs`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The recording to write.")],
    database: log_options.Database = DEFAULT_DATABASE,
) -> None:
    """Write what a service's run asked and was answered, from its database, for `rescore`.

    Prompts, answers and the run's seed are in it; keys are not.
    """
    from audit.app.sweeps import export_from_database

    export_from_database(database, run_id, out)
    sweep_lines.tell(str(out))


def calibrate(
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="The claimed checkpoint.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The bundle to write.")],
    endpoints: Annotated[
        Path | None,
        typer.Option(
            "--endpoints",
            metavar="FILE",
            help="A sweep file whose endpoints are known to be honest, one for each variant.",
        ),
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--also-honest", metavar="D", help="A precision that counts as honest, such as float32."
        ),
    ] = None,
    sweep_policy: SweepPolicy = None,
    texts: Texts = None,
    detectors: Annotated[
        list[str] | None,
        typer.Option("--detector", metavar="ID", help="Only this one; may be given again."),
    ] = None,
    effort: Annotated[
        float, typer.Option(min=0.01, max=100.0, help="Ask so many times the usual number.")
    ] = 1.0,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Measure what honest endpoints look like, and write it as a bundle.

    Without --endpoints the variants are answered here, in several batch sizes and precisions. Give
    real endpoints too, where you run some: what other engines do differently is honest as well.
    """
    from audit.app.sweep_calibrate import BundlePlan, make_bundle
    from audit.app.sweeps import open_sweeps
    from audit.sweeps.bundle import save_bundle

    builder = open_sweeps(
        replace(_replay([str(model)], None, threads), models=(ModelSource(folder=model),)),
        SweepSettings(policy=sweep_policy, texts=texts),
    )
    plan = BundlePlan(
        endpoints=() if endpoints is None else load_sweep(endpoints).endpoints,
        precisions=tuple(precisions or ()),
        detectors=tuple(detectors or ()),
        effort=effort,
    )
    bundle = make_bundle(builder, plan, tell=_silent if as_json else sweep_lines.tell)
    save_bundle(bundle, out)
    _tell_bundle(bundle, out, as_json=as_json)


def _tell_bundle(bundle: "HonestBundle", out: Path, *, as_json: bool) -> None:
    if as_json:
        print_line(
            {
                "bundle_id": bundle.bundle_id,
                "variants": list(bundle.variants),
                "detectors": sorted(bundle.sections),
                "disabled": dict(bundle.disabled),
            }
        )
        return
    sweep_lines.tell(f"{out}: {len(bundle.sections)} detectors, {len(bundle.variants)} variants")
    for name, why in bundle.disabled.items():
        sweep_lines.tell(f"{name} is disabled: {why}")


def _silent(text: str) -> None:
    """Say nothing: programs read the last line alone."""


def _replay(models: list[str], calibration: Path | None, threads: int) -> ReplaySettings:
    if not models:
        raise ConfigurationError("name the claimed checkpoint with --model")
    return ReplaySettings(
        models=tuple(parse_model(text) for text in models),
        calibration=calibration,
        num_threads=threads,
    )


def _end(result: SweepResult, *, as_json: bool) -> None:
    if as_json:
        print_line(result_line(result))
    else:
        sweep_lines.print_result(result)
    raise typer.Exit(sweep_lines.exit_code([result.outcome]))
