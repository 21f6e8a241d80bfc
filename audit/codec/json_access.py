"""Typed reading of untrusted JSON.

A wrong type becomes a named field violation, never a traceback.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from audit.errors import InvalidRequest

Json = Mapping[str, Any]

MAX_INT64 = 2**63 - 1


def parse_object(text: str, field: str) -> Json:
    """Return the JSON object in `text`.

    Raises: InvalidRequest where it is none, or holds NaN or Infinity.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidRequest.of(field, "is nested too deeply to be an exchange") from error
    except ValueError as error:
        raise InvalidRequest.of(
            field, f"is not valid JSON ({error}); was the line cut short while it was written?"
        ) from error
    if not isinstance(value, dict):
        raise InvalidRequest.of(field, "must be a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def get_object(parent: Json, key: str, path: str) -> Json | None:
    """Return an object member, or None where it is absent or null."""
    value = parent.get(key)
    if value is None or isinstance(value, dict):
        return value
    raise InvalidRequest.of(f"{path}.{key}", f"must be an object, found {_kind(value)}")


def get_list(parent: Json, key: str, path: str) -> list[Any] | None:
    """Return a list member, or None where it is absent or null."""
    value = parent.get(key)
    if value is None or isinstance(value, list):
        return value
    raise InvalidRequest.of(f"{path}.{key}", f"must be a list, found {_kind(value)}")


def get_text(parent: Json, key: str, path: str) -> str | None:
    """Return a string member, or None where it is absent or null."""
    value = parent.get(key)
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest.of(f"{path}.{key}", f"must be a string, found {_kind(value)}")


def get_number(parent: Json, key: str, path: str) -> float | None:
    """Return a finite number member as float, or None where it is absent or null."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest.of(f"{path}.{key}", f"must be a number, found {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRequest.of(f"{path}.{key}", "must be a finite number")
    return number


def get_int(parent: Json, key: str, path: str) -> int | None:
    """Return a 64-bit integer member, or None where it is absent or null; 5.0 counts as 5."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest.of(f"{path}.{key}", f"must be an integer, found {_kind(value)}")
    if not -MAX_INT64 - 1 <= value <= MAX_INT64:
        raise InvalidRequest.of(f"{path}.{key}", "does not fit 64 bits")
    return value


def get_token_ids(parent: Json, key: str, path: str) -> tuple[int, ...] | None:
    """Return a list of token ids, or None where it is absent or null."""
    values = get_list(parent, key, path)
    return None if values is None else token_ids(values, f"{path}.{key}")


def token_ids(values: list[Any], path: str) -> tuple[int, ...]:
    """Return `values` as token ids. Raises: InvalidRequest naming the first that is no integer."""
    for position, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequest.of(
                f"{path}[{position}]", f"must be a token id, found {_kind(value)}"
            )
    return tuple(values)


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    names |= {list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
