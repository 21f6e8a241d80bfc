"""Values that are worked out once and kept as long as the model that they come from.

A run reads a growing prefix of its answers again and again, and a calibration reads the same probes
for one variant after another.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from audit.ports import ProbeReference

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

#: Values of one kind that are kept; a run needs some thousands.
_MAX_KEPT = 50_000


class Remembered(Generic[Key, Value]):
    """Values by key; the oldest are forgotten beyond a limit."""

    def __init__(self, most: int = _MAX_KEPT) -> None:
        self._most = most
        self._known: dict[Key, Value] = {}
        self._lock = threading.RLock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made where it is not known."""
        # endpoints that are read at the same time need the same values: the second one waits
        with self._lock:
            if key not in self._known:
                self._known[key] = make()
                if len(self._known) > self._most:
                    del self._known[next(iter(self._known))]
            return self._known[key]


class PerModel(Generic[Key, Value]):
    """One memory for each model; it goes when the model goes, so values must not hold the model."""

    def __init__(self) -> None:
        self._by_model: WeakKeyDictionary[ProbeReference, Remembered[Key, Value]] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def of(self, model: ProbeReference) -> Remembered[Key, Value]:
        """Return the memory of a model; models count as the same by identity."""
        with self._lock:
            return self._by_model.setdefault(model, Remembered())
