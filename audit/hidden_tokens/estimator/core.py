"""What was learned from reference data: the booster, the categories it knows, and the router.

Legend: N rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import CalibrationError, ConfigurationError
from audit.hidden_tokens.estimator.cells import EstimatorRow
from audit.hidden_tokens.estimator.features import CATEGORIES, features, features_id
from audit.hidden_tokens.estimator.files import json_object, json_text, json_texts
from audit.hidden_tokens.estimator.router import Router

Float64Array = NDArray[np.float64]

#: What to say where LightGBM is not installed.
LIGHTGBM_MISSING = "the learned estimator needs LightGBM: pip install 'inference-audit[tokens]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorCore:
    """What was learned from the training rows; says nothing yet about how far it may be trusted."""

    booster: str
    """LightGBM's own text; never a pickle, which would run code when read."""
    levels: Mapping[str, tuple[str, ...]]
    router: Router
    trained_groups: frozenset[str] = field(repr=False)
    """Digests of the questions it has seen, which no calibration may use."""

    @property
    def core_id(self) -> str:
        """A short digest of the booster, as its readings name it."""
        return hashlib.sha256(self.booster.encode()).hexdigest()[:12]

    def median_tokens(self, rows: Sequence[EstimatorRow]) -> Float64Array:
        """Return the estimated median count of each row, at least 1, shape [N].

        Raises: ConfigurationError without LightGBM; CalibrationError for a booster of other
        features.
        """
        if not rows:
            return np.empty(0)
        logs_N = _booster(self.booster).predict(features(rows, self.levels), num_threads=1)
        return np.exp(np.maximum(np.asarray(logs_N, dtype=np.float64), 0.0))

    def to_json(self) -> dict[str, object]:
        """Return the core for a file."""
        return {
            "features_id": features_id(),
            "booster_sha256": hashlib.sha256(self.booster.encode()).hexdigest(),
            "booster": self.booster,
            "levels": {name: list(values) for name, values in self.levels.items()},
            "router": self.router.to_json(),
            "trained_groups": sorted(self.trained_groups),
        }

    @classmethod
    def from_json(cls, value: object, where: str = "estimator core") -> "EstimatorCore":
        """Return what `to_json` gave. Raises: CalibrationError naming the member that is wrong."""
        members = json_object(value, where)
        if json_text(members, "features_id", where) != features_id():
            raise CalibrationError(f"{where}: trained on other features: train it again")
        booster = json_text(members, "booster", where)
        digest = hashlib.sha256(booster.encode("utf-8", "surrogatepass")).hexdigest()
        if json_text(members, "booster_sha256", where) != digest:
            raise CalibrationError(f"{where}: the booster is not the one that was stored")
        levels = json_object(members.get("levels"), f"{where}: levels")
        return cls(
            booster=booster,
            levels={name: json_texts(levels, name, f"{where}: levels") for name in CATEGORIES},
            router=Router.from_json(members.get("router"), f"{where}: router"),
            trained_groups=frozenset(json_texts(members, "trained_groups", where)),
        )


@lru_cache(maxsize=8)
def _booster(text: str) -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigurationError(LIGHTGBM_MISSING) from error
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise CalibrationError(f"the estimator's booster cannot be read: {error}") from error
