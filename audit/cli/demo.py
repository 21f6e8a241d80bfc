"""`demo`: the main job on real input.

Service, recorded traffic over gRPC, signed verdicts, offline verification.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from audit.cli import options
from audit.cli.common import progress
from audit.cli.exits import ExitCode
from audit.cli.lines import (
    add_verdict_row,
    claim_text,
    print_line,
    stdout,
    verdict_line,
    verdict_table,
)
from audit.cli.providers import provider_table
from audit.cli.service import await_verdict
from audit.client.client import AuditClient
from audit.client.log_client import LogClient
from audit.codec.traffic import TrafficLine, read_traffic
from audit.codec.wire import AuditView
from audit.codec.wire_provider import ProviderView
from audit.config import ModelSource, ReplaySettings, ServiceSettings
from audit.errors import ConfigurationError
from audit.ledger.verify import verify_bundle
from audit.records import AuditRequest, Outcome, SignedVerdict

MODEL_NAME = "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One file of the bundled traffic, and what was really run for it."""

    path: Path
    label: str
    """What was really run, in a few words."""
    expected: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One exchange of the demo with its signed verdict."""

    recording: Recording
    name: str
    request: AuditRequest
    audit: AuditView
    signed: SignedVerdict


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    examples: Annotated[
        Path, typer.Option(metavar="DIR", help="The bundled model, traffic and calibration.")
    ] = Path("examples"),
    per_file: Annotated[int, typer.Option(min=1, help="Exchanges taken of each recording.")] = 3,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where database and key stay; default: new.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Audit the bundled traffic of real engines, honest and cheating, end to end."""
    from audit.app import background_service

    recordings = list(read_manifest(examples / "traffic"))
    folder = keep or Path(tempfile.mkdtemp(prefix="inference-audit-demo-"))
    replay = ReplaySettings(
        models=(ModelSource(name=MODEL_NAME, folder=examples / "model"),),
        calibration=examples / "calibration" / "example.json",
    )
    service = ServiceSettings(
        listen="127.0.0.1:0",
        database=f"sqlite:///{folder / 'audits.db'}",
        key_path=folder / "verdict-key.pem",
    )
    with background_service(replay, service) as port, AuditClient(f"127.0.0.1:{port}") as client:
        audited = list(_audit_all(client, recordings, per_file))
        found = sorted(client.list_providers(), key=lambda p: -p.finding.log10_e_value)
        with LogClient(f"127.0.0.1:{port}") as log:
            _keep_bundles(log, audited, folder)
    num_verified = _verify_all(audited, folder)
    _write_report(service, audited, folder)
    if as_json:
        for index, item in enumerate(audited):
            line = verdict_line(index, item.audit.request_id, item.signed.verdict)
            print_line(
                line | {"file": item.recording.path.name, "really_run": item.recording.label}
            )
    else:
        _show(audited, num_verified, folder, replay, found)
    raise typer.Exit(ExitCode.PASS)


def read_manifest(folder: Path) -> Iterator[Recording]:
    """Yield the bundled recordings, honest ones first.

    Raises: ConfigurationError where they are missing.
    """
    try:
        entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        recordings = [_recording(folder, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"cannot read {folder / 'manifest.json'}; run the demo from the repository, or pass "
            "--examples"
        ) from error
    for recording in sorted(recordings, key=lambda r: (r.expected is Outcome.FAIL, r.path)):
        if "calibration" not in recording.path.name:
            yield recording


def _recording(folder: Path, entry: dict[str, str]) -> Recording:
    return Recording(
        path=folder / entry["file"],
        label=entry["label"],
        expected=Outcome(entry["expected"]),
    )


def _audit_all(
    client: AuditClient, recordings: list[Recording], per_file: int
) -> Iterator[Audited]:
    with progress() as bar:
        task = bar.add_task("auditing", total=len(recordings) * per_file)
        for recording in recordings:
            lines = list(read_traffic([recording.path]))
            # evenly spread, as a recording runs through its temperatures and filters in order
            picked = lines[:: max(1, len(lines) // per_file)][:per_file]
            # all first, then the verdicts: the queue keeps the worker busy
            submitted = [(line, client.submit(_request(line, recording))) for line in picked]
            for line, audit in submitted:
                name = f"{recording.path.stem}:{line.index + 1}"
                done = await_verdict(client, audit)
                bar.update(task, advance=1, description=f"auditing {name}")
                if done.signed is None:
                    raise ConfigurationError(f"audit {done.audit_id} ended without a verdict")
                yield Audited(
                    recording=recording,
                    name=name,
                    request=_request(line, recording),
                    audit=done,
                    signed=done.signed,
                )


def _request(line: TrafficLine, recording: Recording) -> AuditRequest:
    """Return the exchange of a line, under its recording's name as the provider."""
    if line.request is None:
        raise ConfigurationError("the bundled traffic is damaged; check out the repository anew")
    exchange = line.request.exchange
    provider = replace(exchange.provider, provider=recording.path.stem, endpoint=None)
    return replace(line.request, exchange=replace(exchange, provider=provider))


def _keep_bundles(log: LogClient, audited: list[Audited], folder: Path) -> None:
    """Write what an auditor would keep: each verdict with its place in the log."""
    (folder / "verdicts").mkdir(exist_ok=True)
    (folder / "trust-root.json").write_bytes(log.trust_root())
    for item in audited:
        audit_id = item.audit.audit_id
        (folder / "verdicts" / f"{audit_id}.json").write_bytes(log.evidence(audit_id).bundle)


def _verify_all(audited: list[Audited], folder: Path) -> int:
    """Verify every verdict offline, with nothing but its file and the trust root."""
    trust_root = (folder / "trust-root.json").read_bytes()
    for item in audited:
        verify_bundle(
            (folder / "verdicts" / f"{item.audit.audit_id}.json").read_bytes(), trust_root
        )
    return len(audited)


def _write_report(service: ServiceSettings, audited: list[Audited], folder: Path) -> None:
    """Write the report of the whole demo, one FAILED exchange of it token by token."""
    from audit.app import write_report
    from audit.reports.records import ReportScope

    failed = [a.audit.audit_id for a in audited if a.signed.verdict.outcome is Outcome.FAIL]
    scope = ReportScope(exchanges=tuple(failed[:1]))
    write_report(service, scope, folder / "report", ["html", "csv", "pack"])


def _findings(audited: list[Audited]) -> Iterator[str]:
    """Yield what the table shows, misses included."""
    yield "\nmargin: mean clipped margin in thousandths of a logit; 0 is full agreement"
    passed = next((a for a in audited if a.signed.verdict.outcome is Outcome.PASS), None)
    if passed is not None and passed.signed.verdict.sensitivity is not None:
        yield f"a PASS says what it could not see; {passed.name}:"
        yield f"  {passed.signed.verdict.sensitivity.statement}"
    cheats = [a for a in audited if a.recording.expected is Outcome.FAIL]
    num_accused = sum(a.signed.verdict.outcome is Outcome.FAIL for a in audited if a not in cheats)
    missed = [a.name for a in cheats if a.signed.verdict.outcome is not Outcome.FAIL]
    yield f"{num_accused} of {len(audited) - len(cheats)} honest exchanges were failed"
    yield f"{len(cheats) - len(missed)} of {len(cheats)} cheating ones were found" + (
        f"; not found: {', '.join(missed)}" if missed else ""
    )


def _show(
    audited: list[Audited],
    num_verified: int,
    folder: Path,
    replay: ReplaySettings,
    found: list[ProviderView],
) -> None:
    console = stdout()
    table = verdict_table("claim", "really run")
    for item in audited:
        claim = claim_text(item.request)
        add_verdict_row(table, item.name, item.signed.verdict, claim, item.recording.label)
    console.print(table)
    for text in _findings(audited):
        console.print(text, highlight=False)
    console.print("\neach recording taken for a provider, all of its exchanges together:")
    console.print(provider_table(found))
    console.print(
        f"{num_verified} verdicts verified offline: signature, place in the log, checkpoint, key\n",
        highlight=False,
    )
    sample = folder / "verdicts" / f"{audited[0].audit.audit_id}.json"
    model, calibration = replay.models[0].folder, replay.calibration
    for text in (
        f"database:   {folder / 'audits.db'}",
        f"trust root: {folder / 'trust-root.json'}",
        f"report:     {folder / 'report' / 'report.html'}",
        "next:",
        f"  inference-audit verify {sample} --trust-root {folder / 'trust-root.json'}",
        f"  inference-audit report verify {folder / 'report' / 'evidence-pack.zip'} "
        f"--trust-root {folder / 'trust-root.json'}",
        f"  inference-audit check --model {model} --calibration {calibration} "
        f"--traffic {audited[-1].recording.path}",
        f"  inference-audit serve --model {MODEL_NAME}={model} --calibration {calibration}",
    ):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
