"""`sweep demo`: honest and cheating endpoints on loopback, swept, told and drawn."""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from audit.cli import options, sweep_lines
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line
from audit.cli.sweep_as_json import result_line
from audit.codec.sweep_json import result_to_json
from audit.config import DEFAULT_NUM_THREADS, ModelSource, ReplaySettings, SweepSettings
from audit.errors import ConfigurationError
from audit.records import Claim
from audit.sweep_records import Budget, EndpointFinding, EndpointRole, SweepOutcome, SweepSpec

MODEL_NAME = "example"

_FOUND = (
    SweepOutcome.INCONSISTENT,
    SweepOutcome.POLICY_DIFFERENT,
    SweepOutcome.MISCONFIGURED,
)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command()(demo)


def demo(
    examples: Annotated[
        Path, typer.Option(metavar="DIR", help="The bundled model, calibration and bundle.")
    ] = Path("examples"),
    endpoints: Annotated[
        list[str] | None,
        typer.Option("--endpoint", metavar="NAME", help="Which; may be given again."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where page and recording go; default: new.")
    ] = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Sweep an honest and several cheating endpoints that are started on loopback."""
    from audit.app.sweep_demo import DETECTORS, SHOWN, serving
    from audit.app.sweeps import open_sweeps, rescore, run_once, save_recording, write_report

    bundle = examples / "calibration" / "sweeps.json"
    if not bundle.exists():
        raise ConfigurationError(
            f"{bundle} is missing; run this in a checkout of the repository, or name its examples "
            "with --examples"
        )
    folder = keep or Path(tempfile.mkdtemp(prefix="inference-audit-sweep-"))
    builder = open_sweeps(
        ReplaySettings(
            models=(ModelSource(name=MODEL_NAME, folder=examples / "model"),),
            calibration=examples / "calibration" / "example.json",
            num_threads=threads,
        ),
        SweepSettings(bundle=bundle),
    )
    started = time.monotonic()
    with serving(builder, endpoints or SHOWN, model=MODEL_NAME) as served:
        spec = SweepSpec(
            name="demonstration",
            endpoints=served,
            claim=Claim(model=MODEL_NAME, precision="bfloat16"),
            budget=Budget(max_requests=2000, max_tokens=2_000_000),
            detectors=DETECTORS,
        )
        done = run_once(builder, spec)
    recording = folder / "recording.jsonl.gz"
    save_recording(done.recording, recording)
    write_report([done], builder, spec.name, folder / "report")
    again = rescore(builder, recording)
    if result_to_json(again) != result_to_json(done.result):
        raise ConfigurationError(f"scoring {recording} again gave another result; please report it")
    if as_json:
        print_line(result_line(done.result))
        raise typer.Exit(ExitCode.PASS)
    sweep_lines.print_result(done.result)
    for text in _findings(done.result.findings):
        sweep_lines.tell(text)
    sweep_lines.tell(
        f"{time.monotonic() - started:.0f} s; the recording gives the same result again"
    )
    sweep_lines.tell(f"recording: {recording}")
    sweep_lines.tell(f"page:      {folder / 'report' / 'sweep.html'}")


def _findings(findings: tuple[EndpointFinding, ...]) -> list[str]:
    targets = [finding for finding in findings if finding.role is EndpointRole.TARGET]
    honest = [f for f in targets if f.endpoint.startswith("honest")]
    cheats = [f for f in targets if f not in honest]
    accused = sum(f.outcome in _FOUND for f in honest)
    missed = [f.endpoint for f in cheats if f.outcome not in _FOUND]
    told = f"; not found: {', '.join(missed)}" if missed else ""
    return [
        f"{accused} of {len(honest)} honest endpoints were accused",
        f"{len(cheats) - len(missed)} of {len(cheats)} others were found{told}",
    ]
