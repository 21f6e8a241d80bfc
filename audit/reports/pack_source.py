"""An evidence pack as a source of entries: the same facts as the log's, from one file.

What is read is bounded before it is read: a pack may come from anywhere.
"""

import base64
import binascii
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from audit.errors import ConfigurationError, VerificationError
from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.notes import parse_note
from audit.ledger.tiles import tile_path
from audit.ledger.verify import MAX_ENVELOPE_BYTES
from audit.log_records import Artifact, StoredCheckpoint, StoredTimestamp
from audit.reports import members as m
from audit.reports import pack_layout as layout
from audit.reports.records import REPORT_FORM, ReportScope
from audit.reports.source import SourceEntry

#: No member but the tables and the chunks of entries comes near this.
MAX_MEMBER_BYTES = 67_108_864
_ENCRYPTED = 0x1
_SEEN = re.compile(r"checkpoints/seen-(0|[1-9][0-9]{0,17})\.txt")
_BLOCK_BYTES = 1_048_576
_MAX_LINE_BYTES = 8 * MAX_ENVELOPE_BYTES


class PackSource:
    """An open pack."""

    def __init__(self, path: Path, *, trust_root: bytes | None = None) -> None:
        """Open a pack, to be read under another trust root than its own if one is given.

        Raises: ConfigurationError where it cannot be read; VerificationError where it is no pack.
        """
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
        except zipfile.BadZipFile as error:
            raise VerificationError(f"{path} is not a zip file ({error})") from error
        names = self._zip.namelist()
        if len(set(names)) != len(names):
            raise VerificationError("the pack has two members of one name")
        if any(info.flag_bits & _ENCRYPTED for info in self._zip.infolist()):
            raise VerificationError("the pack has an encrypted member")
        self._names = frozenset(names)
        self._about = m.parse_object(self.read(layout.PACK), layout.PACK)
        if self._about.get("form") != REPORT_FORM:
            raise VerificationError(
                f"the pack is of the form {self._about.get('form')!r}: read it with the version "
                "of inference-audit that wrote it"
            )
        self._trust_root = trust_root or self.read(layout.TRUST_ROOT)
        issued = m.child(self._about, "statedIssueTimes")
        self._first = self._checkpoint(layout.FIRST, m.time(issued, "first"))
        self._last = self._checkpoint(layout.LAST, m.time(issued, "last"))

    def __enter__(self) -> Self:
        """Return the pack, closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._zip.close()

    @property
    def names(self) -> frozenset[str]:
        """Of all members."""
        return self._names

    @property
    def scope(self) -> ReportScope:
        """What the pack's report is about."""
        scope = m.child(self._about, "scope")
        return ReportScope(
            tenant=m.optional_text(scope, "tenant"),
            provider=m.optional_text(scope, "provider"),
            model=m.optional_text(scope, "model"),
            since=m.optional_text(scope, "since"),
            until=m.optional_text(scope, "until"),
            first_index=m.integer(scope, "firstIndex"),
            end_index=m.integer(scope, "endIndex"),
            exchanges=m.texts(scope, "exchanges"),
        )

    @property
    def formats(self) -> tuple[str, ...]:
        """Of the report's files, without the manifest."""
        return m.texts(self._about, "formats")

    @property
    def control_mapping(self) -> str | None:
        """That the report was made with."""
        return m.optional_text(self._about, "controlMapping")

    @property
    def trust_root(self) -> bytes:
        """The trust root that is relied on."""
        return self._trust_root

    @property
    def checkpoint(self) -> StoredCheckpoint:
        """The last checkpoint."""
        return self._last

    def first_checkpoint(self, above_size: int) -> StoredCheckpoint:
        """Return the pack's first checkpoint."""
        return self._first if self._first.size > above_size else self._last

    def witnessed_checkpoints(self) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints that show what was seen before a compromise, smallest first."""
        sizes = sorted(int(found[1]) for name in self._names if (found := _SEEN.fullmatch(name)))
        for size in sizes:
            yield self._checkpoint(layout.seen_name(size), "")

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the pack's proof from a size to the last one: it is verified by who asks."""
        del new_size
        is_first = old_size == self._first.size
        name = layout.CONSISTENCY if is_first else layout.seen_proof_name(old_size)
        lines = self.read(name).splitlines()
        try:
            return tuple(base64.b64decode(line, validate=True) for line in lines)
        except (binascii.Error, ValueError) as error:
            raise VerificationError(f"{name} is not base64 ({error})") from error

    def entries(self, first: int, end: int, tenant: str | None) -> Iterator[SourceEntry]:
        """Yield the entries of [first, end), from the start of a chunk to a chunk's or the end.

        Raises: VerificationError where another one stands there, or one is missing.
        """
        del tenant
        per_chunk = m.integer(self._about, "entriesPerChunk")
        if per_chunk < 1 or (first - self.scope.first_index) % per_chunk:
            raise VerificationError("the pack's entries do not lie in the chunks that it states")
        first_chunk = (first - self.scope.first_index) // per_chunk
        for chunk, start in enumerate(range(first, end, per_chunk), start=first_chunk):
            with (
                self.open(layout.entries_name(chunk)) as lines,
                self.open(layout.envelopes_name(chunk)) as envelopes,
            ):
                for index in range(start, min(end, start + per_chunk)):
                    yield _entry(index, lines, envelopes)
                if lines.read(1) or envelopes.read(1):
                    raise VerificationError(f"chunk {chunk} of the pack has more than its entries")

    def chunk_names(self) -> frozenset[str]:
        """Return the members that hold the entries of the pack's window."""
        scope, per_chunk = self.scope, m.integer(self._about, "entriesPerChunk")
        chunks = range(len(range(scope.first_index, scope.end_index or 0, max(1, per_chunk))))
        return frozenset(map(layout.entries_name, chunks)) | frozenset(
            map(layout.envelopes_name, chunks)
        )

    def artifact(self, digest: str) -> Artifact | None:
        """Return an artifact; its digest is checked by who asks."""
        name = layout.artifact_name(digest)
        if name not in self._names:
            return None
        return Artifact(digest=digest, media_type=self._media_type(digest), content=self.read(name))

    def timestamps(self) -> tuple[StoredTimestamp, ...]:
        """Return the time-stamps of the last checkpoint. Raises: VerificationError."""
        content = b'{"stamps":' + self.read(layout.TIMESTAMPS) + b"}"
        stamps = m.children(m.parse_object(content, layout.TIMESTAMPS), "stamps")
        return tuple(
            StoredTimestamp(
                size=m.integer(stamp, "size"),
                authority=m.text(stamp, "authority"),
                response=_decoded(m.text(stamp, "response")),
                obtained_at=m.text(stamp, "obtainedAt"),
            )
            for stamp in stamps
        )

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return a tile's hashes. Raises: VerificationError where the pack lacks it."""
        return self.read(tile_path(level, index, width))

    def require_sound(self) -> None:
        """Pass where every member has its checksum. Raises: VerificationError."""
        for name in sorted(self._names):
            with self.open(name) as file:
                while file.read(_BLOCK_BYTES):
                    pass

    def read(self, name: str) -> bytes:
        """Return a member whole. Raises: VerificationError where it is missing or too large."""
        with self.open(name) as file:
            content = file.read(MAX_MEMBER_BYTES + 1)
        if len(content) > MAX_MEMBER_BYTES:
            raise VerificationError(f"{name} of the pack is larger than {MAX_MEMBER_BYTES} bytes")
        return content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a member for reading. Raises: VerificationError where it is missing or damaged."""
        if name not in self._names:
            raise VerificationError(f"the pack has no {name}")
        try:
            with self._zip.open(name) as file:
                yield file
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise VerificationError(f"{name} of the pack is damaged ({error})") from error

    def _media_type(self, digest: str) -> str:
        types = m.child(self._about, "artifactTypes")
        return m.optional_text(types, digest) or "application/octet-stream"

    def _checkpoint(self, name: str, issued_at: str) -> StoredCheckpoint:
        note = self.read(name)
        stated = parse_checkpoint_body(parse_note(note).text)
        return StoredCheckpoint(size=stated.size, root=stated.root, note=note, issued_at=issued_at)


def _entry(index: int, lines: IO[bytes], envelopes: IO[bytes]) -> SourceEntry:
    described = m.parse_object(_line(lines, index), f"the pack's line of entry {index}")
    if m.integer(described, "index") != index:
        raise VerificationError(f"the pack's line of entry {index} is of another one")
    leaf = m.optional_text(described, "leaf")
    if leaf is None:
        return SourceEntry(
            log_index=index, leaf_body=None, envelope=None, stated_tenant="", stated_key=""
        )
    envelope, stated = None, described.get("envelope")
    if stated is True:
        envelope = _line(envelopes, index)
    elif stated is not None:
        envelope = _bytes(m.text(described, "envelope"), index)
    return SourceEntry(
        log_index=index,
        leaf_body=_bytes(leaf, index),
        envelope=envelope,
        stated_tenant=m.text(described, "tenant"),
        stated_key=m.text(described, "key"),
    )


def _line(lines: IO[bytes], index: int) -> bytes:
    line = lines.readline(_MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise VerificationError(f"the pack ends, or has too long a line, at entry {index}")
    return line[:-1]


def _bytes(text: str, index: int) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise VerificationError(f"the pack's line of entry {index} is malformed") from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"a time-stamp of the pack is not base64 ({error})") from error
