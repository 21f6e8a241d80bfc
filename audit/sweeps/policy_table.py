"""Reads the tables of a sweep policy by type; a bad value is refused by its name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from audit.errors import ConfigurationError

#: A billion requests are beyond any sweep, and below what JSON numbers hold exactly.
_MAX_COUNT = 10**9
_MAX_NAME_CHARS = 100


class PolicyTable:
    """One table of a policy file."""

    def __init__(self, source: Path, name: str, values: Mapping[str, Any]) -> None:
        self._source = source
        self._name = name
        self._values = values

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Raise the ConfigurationError for a member, or for the table itself where `key` is ''."""
        path = ".".join(part for part in (self._name, key) if part)
        raise ConfigurationError(f"the sweep policy {self._source}: {_short(path)} {problem}")

    def only(self, *known: str) -> "PolicyTable":
        """Return this table, which must hold these members and no others."""
        for key in self._values:
            if key not in known:
                self.refuse(key, f"is not known here; known are: {', '.join(known)}")
        for key in known:
            if key not in self._values:
                self.refuse(key, "is missing; a policy states every value")
        return self

    def table(self, key: str) -> "PolicyTable":
        """Return the table of that name."""
        values = self._values[key]
        if not isinstance(values, dict):
            self.refuse(key, f"must be a table, found {_found(values)}")
        return PolicyTable(self._source, f"{self._name}.{key}" if self._name else key, values)

    def whole(self, key: str, lowest: int) -> int:
        """Return a whole number of at least `lowest`."""
        value = self._values[key]
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not lowest <= value <= _MAX_COUNT:
            self.refuse(
                key,
                f"must be a whole number from {lowest} to {_MAX_COUNT}, found {_found(value)}",
            )
        return int(value)

    def number(self, key: str, lowest: float, highest: float) -> float:
        """Return a number within the limits."""
        value = self._values[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # written so that NaN, which TOML can state, fails too
        if not is_number or not lowest <= value <= highest:
            self.refuse(
                key, f"must be a number from {lowest:g} to {highest:g}, found {_found(value)}"
            )
        return float(value)

    def text(self, key: str) -> str:
        """Return a line of text."""
        return self._line(key, self._values[key])

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        """Return one of the known words."""
        value = self._values[key]
        if not isinstance(value, str) or value not in known:
            self.refuse(key, f"must be one of {', '.join(known)}; found {_found(value)}")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of names, each once."""
        values = self._values[key]
        if not isinstance(values, list):
            self.refuse(key, f"must be a list, found {_found(values)}")
        names = tuple(self._line(key, value) for value in values)
        if len(set(names)) < len(names):
            self.refuse(key, "names something twice; leave one out")
        return names

    def _line(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.refuse(key, f"must be a line of text, found {_found(value)}")
        if len(value) > _MAX_NAME_CHARS:
            self.refuse(key, f"has {len(value)} characters; {_MAX_NAME_CHARS} are allowed")
        return value


def _found(value: Any) -> str:
    if isinstance(value, str):
        return f'"{_short(value)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        # Python refuses to print the largest ones
        return "a very large number"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or time"


def _short(text: str) -> str:
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    return shown if shown.isprintable() else ascii(shown)[1:-1]
