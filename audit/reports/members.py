"""Reads members of signed statements, strictly: what is not of the agreed form is not read at all.

Every complaint is a VerificationError that names the member.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NoReturn, TypeAlias, TypeVar

from audit.errors import VerificationError

Members: TypeAlias = Mapping[str, object]
Value = TypeVar("Value")

_HEX = re.compile(r"[0-9a-f]{64}")


def parse_object(text: bytes, what: str) -> Members:
    """Return a JSON object without repeated names and numbers beyond a double.

    Raises: VerificationError.
    """
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_unrepeated, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{what} is not strict JSON ({error})") from error
    return as_object(value, what)


def as_object(value: object, what: str) -> Members:
    """Return a value that is an object."""
    if not isinstance(value, dict):
        raise VerificationError(f"{what} is not a JSON object")
    return value


def child(members: Members, name: str) -> Members:
    """Return an object among the members; an empty one where it is not stated."""
    value = members.get(name)
    return {} if value is None else as_object(value, name)


def children(members: Members, name: str) -> tuple[Members, ...]:
    """Return a list of objects; an empty one where it is not stated."""
    return tuple(as_object(item, f"an item of {name}") for item in _list(members, name))


def texts(members: Members, name: str) -> tuple[str, ...]:
    """Return a list of texts; an empty one where it is not stated."""
    return tuple(_text(item, f"an item of {name}") for item in _list(members, name))


def text(members: Members, name: str) -> str:
    """Return a text that must be stated."""
    return _text(members.get(name), name)


def integer(members: Members, name: str) -> int:
    """Return an integer of at least 0 that must be stated."""
    return _integer(members.get(name), name)


def number(members: Members, name: str) -> float:
    """Return a finite number that must be stated."""
    return _number(members.get(name), name)


def optional_text(members: Members, name: str) -> str | None:
    """Return a text; None where it is not stated."""
    return _optional(members, name, _text)


def optional_integer(members: Members, name: str) -> int | None:
    """Return an integer of at least 0; None where it is not stated."""
    return _optional(members, name, _integer)


def optional_number(members: Members, name: str) -> float | None:
    """Return a finite number; None where it is not stated."""
    return _optional(members, name, _number)


def optional_digest(members: Members, name: str = "digest") -> str | None:
    """Return in-toto's `{"sha256": hex}` as `sha256:<hex>`; None where it is not stated."""
    stated = members.get(name)
    if stated is None:
        return None
    found = as_object(stated, name).get("sha256")
    if not isinstance(found, str) or not _HEX.fullmatch(found):
        _refuse_member(name, "a SHA-256 digest")
    return f"sha256:{found}"


def digest(members: Members, name: str = "digest") -> str:
    """Return a digest that must be stated, as `sha256:<hex>`."""
    return optional_digest(members, name) or _refuse_member(name, "a SHA-256 digest")


def time(members: Members, name: str) -> str:
    """Return a time that must be stated, RFC 3339 in UTC, as it is written."""
    found = text(members, name)
    parse_time(found, name)
    return found


def parse_time(stated: str, name: str) -> datetime:
    """Return an RFC 3339 time in UTC. Raises: VerificationError naming what it was."""
    try:
        found = datetime.fromisoformat(stated)
    except ValueError:
        found = None
    # Without an offset it would be a time of nowhere; without a T another notation.
    if found is None or found.utcoffset() != timedelta(0) or "T" not in stated:
        _refuse_member(name, "a time such as 2026-01-31T12:00:00Z")
    return found


def _optional(members: Members, name: str, read: Callable[[object, str], Value]) -> Value | None:
    value = members.get(name)
    return None if value is None else read(value, name)


def _list(members: Members, name: str) -> list[object]:
    value = members.get(name)
    if value is None:
        return []
    return value if isinstance(value, list) else _refuse_member(name, "a list")


def _text(value: object, name: str) -> str:
    return value if isinstance(value, str) else _refuse_member(name, "a text")


def _integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        _refuse_member(name, "an integer of at least 0")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse_member(name, "a number")
    # Canonical JSON writes 2.0 as 2.
    found = float(value)
    return found if math.isfinite(found) else _refuse_member(name, "a finite number")


def _refuse_member(name: str, expected: str) -> NoReturn:
    raise VerificationError(f"{name} is not {expected}")


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
