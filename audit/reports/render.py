"""Renders a collected report into the files of a folder.

Each format is one function of report and lines; what they write depends on nothing else, so the
same log and scope give the same bytes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from audit.errors import ConfigurationError
from audit.reports.formats import FORMATS, PACK_FORMAT, SUMMARIES_FORMAT, Format
from audit.reports.manifest import MANIFEST_NAME, MANIFEST_TYPE, ReportFile, manifest
from audit.reports.records import Lines, Report

_BLOCK_BYTES = 1_048_576


def choose_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Return known formats, each once and in a fixed order. Raises: ConfigurationError."""
    unknown = sorted(set(names) - set(FORMATS))
    if unknown:
        known = (*FORMATS, SUMMARIES_FORMAT, PACK_FORMAT)
        raise ConfigurationError(
            f"there is no report format {unknown[0]!r}: choose from {', '.join(known)}"
        )
    chosen = set(names)
    if chosen & {"csv", "parquet"}:
        # a table is of little use to those who cannot look its columns up
        chosen.add("columns")
    return tuple(name for name in FORMATS if name in chosen)


def render_all(
    report: Report,
    lines: Lines,
    folder: Path,
    formats: Sequence[str],
    *,
    given: Sequence[ReportFile] = (),
) -> tuple[ReportFile, ...]:
    """Write the files of some formats, and last the manifest, into a folder.

    Files that are `given` are named in the manifest without being rendered.
    Raises: ConfigurationError for an unknown format or a file that cannot be written.
    """
    known = {file.format for file in given}
    chosen = [name for name in choose_formats(formats) if name not in known]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rendered = [_render(report, lines, folder, name, FORMATS[name]) for name in chosen]
        files = (*rendered, *given)
        content = manifest(report, files)
        (folder / MANIFEST_NAME).write_bytes(content)
    except OSError as error:
        raise ConfigurationError(
            f"the report cannot be written to {error.filename or folder} ({error.strerror}): name "
            "a folder that this user can write, with room for it"
        ) from error
    return (
        *files,
        ReportFile(
            name=MANIFEST_NAME,
            format="manifest",
            media_type=MANIFEST_TYPE,
            size_bytes=len(content),
            digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        ),
    )


def _render(report: Report, lines: Lines, folder: Path, name: str, form: Format) -> ReportFile:
    path = folder / form.file_name
    with path.open("wb") as out:
        form.render(report, lines, out)
    with path.open("rb") as written:
        return ReportFile(
            name=form.file_name,
            format=name,
            media_type=form.media_type,
            size_bytes=path.stat().st_size,
            digest=digest_of(written),
        )


def digest_of(file: IO[bytes]) -> str:
    """Return `sha256:<hex>` of what is left to read of a file."""
    found = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        found.update(block)
    return f"sha256:{found.hexdigest()}"
