"""Reads recorded traffic: JSON lines of real requests and answers, and DiFR's own JSON.

A file, gzip-compressed or not, is read one line at a time, so memory does not grow with its length.
What it yields is an `AuditRequest` that `audit.codec.limits` has checked, or the error that names
what is wrong with that line.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from audit.codec.json_access import get_text, parse_object
from audit.codec.limits import check_request
from audit.codec.recorded import parse_exchange
from audit.errors import ConfigurationError, InvalidRequest
from audit.records import AuditRequest

#: A longer line is refused unread: the longest honest exchange (a million token ids) stays far
#: below it.
MAX_LINE_BYTES = 64 << 20

GZIP_MAGIC = b"\x1f\x8b"

#: Settings of a DiFR run that hold for each of its samples, and our names for them.
DIFR_SETTINGS = {
    "temperature": "temperature",
    "sampling_temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "sampling_top_p": "top_p",
    "seed": "seed",
    "sampling_seed": "seed",
    "model": "model",
    "trusted_model_name": "model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficLine:
    """One line of a traffic file: an exchange, or the reason why it is none."""

    index: int
    """Counts from 0 over all files in the order given."""
    source: str
    """`FILE:LINE`, for messages."""
    request_id: str
    request: AuditRequest | None
    error: InvalidRequest | None = None


def read_traffic(paths: list[Path]) -> Iterator[TrafficLine]:
    """Yield every exchange of the files, in order.

    Raises: ConfigurationError for an unreadable file.
    """
    index = 0
    for path in paths:
        for number, raw in _read_lines(path):
            yield _read_line(raw, index=index, source=f"{path}:{number}")
            index += 1
    if index == 0:
        raise ConfigurationError(
            f"no exchanges in {', '.join(map(str, paths))}: expected one JSON object a line"
        )


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        samples = _read_difr_file(path)
        if samples is not None:
            yield from enumerate(samples, start=1)
            return
        with _open(path) as file:
            for number, line in enumerate(_bounded_lines(file), start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot read the traffic file {path}: {reason}") from error


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _open(path: Path) -> BinaryIO:
    # a gzip file reads like any other, but its type does not say so
    return cast("BinaryIO", gzip.open(path)) if _is_compressed(path) else path.open("rb")


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield each line; of one beyond the limit only its beginning, one byte too long."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)


def _read_difr_file(path: Path) -> list[bytes] | None:
    """Return the samples of a DiFR file as lines, or None for other files.

    Such a file is one object, `{"config": …, "samples": […]}`.
    """
    if _is_compressed(path):
        return None
    with path.open("rb") as file:
        head = file.read(4096)
    if b'"samples"' not in head and b'"config"' not in head:
        return None
    if b'"request"' in head or path.stat().st_size > MAX_LINE_BYTES:
        return None
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("samples"), list):
        return None
    config = document.get("config")
    stated = config if isinstance(config, dict) else {}
    shared = {ours: stated[theirs] for theirs, ours in DIFR_SETTINGS.items() if theirs in stated}
    samples = [shared | s if isinstance(s, dict) else s for s in document["samples"]]
    return [json.dumps(sample).encode() for sample in samples]


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise InvalidRequest.of(
            "line", f"has more than {MAX_LINE_BYTES} bytes; record one exchange a line"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        # replacing the bad bytes would replay another prompt than the one that was sent
        raise InvalidRequest.of("line", f"is not UTF-8 ({error.reason})") from error


def _read_line(raw: bytes, *, index: int, source: str) -> TrafficLine:
    # the same line submitted twice is the same audit
    request_id = "line-" + hashlib.sha256(raw.strip()).hexdigest()[:32]
    try:
        line = parse_object(_decode(raw), "line")
        request_id = get_text(line, "request_id", "line") or request_id
        request = parse_exchange(line, request_id)
        check_request(request)
    except InvalidRequest as error:
        return TrafficLine(
            index=index, source=source, request_id=request_id[:128], request=None, error=error
        )
    return TrafficLine(index=index, source=source, request_id=request_id, request=request)
