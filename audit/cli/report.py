"""`report`: what the verdict log says about a window, for people, spreadsheets and auditors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from audit.cli import log_options, options
from audit.cli.exits import ExitCode
from audit.cli.lines import Line, print_line, stdout
from audit.config import (
    DEFAULT_DATABASE,
    DEFAULT_KEY_PATH,
    ServiceSettings,
    load_log_settings,
)
from audit.errors import ConfigurationError
from audit.reports.formats import FORMATS, PACK_FORMAT, SUMMARIES_FORMAT
from audit.reports.manifest import ReportFile
from audit.reports.rebuild import rebuild as rebuild_pack
from audit.reports.rebuild import verify_pack
from audit.reports.records import Report, ReportScope

_DEFAULT_FORMATS = "html,csv,pack"

TrustRootFile = Annotated[
    Path, typer.Option("--trust-root", metavar="FILE", help="Keys and witnesses to rely on.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Report on the verdict log, and check such reports.")
    group.command("make")(make)
    group.command("rebuild")(rebuild)
    group.command("verify")(verify)
    app.add_typer(group, name="report")


def make(
    out: Out,
    database: log_options.Database = DEFAULT_DATABASE,
    key: log_options.Key = DEFAULT_KEY_PATH,
    log_settings: log_options.Settings = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="F,...",
            help=f"Of {', '.join((*FORMATS, SUMMARIES_FORMAT, PACK_FORMAT))}.",
        ),
    ] = _DEFAULT_FORMATS,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's entries.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider, as claimed.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model, as claimed.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    first_index: Annotated[int, typer.Option(min=0, help="First log index to read.")] = 0,
    end_index: Annotated[int | None, typer.Option(min=0, help="First one not to read.")] = None,
    exchange: Annotated[
        list[str] | None,
        typer.Option(metavar="AUDIT", help="Show this audit by token; may be given again."),
    ] = None,
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="Up to the last checkpoint with a quorum.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Collect a report, write its files and log it; times are such as 2026-01-31T00:00:00Z.

    Exit code 0 says that the report was made, whatever it says; read it.
    """
    from audit.app import write_report

    scope = ReportScope(
        tenant=tenant,
        provider=provider,
        model=model,
        since=since,
        until=until,
        first_index=first_index,
        end_index=end_index,
        exchanges=tuple(exchange or ()),
    )
    settings = ServiceSettings(database=database, key_path=key, log=load_log_settings(log_settings))
    names = [name.strip() for name in formats.split(",")]
    made, receipt = write_report(settings, scope, out, names, is_witnessed=witnessed)
    others = [path.name for path in (*made.summaries, *([made.pack] if made.pack else []))]
    if as_json:
        line = _line(made.report, made.files)
        print_line(line | {"others": others, "logged_at_index": receipt.log_index})
        return
    _print_summary(made.report, made.files, out)
    for name in others:
        stdout().print(f"  {name}", highlight=False, markup=False)
    stdout().print(f"the report is entry {receipt.log_index} of the log", highlight=False)


def rebuild(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="An evidence pack.")],
    out: Out,
    as_json: options.AsJson = False,
) -> None:
    """Make a report again from its evidence pack alone; exit 0 if every byte is the same, else 1.

    It relies on the pack's own trust root: `report verify` relies on yours.
    """
    rebuilt = rebuild_pack(pack, out)
    if as_json:
        print_line(_line(rebuilt.report, rebuilt.files) | {"differing": list(rebuilt.differing)})
    else:
        _print_summary(rebuilt.report, rebuilt.files, out)
        for name in rebuilt.differing:
            stdout().print(f"{name}: not the same bytes as in the pack", markup=False)
    raise typer.Exit(ExitCode.FAIL if rebuilt.differing else ExitCode.PASS)


def verify(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="An evidence pack.")],
    trust_root: TrustRootFile,
    as_json: options.AsJson = False,
) -> None:
    """Check an evidence pack offline, from the checkpoint to the last byte; exit 0 or 1."""
    verified = verify_pack(pack, _read(trust_root))
    if as_json:
        print_line(
            _line(verified.report, verified.files)
            | {
                "verified": True,
                "not_rebuilt": list(verified.not_rebuilt),
                "is_own_trust_root": verified.is_own_trust_root,
            }
        )
        return
    totals = verified.report.totals
    stdout().print(
        f"{pack}: {totals.num_entries} entries with {totals.num_verdicts} verdicts verify up to "
        f"the checkpoint of {verified.report.log.last.size}, and the report is what they give",
        highlight=False,
        markup=False,
    )
    if verified.report.discounted.total:
        stdout().print(
            f"  {verified.report.discounted.total} of the entries do not count, since their key "
            "does not count there: the report lists them and rests on none of them",
            highlight=False,
            markup=False,
        )
    for name in verified.not_rebuilt:
        stdout().print(
            f"  {name}: only its digest was checked, since it cannot be made here", markup=False
        )
    if not verified.report.is_complete:
        stdout().print("  the report itself lists something as missing: read it", markup=False)


def _print_summary(report: Report, files: Sequence[ReportFile], out: Path) -> None:
    totals = report.totals
    lines = [
        f"{totals.num_verdicts} verdicts: {totals.num_passed} PASSED, {totals.num_failed} FAILED, "
        f"{totals.num_inconclusive} INCONCLUSIVE",
        f"{report.missing.total} MISSING, {report.gone.total} contents gone, "
        f"{report.erased.total} erased, {report.damaged.total} damaged, "
        f"{report.discounted.total} discounted, {report.gaps.total} gaps",
        f"in {out}:",
        *(f"  {file.name}  {file.digest}" for file in files),
    ]
    for line in lines:
        stdout().print(line, highlight=False, markup=False, soft_wrap=True)


def _line(report: Report, files: Sequence[ReportFile]) -> Line:
    totals = report.totals
    return {
        "report_id": report.report_id,
        "origin": report.log.origin,
        "size": report.log.last.size,
        "num_verdicts": totals.num_verdicts,
        "num_passed": totals.num_passed,
        "num_failed": totals.num_failed,
        "num_inconclusive": totals.num_inconclusive,
        "num_missing": report.missing.total,
        "num_gone": report.gone.total,
        "num_erased": report.erased.total,
        "num_damaged": report.damaged.total,
        "num_discounted": report.discounted.total,
        "num_discounted_verdicts": totals.num_discounted_verdicts,
        "num_gaps": report.gaps.total,
        "is_complete": report.is_complete,
        "files": {file.name: file.digest for file in files},
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
