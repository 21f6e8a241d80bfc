"""`serve`, and the commands that talk to a running service: `submit`, `show`, `list`."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from audit.cli import log_options, options
from audit.cli.common import progress, require_files, require_profile, summary
from audit.cli.exits import ExitCode, exit_code_of_outcomes
from audit.cli.lines import (
    Line,
    add_verdict_row,
    print_line,
    stderr,
    stdout,
    verdict_line,
    verdict_table,
)
from audit.client.client import AuditClient
from audit.codec.traffic import TrafficLine, read_traffic
from audit.codec.wire import AuditView
from audit.config import (
    DEFAULT_DATABASE,
    DEFAULT_KEY_PATH,
    DEFAULT_LISTEN,
    DEFAULT_NUM_THREADS,
    ENV_PREFIX,
    ReplaySettings,
    ServiceSettings,
    load_billing_settings,
    load_log_settings,
    load_sweep_settings,
    parse_model,
)
from audit.errors import ConfigurationError, InvalidRequest, RequestConflict
from audit.examine import inconclusive
from audit.records import AuditFilter, AuditState, Outcome, Reason, Verdict


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(submit)
    app.command()(show)
    app.command("list")(list_audits)


def serve(
    model: Annotated[
        list[str],
        typer.Option(metavar="[NAME=]DIR", help="A checkpoint, and the name that claims use."),
    ],
    calibration: options.Calibration = None,
    policy: options.Policy = None,
    diagnose: Annotated[
        bool, typer.Option(help="Explain each FAIL, as far as the policy says so.")
    ] = True,
    siblings: options.Siblings = None,
    database: log_options.Database = DEFAULT_DATABASE,
    key: log_options.Key = DEFAULT_KEY_PATH,
    log_settings: log_options.Settings = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar=f"{ENV_PREFIX}LISTEN")
    ] = DEFAULT_LISTEN,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    billing_settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="How billed requests are checked, TOML."),
    ] = None,
    sweep_settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="How endpoints are swept, TOML; without: not at all."),
    ] = None,
    allow_insecure: Annotated[
        bool, typer.Option(help="Listen beyond loopback without encryption.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Run the audit service until it is interrupted."""
    from audit.app import serve_until_signal

    require_profile(profile)
    replay = ReplaySettings(
        models=tuple(parse_model(text) for text in model),
        calibration=calibration,
        policy=policy,
        diagnose=diagnose,
        siblings=tuple(parse_model(text) for text in siblings or ()),
        profile=profile,
        precision=dtype,
        num_threads=threads,
    )
    service = ServiceSettings(
        listen=listen,
        allow_insecure=allow_insecure,
        database=database,
        key_path=key,
        log=load_log_settings(log_settings),
        billing=load_billing_settings(billing_settings),
        sweeps=load_sweep_settings(sweep_settings),
    )

    announce = partial(_announce, service, is_calibrated=calibration is not None, as_json=as_json)
    asyncio.run(serve_until_signal(replay, service, announce))


def _announce(service: ServiceSettings, port: int, *, is_calibrated: bool, as_json: bool) -> None:
    host, public_key = service.listen.rpartition(":")[0], f"{service.key_path}.pub"
    if as_json:
        print_line(
            {"address": f"{host}:{port}", "database": service.database, "public_key": public_key}
        )
        return
    stderr().print(
        f"serving on {host}:{port}; database {service.database}; public key {public_key}",
        highlight=False,
    )
    if not is_calibrated:
        stderr().print("no --calibration: every verdict will be INCONCLUSIVE(uncalibrated)")


def submit(
    traffic: options.Traffic,
    more_traffic: options.MoreTraffic = None,
    address: options.Address = DEFAULT_LISTEN,
    wait: Annotated[bool, typer.Option(help="Wait for the verdicts.")] = True,
    as_json: options.AsJson = False,
) -> None:
    """Submit recorded traffic to the service and show its verdicts."""
    files = [*traffic, *(more_traffic or ())]
    require_files(files)
    outcomes: list[Outcome] = []
    table = verdict_table("audit")
    with AuditClient(address) as client, progress() as bar:
        task = bar.add_task("submitting", total=None)
        accepted = []
        for line in read_traffic(files):
            accepted.append((line.index, line.source, _submit_line(client, line)))
            bar.update(task, description=f"submitting: {len(accepted)} exchanges")
        for number, (index, source, answer) in enumerate(accepted, start=1):
            if wait and isinstance(answer, AuditView):
                answer = await_verdict(client, answer)
            verdict = _verdict_of(answer)
            if verdict is not None:
                outcomes.append(verdict.outcome)
            if as_json:
                print_line(_answer_line(index, source, answer))
            elif verdict is not None:
                audit_id = answer.audit_id if isinstance(answer, AuditView) else "refused"
                add_verdict_row(table, source, verdict, audit_id)
            bar.update(task, description=f"waiting: {number} of {len(accepted)} verdicts")
    if not as_json:
        if outcomes:
            stdout().print(table)
        stdout().print(summary(outcomes) if wait else f"{len(accepted)} exchanges submitted")
    raise typer.Exit(exit_code_of_outcomes(outcomes))


def show(
    audit_id: Annotated[str, typer.Argument(help="As printed by `submit` or `list`.")],
    address: options.Address = DEFAULT_LISTEN,
    envelope: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the signed verdict there.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one audit, and save its signed verdict."""
    with AuditClient(address) as client:
        audit = client.get(audit_id)
    if envelope is not None:
        if audit.signed is None:
            raise ConfigurationError(
                f"audit {audit_id} is {audit.state.value}: no verdict to save yet"
            )
        envelope.write_bytes(audit.signed.envelope)
    if as_json:
        print_line(_answer_line(0, audit.request_id, audit))
        return
    console = stdout()
    console.print(f"audit {audit.audit_id}, {audit.state.value}", highlight=False)
    if audit.signed is not None:
        verdict = audit.signed.verdict
        table = verdict_table()
        add_verdict_row(table, audit.request_id, verdict)
        console.print(table)
        sensitivity = (verdict.sensitivity.statement,) if verdict.sensitivity is not None else ()
        for text in (*verdict.details, *sensitivity, *verdict.notes):
            console.print(f"- {text}", markup=False, highlight=False)


def list_audits(
    address: options.Address = DEFAULT_LISTEN,
    outcome: Annotated[Outcome | None, typer.Option(case_sensitive=False)] = None,
    state: Annotated[AuditState | None, typer.Option(case_sensitive=False)] = None,
    model: Annotated[str | None, typer.Option(help="The claimed model's name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: options.AsJson = False,
) -> None:
    """List audits, newest first."""
    table = verdict_table("state", "claimed model")
    with AuditClient(address) as client:
        where = AuditFilter(outcome=outcome, state=state, model=model)
        for index, audit in enumerate(client.list(where)):
            if index >= limit:
                break
            if as_json:
                print_line(_answer_line(index, audit.request_id, audit))
            elif audit.signed is not None:
                add_verdict_row(
                    table,
                    audit.audit_id,
                    audit.signed.verdict,
                    audit.state,
                    audit.claim.model or "-",
                )
            else:
                table.add_row(
                    audit.audit_id, audit.state, audit.claim.model or "-", "-", "-", "-", "-"
                )
    if not as_json:
        stdout().print(table)
    raise typer.Exit(ExitCode.PASS)


def await_verdict(client: AuditClient, audit: AuditView) -> AuditView:
    """Return the audit once it is DONE."""
    for latest in client.watch(audit.audit_id) if audit.state is not AuditState.DONE else ():
        audit = latest
    return audit


def _submit_line(client: AuditClient, line: TrafficLine) -> AuditView | Verdict:
    """Return the accepted audit, or why the line was refused."""
    error: InvalidRequest | RequestConflict | None = line.error
    if line.request is not None:
        try:
            return client.submit(line.request)
        except (InvalidRequest, RequestConflict) as refused:
            error = refused
    return inconclusive(Reason.INVALID_EXCHANGE, f"{line.source}: {error}").verdict


def _verdict_of(answer: AuditView | Verdict) -> Verdict | None:
    if isinstance(answer, Verdict):
        return answer
    return answer.signed.verdict if answer.signed is not None else None


def _answer_line(index: int, source: str, answer: AuditView | Verdict) -> Line:
    if isinstance(answer, Verdict):
        return verdict_line(index, "", answer) | {"source": source, "audit_id": None}
    verdict = _verdict_of(answer)
    line: Line = {"index": index, "request_id": answer.request_id, "verdict": None}
    if verdict is not None:
        line = verdict_line(index, answer.request_id, verdict)
    return line | {
        "source": source,
        "audit_id": answer.audit_id,
        "state": answer.state.value,
        "claimed_model": answer.claim.model,
        "submitted_at": answer.submitted_at,
        "finished_at": answer.finished_at,
        "key_id": answer.signed.key_id if answer.signed is not None else None,
    }
