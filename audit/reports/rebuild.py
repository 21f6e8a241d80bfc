"""Makes a report again from its evidence pack alone, and checks a pack from end to end.

The steps of the check, in order; the first failure is a VerificationError that names it:

1. The pack is a sound zip file with the members of a pack and no others.
2. Checkpoints are signed by the log that the trust root names, cosigned by its witnesses' quorum,
   and the first is part of the last.
3. The tiles give the last checkpoint's root, and every leaf stands at its place in them.
4. Every envelope is the one that its leaf names, signed by a key of the trust root. Entries at
   which their key does not count are for the report to list, and the same ones for its reader.
5. Every file of the report has the digest that the manifest names, and is made again from this
   evidence, byte for byte.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.errors import VerificationError
from audit.ledger.tiles import tile_path
from audit.reports import members as m
from audit.reports import pack_layout as layout
from audit.reports.collect import collect
from audit.reports.formats import can_render
from audit.reports.log_identity import require_quorum
from audit.reports.manifest import MANIFEST_NAME, ReportFile
from audit.reports.pack import needed_tiles
from audit.reports.pack_source import PackSource
from audit.reports.records import Report
from audit.reports.render import digest_of, render_all
from audit.reports.spool import Spool
from audit.reports.trust import read_trust

_ALWAYS = frozenset(
    {
        layout.README,
        layout.PACK,
        layout.TRUST_ROOT,
        layout.FIRST,
        layout.LAST,
        layout.CONSISTENCY,
        layout.TIMESTAMPS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A report made again, and the files that differ from those in the pack."""

    report: Report
    files: tuple[ReportFile, ...]
    differing: tuple[str, ...]
    """Names of files that are not byte for byte those of the pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPack:
    """A pack that passed every step."""

    report: Report
    files: tuple[ReportFile, ...]
    not_rebuilt: tuple[str, ...]
    """Files that could not be made again here, for want of a library; only their digests count."""
    is_own_trust_root: bool
    """Whether the pack was made with the very trust root that it was checked under."""


def rebuild(pack: Path, folder: Path) -> Rebuilt:
    """Make the report of a pack again, into a folder, under the pack's own trust root.

    Raises: VerificationError where the pack is no pack or its log does not verify;
    ConfigurationError where files cannot be read or written.
    """
    with PackSource(pack) as source:
        return _rebuild(source, folder, ())


def verify_pack(pack: Path, trust_root: bytes, scratch: Path | None = None) -> VerifiedPack:
    """Pass where everything in a pack verifies under a trust root of the reader's own.

    `scratch` is the folder for temporary files. Raises: VerificationError naming the first thing
    that is wrong; ConfigurationError where files cannot be read or written.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="inference-audit-") as temporary:
        with PackSource(pack, trust_root=trust_root) as source:
            source.require_sound()
            _require_members(source)
            require_quorum(source, read_trust(trust_root))
            report = _collected(source, Path(temporary) / "check")
            if report.damaged.items:
                first = report.damaged.items[0]
                raise VerificationError(
                    f"entry {first.log_index} of the pack cannot be relied on: {first.problem}"
                )
        with PackSource(pack) as source:
            files = _reported(source)
            given = [file for file in files if not can_render(file.format)]
            rebuilt = _rebuild(source, Path(temporary) / "again", given)
            _require_no_others(source, rebuilt.report, files)
            _require_same_entries(report, rebuilt.report)
            is_own = source.trust_root == trust_root
    if rebuilt.differing:
        raise VerificationError(
            f"report/{rebuilt.differing[0]} of the pack is not what its evidence gives: do not "
            "rely on it, or rebuild it with the version of inference-audit that wrote it"
        )
    return VerifiedPack(
        report=report,
        files=rebuilt.files,
        not_rebuilt=tuple(file.name for file in given),
        is_own_trust_root=is_own,
    )


def _collected(source: PackSource, folder: Path) -> Report:
    folder.mkdir(parents=True)
    with Spool(folder) as spool:
        return collect(source, source.scope, spool, control_mapping=source.control_mapping)


def _rebuild(source: PackSource, folder: Path, given: Sequence[ReportFile]) -> Rebuilt:
    with tempfile.TemporaryDirectory(prefix="inference-audit-") as temporary:
        with Spool(Path(temporary)) as spool:
            report = collect(source, source.scope, spool, control_mapping=source.control_mapping)
            files = render_all(report, spool.lines, folder, source.formats, given=given)
    return Rebuilt(report=report, files=files, differing=tuple(_differing(source, files)))


def _differing(source: PackSource, files: Sequence[ReportFile]) -> list[str]:
    names = {name.removeprefix(layout.REPORT) for name in source.names if _is_of_report(name)}
    found = names ^ {file.name for file in files}
    for file in files:
        if file.name in names and _digest_in(source, file.name) != file.digest:
            found.add(file.name)
    return sorted(found)


def _require_members(source: PackSource) -> None:
    for name in sorted(_ALWAYS - source.names):
        raise VerificationError(f"the pack has no {name}")
    if source.read(layout.README) != layout.README_TEXT.encode("ascii"):
        raise VerificationError(f"{layout.README} of the pack does not say what it should")


def _require_no_others(source: PackSource, report: Report, files: Sequence[ReportFile]) -> None:
    proof = source.consistency(report.log.first.size, report.log.last.size)
    if tuple(node.hex() for node in proof) != report.log.consistency:
        raise VerificationError(f"{layout.CONSISTENCY} of the pack is not the proof of its report")
    seen = layout.seen_members(report.log)
    for name, content in seen.items():
        if source.read(name) != content:
            raise VerificationError(f"{name} of the pack is not what its report rests on")
    tiles = {tile_path(*tile) for tile in needed_tiles(report)}
    artifacts = {
        layout.artifact_name(str(exchange.line.tokens_digest))
        for exchange in report.exchanges
        if exchange.line is not None and exchange.tokens is not None
    }
    reported = {f"{layout.REPORT}{name}" for name in (MANIFEST_NAME, *(f.name for f in files))}
    expected = _ALWAYS | seen.keys() | tiles | artifacts | reported | source.chunk_names()
    for name in sorted(source.names - expected):
        raise VerificationError(f"the pack has a member that does not belong: {name!r}")


def _require_same_entries(report: Report, packed: Report) -> None:
    """Pass where the same entries count for the reader as for the pack's own report."""
    if _counted(report) != _counted(packed):
        raise VerificationError(
            "not the same entries of the pack count under your trust root "
            f"({report.discounted.total} discounted) as under its own ({packed.discounted.total} "
            f"discounted, {packed.damaged.total} damaged): get the newest trust root, and ask for "
            "a report that was made with it"
        )


def _counted(report: Report) -> tuple[object, ...]:
    return report.totals, report.discounted_digest, report.damaged.total


def _reported(source: PackSource) -> list[ReportFile]:
    """Return the files that the manifest names, each checked against its digest."""
    manifest = m.parse_object(source.read(f"{layout.REPORT}{MANIFEST_NAME}"), MANIFEST_NAME)
    files = []
    for item in m.children(manifest, "files"):
        file = ReportFile(
            name=m.text(item, "name"),
            format=m.text(item, "format"),
            media_type=m.text(item, "mediaType"),
            size_bytes=m.integer(item, "sizeBytes"),
            digest=m.text(item, "digest"),
        )
        if _digest_in(source, file.name) != file.digest:
            raise VerificationError(
                f"report/{file.name} of the pack is not the file that its manifest names"
            )
        files.append(file)
    return files


def _digest_in(source: PackSource, name: str) -> str:
    with source.open(f"{layout.REPORT}{name}") as file:
        return digest_of(file)


def _is_of_report(name: str) -> bool:
    return name.startswith(layout.REPORT)
