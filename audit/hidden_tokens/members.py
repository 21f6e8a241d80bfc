"""Strict reading of the JSON members of a calibration file; every refusal names the place."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from audit.errors import CalibrationError

Choice = TypeVar("Choice", bound=StrEnum)


def strict_members(
    document: object, where: str, names: Sequence[str] | None = None
) -> Mapping[str, object]:
    """Return the members of an object, which are exactly `names` where given.

    Raises: CalibrationError for anything else.
    """
    if not isinstance(document, dict):
        raise CalibrationError(f"{where} must be an object: train the file again")
    if names is not None and set(document) != set(names):
        raise CalibrationError(
            f"{where} must have exactly the members {', '.join(names)}: train the file again"
        )
    return document


def number(members: Mapping[str, object], name: str, where: str) -> float:
    """Return a finite number. Raises: CalibrationError for anything else."""
    value = members[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CalibrationError(f"{where}.{name} must be a finite number: train the file again")
    return float(value)


def positive(members: Mapping[str, object], name: str, where: str) -> float:
    """Return a finite number above 0. Raises: CalibrationError for anything else."""
    value = number(members, name, where)
    if value <= 0:
        raise CalibrationError(f"{where}.{name} must be above 0: train the file again")
    return value


def share(members: Mapping[str, object], name: str, where: str) -> float:
    """Return a number strictly between 0 and 1. Raises: CalibrationError for anything else."""
    value = positive(members, name, where)
    if value >= 1:
        raise CalibrationError(f"{where}.{name} must be below 1: train the file again")
    return value


def text(members: Mapping[str, object], name: str, where: str) -> str:
    """Return a string. Raises: CalibrationError for anything else."""
    value = members[name]
    if not isinstance(value, str):
        raise CalibrationError(f"{where}.{name} must be a string: train the file again")
    return value


def items(members: Mapping[str, object], name: str, where: str) -> list[object]:
    """Return a list. Raises: CalibrationError for anything else."""
    value = members[name]
    if not isinstance(value, list):
        raise CalibrationError(f"{where}.{name} must be a list: train the file again")
    return value


def number_list(value: object, where: str) -> list[float]:
    """Return a list of finite numbers. Raises: CalibrationError for anything else."""
    if not isinstance(value, list):
        raise CalibrationError(f"{where} must hold lists of numbers: train the file again")
    return [number({"item": item}, "item", where) for item in value]


def choice(kind: type[Choice], members: Mapping[str, object], name: str, where: str) -> Choice:
    """Return one of an enumeration's values. Raises: CalibrationError for anything else."""
    value = text(members, name, where)
    if value not in set(kind):
        raise CalibrationError(
            f"{where}.{name} must be one of {', '.join(kind)}: train the file again"
        )
    return kind(value)
