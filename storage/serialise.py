"""Records to JSON text and back, driven by their type hints.

The store keeps requests and verdicts in this form. Reading is strict: an unknown key, a missing
value or a value of another type is an error, never a guess. It is neither the wire format nor what
is signed.
"""

import json
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, TypeVar, Union, get_args, get_origin, get_type_hints

from audit.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

#: Integers of a float field beyond this would change value on the way.
_MAX_EXACT_INTEGER = 2**53


class _Mismatch(Exception):
    """A stored value does not fit its field; carries the path to it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or 'the record'} {problem}")


def to_json(record: "DataclassInstance") -> str:
    """Return the record as ASCII JSON with every field present.

    Raises: StorageError for NaN or infinity.
    """
    try:
        return json.dumps(_plain(record), allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise StorageError(
            f"a {type(record).__name__} holds a number that JSON cannot carry; report this as a bug"
        ) from error


def from_json(record_type: "type[T]", text: str) -> "T":
    """Return the record that `to_json` wrote. Raises: StorageError for any deviation."""
    try:
        record = _typed(record_type, json.loads(text, parse_constant=_refuse_constant), "")
    except (ValueError, _Mismatch) as error:
        raise StorageError(
            f"a stored {record_type.__name__} cannot be read ({error}); a newer version wrote it, "
            "or it is damaged: upgrade inference-audit, or restore the database from a backup"
        ) from error
    assert isinstance(record, record_type)  # noqa: S101  narrows the type; _typed built exactly this
    return record


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a finite number")


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


@cache
def _names(record_type: "type[DataclassInstance]") -> tuple[str, ...]:
    return tuple(field.name for field in fields(record_type))


@cache
def _hints(record_type: type) -> dict[str, object]:
    return get_type_hints(record_type)


def _typed(hint: object, value: object, path: str) -> object:
    if get_origin(hint) in (Union, types.UnionType):
        return _optional(get_args(hint), value, path)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, path)
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value, path)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint, value, path)
    scalar = _SCALARS.get(hint)
    if scalar is None:
        raise TypeError(f"records cannot hold {hint} at {path}; extend storage.serialise")
    return scalar(value, path)


def _optional(options: tuple[object, ...], value: object, path: str) -> object:
    wanted = [option for option in options if option is not type(None)]
    if len(wanted) != 1 or len(options) != 2:
        raise TypeError(f"only 'X | None' is supported at {path}; extend storage.serialise")
    return None if value is None else _typed(wanted[0], value, path)


def _tuple(item_hints: tuple[object, ...], value: object, path: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _Mismatch(path, "is not a list")
    if len(item_hints) == 2 and item_hints[1] is Ellipsis:
        item_hints = (item_hints[0],) * len(value)
    if len(item_hints) != len(value):
        raise _Mismatch(path, f"has {len(value)} items instead of {len(item_hints)}")
    items = zip(item_hints, value, strict=True)
    return tuple(_typed(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(items))


def _record(record_type: type, value: object, path: str) -> object:
    if not isinstance(value, dict):
        raise _Mismatch(path, "is not an object")
    hints = _hints(record_type)
    if unknown := sorted(value.keys() - hints.keys()):
        raise _Mismatch(path, f"has the unknown key {unknown[0]!r}")
    known = {
        name: _typed(hints[name], item, f"{path}.{name}".lstrip("."))
        for name, item in value.items()
    }
    for field in fields(record_type):
        # A key may be missing where the record has a default for it: the field was added later.
        is_required = field.default is MISSING and field.default_factory is MISSING
        if is_required and field.name not in known:
            raise _Mismatch(path, f"lacks the key {field.name!r}")
    built: object = record_type(**known)
    return built


def _enum(enum_type: type[StrEnum], value: object, path: str) -> StrEnum:
    if not isinstance(value, str) or value not in [str(member) for member in enum_type]:
        raise _Mismatch(path, f"is not a {enum_type.__name__}: {value!r}")
    return enum_type(value)


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _Mismatch(path, "is not a string")
    return value


def _integer(value: object, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Mismatch(path, "is not an integer")
    return value


def _float(value: object, path: str) -> float:
    if isinstance(value, float):
        return value
    if abs(_integer(value, path)) > _MAX_EXACT_INTEGER:
        raise _Mismatch(path, "is not a floating-point number")
    return float(_integer(value, path))


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _Mismatch(path, "is not true or false")
    return value


_SCALARS: dict[object, Callable[[object, str], object]] = {
    str: _text,
    int: _integer,
    float: _float,
    bool: _boolean,
}
