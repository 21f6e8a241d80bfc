"""Hypothesis strategies for whole records: each field takes all that its type allows."""

import dataclasses
import types
from datetime import UTC
from enum import StrEnum
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

texts = st.text(max_size=6)
times = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
)


def records(kind: type, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for a record; `fixed` has fields whose type says too little."""
    hints = get_type_hints(kind)
    fields = {field.name: values(hints[field.name]) for field in dataclasses.fields(kind)}
    return st.builds(kind, **(fields | fixed))


def values(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or origin is types.UnionType:
        (stated,) = (argument for argument in arguments if argument is not type(None))
        return st.none() | values(stated)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    if dataclasses.is_dataclass(hint):
        return records(cast(type, hint))
    simple: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(0, 2**31 - 1),
        float: st.floats(allow_nan=False),
        str: texts,
    }
    return simple[hint]
