"""The one place where requests to the verdict log are checked.

Stands between the wire and the log, on both sides: the client refuses before it sends what the
service would refuse. Violations name the fields of the proto. What the log holds is not known here.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.errors import FieldViolation, InvalidRequest
from audit.log_records import EntryKind

#: Hashes of a full tile, and leaves below it (C2SP tlog-tiles).
TILE_WIDTH = 256
#: A level above it would stand for more leaves than an index can count.
MAX_TILE_LEVEL = 7
#: A page of entries is closed once it holds so many bytes: two of them fit gRPC's default limit.
MAX_PAGE_BYTES = 2 * 1024 * 1024
#: Longest is `erasure:`, a tenant's name and a time.
MAX_ENTRY_KEY_CHARS = 512

#: Databases count in 64 bits, and the index after it must fit too.
_MAX_INDEX = 2**63 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryQuery:
    """Which entries to list; kinds sorted, none of them for all."""

    first_index: int = 0
    kinds: tuple[EntryKind, ...] = ()
    with_envelopes: bool = False


def check_index(field: str, value: int) -> None:
    """Pass an index or a size. Raises: InvalidRequest."""
    _raise(_index(field, value))


def check_entry_key(entry_key: str) -> None:
    """Pass a key that may name an entry. Raises: InvalidRequest."""
    if not 1 <= len(entry_key) <= MAX_ENTRY_KEY_CHARS:
        raise InvalidRequest.of(
            "entry_key", f"has {len(entry_key)} characters; give 1 to {MAX_ENTRY_KEY_CHARS}"
        )
    if not entry_key.isprintable():
        raise InvalidRequest.of("entry_key", "holds an unprintable character; leave it out")


def check_inclusion(log_index: int, tree_size: int, *, witnessed: bool) -> None:
    """Pass what an inclusion proof may be asked for. Raises: InvalidRequest with all violations."""
    violations = [*_index("log_index", log_index), *_index("tree_size", tree_size)]
    if not violations and tree_size and log_index >= tree_size:
        violations.append(_bad("log_index", f"is {log_index}; give one below {tree_size}"))
    if witnessed and tree_size:
        violations.append(_bad("witnessed", "chooses among checkpoints: leave tree_size at 0"))
    _raise(violations)


def check_consistency(old_size: int, new_size: int) -> None:
    """Pass two sizes to be proven consistent. Raises: InvalidRequest with all violations."""
    violations = [*_index("old_size", old_size, low=1), *_index("new_size", new_size)]
    if not violations and new_size and old_size > new_size:
        violations.append(_bad("old_size", f"is {old_size}; give at most new_size, {new_size}"))
    _raise(violations)


def check_tile(level: int, index: int, width: int) -> int:
    """Return the width to use for a requested one. Raises: InvalidRequest with all violations."""
    violations = [*_index("level", level, high=MAX_TILE_LEVEL)]
    num_leaves = TILE_WIDTH ** (min(max(level, 0), MAX_TILE_LEVEL) + 1)
    violations += _index("index", index, high=_MAX_INDEX // num_leaves)
    violations += _index("width", width, high=TILE_WIDTH)
    _raise(violations)
    return width or TILE_WIDTH


def page_token(query: EntryQuery, next_index: int) -> str:
    """Return the token with which the same query goes on."""
    return f"{next_index}-{_fingerprint(query)}"


def page_start(query: EntryQuery, token: str) -> int:
    """Return the index at which a query begins or goes on. Raises: InvalidRequest."""
    _raise(_index("first_index", query.first_index))
    if not token:
        return query.first_index
    number, _, fingerprint = token.partition("-")
    is_ours = number.isascii() and number.isdecimal() and len(number) <= len(str(_MAX_INDEX))
    if not is_ours or fingerprint != _fingerprint(query):
        raise InvalidRequest.of(
            "page_token", "is not from an earlier page of the same list; begin without one"
        )
    return int(number)


def _fingerprint(query: EntryQuery) -> str:
    text = f"{query.first_index} {','.join(query.kinds)} {query.with_envelopes}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _index(
    field: str, value: int, *, low: int = 0, high: int = _MAX_INDEX
) -> Iterator[FieldViolation]:
    if not low <= value <= high:
        yield _bad(field, f"is {value}; give {low} to {high}")


def _bad(field: str, description: str) -> FieldViolation:
    return FieldViolation(field=field, description=description)


def _raise(violations: Iterator[FieldViolation] | Sequence[FieldViolation]) -> None:
    found = tuple(violations)
    if found:
        raise InvalidRequest(*found)
