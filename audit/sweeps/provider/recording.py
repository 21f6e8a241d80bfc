"""Recordings of runs: what was planned and what came back, so that anyone can score it again.

A recording is gzip-packed JSON lines: a header, the probes of each endpoint, the answers in the
order that they came in, and an end line with the digest of all. Every line is flushed by itself, so
a run that was killed leaves a readable beginning. Same probes and same answers give the same
digest, in whatever order the answers came.
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from audit.codec.json_access import Json, parse_object
from audit.errors import InvalidRequest
from audit.sweep_records import Probe, RecordedAnswer
from audit.sweeps.provider.recording_lines import (
    RecordingHeader,
    answer_line,
    check_members,
    digest_of,
    end_line,
    header_line,
    needed_int,
    needed_text,
    probe_line,
    read_answer,
    read_header,
    read_probe,
)

#: A recording of a thousand answers takes a few megabytes; this is a bound on memory.
MAX_UNPACKED_BYTES = 1 << 29

#: Tells zlib to expect gzip.
_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A run as it was recorded."""

    header: RecordingHeader
    plans: tuple[tuple[str, tuple[Probe, ...]], ...]
    """(endpoint, its probes in order)."""
    answers: tuple[RecordedAnswer, ...]
    """In the plans' order, whatever order they came in."""
    digest: str
    """`sha256:<hex>` of everything above."""
    is_complete: bool
    """Whether the run came to its end; else the recording is a beginning."""

    def plan_of(self, endpoint: str) -> tuple[Probe, ...]:
        """Return an endpoint's probes; none where it has no plan."""
        return dict(self.plans).get(endpoint, ())


def make_recording(
    header: RecordingHeader,
    plans: Mapping[str, Sequence[Probe]],
    answers: Sequence[RecordedAnswer],
    *,
    is_complete: bool = True,
) -> Recording:
    """Return the recording of a run.

    Raises: InvalidRequest where an answer is to no planned probe, or a second one to the same.
    """
    # an endpoint without probes has no line
    kept = {name: tuple(probes) for name, probes in plans.items() if probes}
    order = {name: index for index, name in enumerate(kept)}
    seen: set[tuple[str, int]] = set()
    for answer in answers:
        place = (answer.endpoint, answer.position)
        if not 0 <= answer.position < len(kept.get(answer.endpoint, ())):
            raise InvalidRequest.of("answers", f"{place} is an answer to no planned probe")
        if place in seen:
            raise InvalidRequest.of("answers", f"{place} was answered twice")
        seen.add(place)
    return Recording(
        header=header,
        plans=tuple(kept.items()),
        answers=tuple(sorted(answers, key=lambda a: (order[a.endpoint], a.position))),
        digest=digest_of(header, kept, answers),
        is_complete=is_complete,
    )


class RecordingWriter:
    """Writes a run while it goes on; a context manager."""

    def __init__(
        self, file: BinaryIO, header: RecordingHeader, plans: Mapping[str, Sequence[Probe]]
    ) -> None:
        """Write header and plans. Raises: InvalidRequest, OSError."""
        self._header, self._plans = header, plans
        self._answers: list[RecordedAnswer] = []
        # without a name and a time the same run gives the same bytes
        self._packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        self._file = file
        lines = [header_line(header)]
        for name, probes in plans.items():
            lines += [probe_line(name, position, probe) for position, probe in enumerate(probes)]
        self._write(*lines)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the packing; the file stays open."""
        self._packed.close()

    def append(self, answer: RecordedAnswer) -> None:
        """Write an answer, readable at once by who opens the file. Raises: OSError."""
        self._answers.append(answer)
        self._write(answer_line(answer))

    def finish(self) -> Recording:
        """Write the end line and return the recording. Raises: InvalidRequest, OSError."""
        recording = make_recording(self._header, self._plans, self._answers)
        self._write(end_line(len(self._answers), recording.digest))
        return recording

    def _write(self, *lines: str) -> None:
        self._packed.write("".join(line + "\n" for line in lines).encode())
        self._packed.flush()
        self._file.flush()


def write_recording(recording: Recording, path: Path) -> None:
    """Write a recording to a file. Raises: OSError."""
    with path.open("wb") as file:
        with RecordingWriter(file, recording.header, dict(recording.plans)) as writer:
            for answer in recording.answers:
                writer.append(answer)
            if recording.is_complete:
                writer.finish()


def read_recording(data: bytes) -> Recording:
    """Return the recording in a file's bytes; a beginning of one where its end is missing.

    Raises: InvalidRequest naming the line that is not as it must be.
    """
    lines = _unpacked(data).split(b"\n")
    reader, path = _Reader(), "recording"
    try:
        # what comes after the last line's end was cut short in writing
        for index, line in enumerate(lines[:-1]):
            path = f"line {index + 1}"
            reader.take(parse_object(line.decode("utf-8"), path), path)
        return reader.finish()
    except ValueError as error:
        # bytes that are no text, halves of surrogate pairs, and integers that are not exact
        raise InvalidRequest.of(path, "holds what canonical JSON cannot") from error


class _Reader:
    """Takes the lines of a recording in order."""

    def __init__(self) -> None:
        self._header: RecordingHeader | None = None
        self._plans: dict[str, list[Probe]] = {}
        self._answers: list[RecordedAnswer] = []
        self._end: tuple[int, str] | None = None

    def take(self, line: Json, path: str) -> None:
        """Add a line. Raises: InvalidRequest."""
        kind = line.get("type")
        if self._end is not None:
            raise InvalidRequest.of(path, "comes after the end")
        if (self._header is None) is not (kind == "header"):
            raise InvalidRequest.of(path, "the first line, and no other, must be the header")
        if kind == "header":
            self._header = read_header(line, path)
        elif kind == "probe" and not self._answers:
            endpoint, position, probe = read_probe(line, path)
            planned = self._plans.setdefault(endpoint, [])
            if position != len(planned):
                raise InvalidRequest.of(f"{path}.position", "is out of order")
            planned.append(probe)
        elif kind == "answer":
            self._answers.append(read_answer(line, path))
        elif kind == "end":
            check_members(line, ("type", "numAnswers", "digest"), path)
            self._end = needed_int(line, "numAnswers", path), needed_text(line, "digest", path)
        else:
            raise InvalidRequest.of(path, "is no line of a recording at this place")

    def finish(self) -> Recording:
        """Return the recording. Raises: InvalidRequest."""
        if self._header is None:
            raise InvalidRequest.of("recording", "holds no header")
        recording = make_recording(
            self._header, self._plans, self._answers, is_complete=self._end is not None
        )
        if self._end not in (None, (len(self._answers), recording.digest)):
            raise InvalidRequest.of("recording", "is not the one that its end line names")
        return recording


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = unpacker.decompress(data, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise InvalidRequest.of("recording", "is not gzip, or was damaged") from error
    if unpacker.unconsumed_tail:
        raise InvalidRequest.of("recording", f"is longer than {MAX_UNPACKED_BYTES} bytes")
    if unpacker.unused_data:
        raise InvalidRequest.of("recording", "is followed by something else")
    return unpacked
