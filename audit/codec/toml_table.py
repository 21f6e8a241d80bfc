"""Strict reading of TOML tables into records: every wrong field is told, not the first alone.

Stands below the files that users write. What a field may hold beyond its type is checked elsewhere.
"""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from audit.errors import FieldViolation

_Enum = TypeVar("_Enum", bound=StrEnum)


class TomlTable:
    """A TOML table that is read field by field; what is wrong is collected, not raised.

    `kind` is the record that the table becomes: it says which fields there are, and their defaults.
    A wrong field gives a value of the right type, so that the next can be read.
    """

    def __init__(
        self, values: Mapping[str, Any], path: str, kind: type, violations: list[FieldViolation]
    ) -> None:
        self._values, self._path, self.violations = values, path, violations
        fields = {_in_file(field.name): field for field in dataclasses.fields(kind)}
        self._defaults = {name: field.default for name, field in fields.items()}
        for name in sorted(values.keys() - fields.keys()):
            self.refuse(name, f"is no field here; known are {', '.join(fields)}")

    def refuse(self, name: str, description: str) -> None:
        """Note what is wrong with a field."""
        self.violations.append(FieldViolation(field=self.place(name), description=description))

    def place(self, name: str) -> str:
        """Return where a field stands in the file."""
        return f"{self._path}.{name}" if self._path else name

    def get(self, name: str) -> object:
        """Return a field as it is written; None where it is not."""
        return self._values.get(name)

    def text(self, name: str) -> Any:
        """Return a text, or the field's default."""
        return self._of(name, (str,), "a text in quotes")

    def flag(self, name: str) -> Any:
        """Return true or false, or the field's default."""
        return self._of(name, (bool,), "true or false")

    def whole(self, name: str) -> Any:
        """Return a whole number, or the field's default."""
        return self._of(name, (int,), "a whole number")

    def number(self, name: str) -> Any:
        """Return a number as a float, or the field's default."""
        value = self._of(name, (int, float), "a number")
        try:
            return value if value is None else float(value)
        except OverflowError:
            self.refuse(name, "is beyond the range of numbers")
            return 0.0

    def member(self, name: str, kind: type[_Enum]) -> _Enum:
        """Return the member of an enum by its value, or the field's default."""
        value = self._of(name, (str,), "a text in quotes")
        if value in list(kind):
            return kind(value)
        self.refuse(name, f"is {value!r}; give one of {', '.join(kind)}")
        return next(iter(kind))

    def table(self, name: str, kind: type) -> "TomlTable | None":
        """Return a table within, None where it is not there or is none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, "must be a table")
            return None
        return TomlTable(value, self.place(name), kind, self.violations)

    def listed(self, name: str, kind: type, wanted: str) -> list[Any]:
        """Return a list of values of one type, without those of another."""
        values = self._values.get(name, [])
        if not isinstance(values, list):
            self.refuse(name, f"must be a list, each {wanted}")
            return []
        for index, value in enumerate(values):
            if not isinstance(value, kind):
                self.refuse(f"{name}[{index}]", f"must be {wanted}")
        return [value for value in values if isinstance(value, kind)]

    def _of(self, name: str, kinds: tuple[type, ...], wanted: str) -> Any:
        default = self._defaults[name]
        is_required = default is dataclasses.MISSING
        value = self._values.get(name)
        # true is no number here, though Python takes it for 1
        if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
            return value
        if value is not None:
            self.refuse(name, f"must be {wanted}")
        elif is_required:
            self.refuse(name, f"is missing; give {wanted}")
        return kinds[0]() if is_required else default


def _in_file(field: str) -> str:
    # a member that a record keeps as the text of a JSON object is a table in a file
    return field.removesuffix("_json")
