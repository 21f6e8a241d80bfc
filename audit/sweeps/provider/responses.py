"""Reads a response's body: so many bytes at most, unpacked at most so far, without keys."""

import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx2

from audit.sweeps.provider.secrets import MARK, Secret, without_keys

MAX_BODY_BYTES = 1 << 20

#: Encodings that can be undone; any other is refused, as none of them was asked for.
_PACKED = ("gzip", "x-gzip", "deflate")

#: Tells zlib to find out whether it is gzip or zlib.
_ANY_WINDOW = 47


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body as text."""

    text: str
    is_cut: bool
    problem: str | None = None
    """Why it is not to be read as an answer."""


class _Unpackable(Exception):
    """The body is not packed the way that its header says."""


async def read_response(
    response: httpx2.Response, max_bytes: int, secrets: Sequence[Secret]
) -> Body:
    """Return the body, cut after `max_bytes`, with every key taken out.

    Raises: httpx2.RequestError where the connection broke, httpx2.ReadTimeout.
    """
    data = bytearray()
    problem = None
    try:
        async for piece in _unpacked(response, max_bytes + 1):
            data += piece
            if len(data) > max_bytes:
                break
    except _Unpackable as error:
        problem = str(error)
    is_cut = len(data) > max_bytes
    text = without_keys(bytes(data[:max_bytes]).decode("utf-8", "replace"), secrets)
    if text == MARK:
        problem = problem or "the body held the API key in a disguise, and was left out"
        text = ""
    for secret in secrets:
        # a connection may break off in the middle of a key, or a limit cut through it
        text = secret.removed_from_end(text)
    return Body(text=text, is_cut=is_cut, problem=problem)


async def _unpacked(response: httpx2.Response, limit: int) -> AsyncIterator[bytes]:
    """Yield the body's bytes in pieces of `limit` at most; the library would unpack without end."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for piece in response.aiter_raw():
            yield piece
        return
    if encoding not in _PACKED:
        raise _Unpackable("the body is packed in a way that was not asked for")
    unpacker = zlib.decompressobj(_ANY_WINDOW)
    try:
        async for piece in response.aiter_raw():
            yield unpacker.decompress(piece, limit)
            if unpacker.unconsumed_tail:
                # more than the limit came out of one piece: the rest would be cut anyway
                yield unpacker.decompress(unpacker.unconsumed_tail, limit)
                return
    except zlib.error as error:
        raise _Unpackable("the body does not unpack as its header says") from error
