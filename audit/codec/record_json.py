"""Frozen records as canonical JSON and back, without loss: one rule for all of them.

Members are a record's fields in camelCase, all of them, `null` where nothing is stated. Infinite
numbers, which JSON lacks, are written as text. Reading is strict: a member that is missing, unknown
or of another type is named, never mended.
"""

import dataclasses
import json
import math
import types
from enum import StrEnum
from functools import cache
from typing import Any, Final, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import rfc8785

from audit.errors import InvalidRequest

Record = TypeVar("Record")
Members = dict[str, object]

#: RFC 8785 takes numbers as IEEE doubles, which hold whole numbers exactly up to here.
MAX_WHOLE_NUMBER: Final = 2**53 - 1

_INFINITIES: Final = {"Infinity": math.inf, "-Infinity": -math.inf}


def members_of(record: Any, path: str) -> Members:
    """Return a record as JSON members. Raises: InvalidRequest for NaN and what is no JSON value."""
    return {
        name: _encoded(getattr(record, field), f"{path}.{name}")
        for name, field, _ in _fields(cast(Any, type(record)))
    }


def record_of(kind: type[Record], members: object, path: str) -> Record:
    """Return the record of JSON members; it equals the one that they were made from.

    Raises: InvalidRequest naming the member.
    """
    if not isinstance(members, dict):
        raise _wrong(path, "an object", members)
    # mypy takes no class for hashable
    fields = _fields(cast(Any, kind))
    known = {name for name, _, _ in fields}
    for name in members:
        if name not in known:
            raise InvalidRequest.of(f"{path}.{name}", "is no member known here")
    for name in sorted(known - members.keys()):
        raise InvalidRequest.of(f"{path}.{name}", "is missing; null says that it is not stated")
    return kind(
        **{field: _decoded(members[name], hint, f"{path}.{name}") for name, field, hint in fields}
    )


def canonical_json(members: Members, path: str) -> str:
    """Return members as RFC 8785 writes them. Raises: InvalidRequest for what it cannot write."""
    try:
        return rfc8785.dumps(members).decode()  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidRequest.of(path, f"cannot be written as canonical JSON: {error}") from error


def parse_members(text: str, path: str) -> dict[str, Any]:
    """Return the JSON object in a text.

    Raises: InvalidRequest where it is none, names a member twice, or holds NaN or Infinity.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once_each)
    except RecursionError as error:
        raise InvalidRequest.of(path, "is nested too deeply") from error
    except ValueError as error:
        raise InvalidRequest.of(path, f"is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    return value


@cache
def _fields(kind: Any) -> tuple[tuple[str, str, Any], ...]:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return tuple((_camel(name), name, hints[name]) for name in names)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def _encoded(value: object, path: str) -> object:
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            if abs(value) > MAX_WHOLE_NUMBER:
                raise InvalidRequest.of(path, f"is {value}; whole numbers end at 2^53 - 1")
            return int(value)
        case float():
            return _encoded_number(float(value), path)
        case tuple():
            return [_encoded(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case _ if dataclasses.is_dataclass(value):
            return members_of(value, path)
    raise InvalidRequest.of(path, f"holds a {type(value).__name__}, which is no value of a record")


def _encoded_number(value: float, path: str) -> float | str:
    if math.isnan(value):
        raise InvalidRequest.of(path, "is not a number")
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _decoded(value: object, hint: Any, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or origin is types.UnionType:
        (stated,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decoded(value, stated, path)
    if origin is tuple:
        return _decoded_tuple(value, arguments, path)
    if hint is float:
        return _decoded_number(value, path)
    if issubclass(hint, StrEnum):
        return _decoded_member(value, hint, path)
    if dataclasses.is_dataclass(hint):
        return record_of(cast(type, hint), value, path)
    # true is no number here, though Python takes it for 1
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(path, _NAMES[hint], value)
    return value


def _decoded_tuple(value: object, arguments: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(path, "a list", value)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise InvalidRequest.of(path, f"has {len(value)} members, not {len(arguments)}")
    pairs = zip(value, arguments, strict=True)
    return tuple(_decoded(item, hint, f"{path}[{i}]") for i, (item, hint) in enumerate(pairs))


def _decoded_number(value: object, path: str) -> float:
    if isinstance(value, str) and value in _INFINITIES:
        return _INFINITIES[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # 1e999 reads as infinity
    if math.isinf(number):
        raise InvalidRequest.of(path, "is beyond the range of numbers")
    return number


def _decoded_member(value: object, kind: type[StrEnum], path: str) -> StrEnum:
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(kind)
        raise InvalidRequest.of(path, f"is {value!r}; known are {known}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {twice!r} occurs twice")
    return members


_NAMES: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _wrong(path: str, wanted: str, found: object) -> InvalidRequest:
    return InvalidRequest.of(path, f"must be {wanted}, found {_NAMES[type(found)]}")
