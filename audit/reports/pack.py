"""Writes an evidence pack: all that a sceptic needs to check a report, in one zip file.

Entries are streamed from the source a second time. The same log, scope and report give the same
bytes under the same version of zlib.
"""

import base64
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import rfc8785

from audit.errors import ConfigurationError, StorageError
from audit.ledger.tiles import tile_path
from audit.reports import pack_layout as layout
from audit.reports.manifest import Json, ReportFile, to_json
from audit.reports.records import REPORT_FORM, Report
from audit.reports.source import EntrySource, SourceEntry
from audit.reports.tree_check import tile_width

_BLOCK_BYTES = 1_048_576


def write_pack(
    source: EntrySource,
    report: Report,
    folder: Path,
    files: Sequence[ReportFile],
    out: Path,
) -> None:
    """Write the pack of a report whose rendered files lie in a folder.

    Raises: StorageError where content was erased since the report was collected;
    ConfigurationError where the file cannot be written.
    """
    temporary = out.with_name(f".{out.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", allowZip64=True) as pack:
            _write_head(pack, source, report, files)
            _write_tiles(pack, source, report)
            _write_entries(pack, source, report)
            for exchange in report.exchanges:
                if exchange.tokens is not None and exchange.line is not None:
                    name = layout.artifact_name(str(exchange.line.tokens_digest))
                    _write_once(pack, name, exchange.tokens)
            for file in sorted(files, key=lambda file: file.name):
                _copy(pack, f"{layout.REPORT}{file.name}", folder / file.name)
        temporary.replace(out)
    except OSError as error:
        raise ConfigurationError(
            f"the evidence pack {out} cannot be written ({error.strerror or error}): name a folder "
            "that this user can write, with room for it"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_head(
    pack: zipfile.ZipFile, source: EntrySource, report: Report, files: Sequence[ReportFile]
) -> None:
    log = report.log
    first = source.first_checkpoint(report.scope.first_index)
    described = {
        "mediaType": layout.PACK_TYPE,
        "form": REPORT_FORM,
        "reportId": report.report_id,
        "scope": to_json(report.scope),
        "formats": sorted(file.format for file in files if file.format != "manifest"),
        "entriesPerChunk": layout.ENTRIES_PER_CHUNK,
        # what the log states and nobody signed; it counts only where an empty report has no time
        "statedIssueTimes": {"first": first.issued_at, "last": source.checkpoint.issued_at},
        "artifactTypes": {
            exchange.line.tokens_digest: exchange.media_type
            for exchange in report.exchanges
            if exchange.line is not None and exchange.line.tokens_digest and exchange.media_type
        },
        **({} if report.control_mapping is None else {"controlMapping": report.control_mapping}),
    }
    _write(pack, layout.README, layout.README_TEXT.encode("ascii"))
    _write(pack, layout.PACK, rfc8785.dumps(described))
    _write(pack, layout.TRUST_ROOT, source.trust_root)
    _write(pack, layout.FIRST, log.first.note.encode("utf-8"))
    _write(pack, layout.LAST, log.last.note.encode("utf-8"))
    _write(pack, layout.CONSISTENCY, layout.proof_text(log.consistency))
    for name, content in layout.seen_members(log).items():
        _write(pack, name, content)
    stamps: Json = [
        {
            "authority": stamp.authority,
            "obtainedAt": stamp.obtained_at,
            "response": base64.b64encode(stamp.response).decode("ascii"),
            "size": stamp.size,
        }
        for stamp in source.timestamps()
    ]
    _write(pack, layout.TIMESTAMPS, rfc8785.dumps(stamps))


def _write_tiles(pack: zipfile.ZipFile, source: EntrySource, report: Report) -> None:
    for level, index, width in needed_tiles(report):
        _write(pack, tile_path(level, index, width), source.tile(level, index, width))


def needed_tiles(report: Report) -> Iterator[tuple[int, int, int]]:
    """Yield level, index and width of the tiles that hold the proofs of a window and the root."""
    size, first = report.log.last.size, report.scope.first_index
    end = size if report.scope.end_index is None else report.scope.end_index
    level = 0
    while (count := size >> (8 * level)) > 0:
        edge = (count - 1) // 256
        indexes = {edge}
        if first < end:
            indexes |= set(range(first >> (8 * level + 8), ((end - 1) >> (8 * level + 8)) + 1))
        for index in sorted(indexes):
            width = tile_width(size, level, index)
            if width > 0:
                yield level, index, width
        level += 1


def _write_entries(pack: zipfile.ZipFile, source: EntrySource, report: Report) -> None:
    first, scope = report.scope.first_index, report.scope
    end = report.log.last.size if scope.end_index is None else scope.end_index
    num_closed = 0
    for chunk, start in enumerate(range(first, end, layout.ENTRIES_PER_CHUNK)):
        stop = min(end, start + layout.ENTRIES_PER_CHUNK)
        # Only one member of a zip can be written at a time, so a chunk is read twice.
        with pack.open(layout.member(layout.entries_name(chunk)), "w", force_zip64=True) as out:
            for entry in source.entries(start, stop, scope.tenant):
                out.write(_entry_line(entry))
                num_closed += entry.envelope is None
        with pack.open(layout.member(layout.envelopes_name(chunk)), "w", force_zip64=True) as out:
            for entry in source.entries(start, stop, scope.tenant):
                if entry.envelope is not None and _is_one_line(entry.envelope):
                    out.write(entry.envelope + b"\n")
    totals = report.totals
    if num_closed != totals.num_foreign + report.erased.total + report.gone.total:
        raise StorageError(
            "content of the log was erased while the report was made: make the report again"
        )


def _entry_line(entry: SourceEntry) -> bytes:
    described: dict[str, object] = {"index": entry.log_index}
    if entry.leaf_body is not None:
        described |= {"tenant": entry.stated_tenant, "key": entry.stated_key}
        # Sound leaves and envelopes are ASCII; Latin-1 keeps every byte of those that are not.
        described["leaf"] = entry.leaf_body.decode("latin-1")
        if entry.envelope is not None:
            is_one_line = _is_one_line(entry.envelope)
            described["envelope"] = True if is_one_line else entry.envelope.decode("latin-1")
    return json.dumps(described, separators=(",", ":")).encode("ascii") + b"\n"


def _is_one_line(envelope: bytes) -> bool:
    # One that is damaged may hold anything; it goes elsewhere, byte for byte.
    return bool(envelope) and b"\n" not in envelope and b"\r" not in envelope


def _write(pack: zipfile.ZipFile, name: str, content: bytes) -> None:
    pack.writestr(layout.member(name), content)


def _write_once(pack: zipfile.ZipFile, name: str, content: bytes) -> None:
    if name not in pack.NameToInfo:
        _write(pack, name, content)


def _copy(pack: zipfile.ZipFile, name: str, path: Path) -> None:
    with path.open("rb") as file, pack.open(layout.member(name), "w", force_zip64=True) as out:
        shutil.copyfileobj(file, out, _BLOCK_BYTES)
