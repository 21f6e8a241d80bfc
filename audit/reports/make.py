"""From a source to a folder of files: collect, render, pack."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from audit.errors import ConfigurationError
from audit.reports.collect import collect
from audit.reports.controls import CONTROL_MAPPING
from audit.reports.formats import PACK_FORMAT as PACK_FORMAT
from audit.reports.formats import SUMMARIES_FORMAT as SUMMARIES_FORMAT
from audit.reports.manifest import MANIFEST_NAME, ReportFile
from audit.reports.pack import write_pack
from audit.reports.pack_layout import PACK_FILE
from audit.reports.records import Report, ReportScope
from audit.reports.render import choose_formats, render_all
from audit.reports.source import EntrySource
from audit.reports.spool import Spool
from audit.reports.summaries import svr_statement, vsa_statement

SVR_FILE = "svr.intoto.json"
VSA_FILE = "vsa.intoto.json"

#: Statement -> its signed envelope.
Sign: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeReport:
    """A report in a folder; the manifest is the last of its files."""

    report: Report
    files: tuple[ReportFile, ...]
    manifest: bytes
    """What goes into the log, by its digest."""
    pack: Path | None
    summaries: tuple[Path, ...]


def make_report(
    source: EntrySource,
    scope: ReportScope,
    folder: Path,
    formats: Sequence[str],
    *,
    version: str,
    sign: Sign | None = None,
    scratch: Path | None = None,
) -> MadeReport:
    """Collect a report and write its files, with the pack and the summaries where asked for.

    Summaries are signed where `sign` is given, else bare statements. `scratch` is the folder for
    temporary files, of some 2 GB for a million verdicts. Raises: ConfigurationError,
    VerificationError, StorageError.
    """
    extra = {PACK_FORMAT, SUMMARIES_FORMAT}
    chosen = choose_formats([name for name in formats if name not in extra])
    with _temporary(scratch) as temporary, Spool(Path(temporary)) as spool:
        report = collect(source, scope, spool, control_mapping=CONTROL_MAPPING)
        files = render_all(report, spool.lines, folder, chosen)
        summaries: tuple[Path, ...] = ()
        if SUMMARIES_FORMAT in formats:
            summaries = _summarise(report, spool, folder, files[-1].digest, version, sign)
        pack = folder / PACK_FILE if PACK_FORMAT in formats else None
        if pack is not None:
            write_pack(source, report, folder, files, pack)
    return MadeReport(
        report=report,
        files=files,
        manifest=(folder / MANIFEST_NAME).read_bytes(),
        pack=pack,
        summaries=summaries,
    )


def _summarise(
    report: Report,
    spool: Spool,
    folder: Path,
    manifest_digest: str,
    version: str,
    sign: Sign | None,
) -> tuple[Path, ...]:
    written = []
    for name, build in ((SVR_FILE, svr_statement), (VSA_FILE, vsa_statement)):
        statement = build(report, spool.lines, manifest_digest=manifest_digest, version=version)
        (folder / name).write_bytes(statement if sign is None else sign(statement))
        written.append(folder / name)
    return tuple(written)


def _temporary(scratch: Path | None) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(dir=scratch, prefix="inference-audit-")
    except OSError as error:
        raise ConfigurationError(
            f"no temporary folder can be made in {scratch} ({error.strerror}): name another one"
        ) from error
