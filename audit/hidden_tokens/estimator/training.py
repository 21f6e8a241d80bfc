"""Learns to estimate counts from reference data, then measures its errors on other questions.

Legend: N rows.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from audit.errors import CalibrationError, ConfigurationError
from audit.hidden_tokens.conformal import Residuals, log_score
from audit.hidden_tokens.estimator.cells import EstimatorRow, effective_num
from audit.hidden_tokens.estimator.core import LIGHTGBM_MISSING, EstimatorCore
from audit.hidden_tokens.estimator.features import CATEGORIES, feature_names, features
from audit.hidden_tokens.estimator.predict import CalibratedCell, Estimator
from audit.hidden_tokens.estimator.router import train_router

#: A booster of fewer rows would hardly differ from a constant.
MIN_TRAINING = 200
#: Rows of a cell below which nothing is said about its requests.
MIN_CELL = 30
#: Questions of a cell; below 19 of them no 90 % interval would hold for a new question.
MIN_CELL_GROUPS = 20

_NUM_TREES = 250
# chosen by cross-fitting inside the training part; the result hardly depends on them
_PARAMETERS = {
    "objective": "quantile",
    "alpha": 0.5,
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def train_estimator(
    rows: Sequence[EstimatorRow], seed: int, *, num_trees: int = _NUM_TREES
) -> EstimatorCore:
    """Return a booster of the median log count, with a router; the same for the same rows and seed.

    Raises: CalibrationError for too few rows; ConfigurationError without LightGBM.
    """
    if len(rows) < MIN_TRAINING:
        raise CalibrationError(
            f"{len(rows)} training requests are too few: give at least {MIN_TRAINING}, best 200 "
            "for each model, domain and effort"
        )
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigurationError(LIGHTGBM_MISSING) from error
    levels = {name: tuple(sorted({getattr(row, name) for row in rows})) for name in CATEGORIES}
    logs_N = np.array([math.log(max(row.num_tokens, 1)) for row in rows])
    data = lightgbm.Dataset(
        features(rows, levels),
        logs_N,
        feature_name=[f"f{index}" for index in range(len(feature_names()))],
        categorical_feature=list(range(len(CATEGORIES))),
    )
    booster = lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_trees)
    return EstimatorCore(
        booster=booster.model_to_string(),
        levels=levels,
        router=train_router([row.prompt for row in rows], [row.domain for row in rows]),
        trained_groups=frozenset(_group_digest(row) for row in rows),
    )


def calibrate_estimator(
    core: EstimatorCore,
    rows: Sequence[EstimatorRow],
    *,
    delta: float = 0.001,
    confidence: float = 0.9,
    min_cell: int = MIN_CELL,
    min_groups: int = MIN_CELL_GROUPS,
    calibration_id: str = "",
) -> Estimator:
    """Return the estimator with the errors of each cell.

    Counts that a middleman made are no meter readings and form no cell. Raises: CalibrationError
    for rows whose question the core was trained on (its errors there are too small), and where no
    cell has enough rows.
    """
    _require_unseen(core, rows)
    of_cell: dict[str, list[tuple[EstimatorRow, float]]] = defaultdict(list)
    readings = [row for row in rows if not row.is_aggregator]
    for row, median_tokens in zip(readings, core.median_tokens(readings), strict=True):
        of_cell[row.cell].append((row, float(median_tokens)))
    cells, small_cells = {}, {}
    for name, pairs in of_cell.items():
        sizes = Counter(row.group for row, _ in pairs)
        if len(pairs) >= min_cell and len(sizes) >= min_groups:
            cells[name] = _calibrated(pairs, effective_num(sizes.values()))
        else:
            small_cells[name] = len(pairs)
    if not cells:
        raise CalibrationError(
            f"no model, domain and effort has {min_cell} calibration requests on {min_groups} "
            "questions: record more honest requests"
        )
    return Estimator(
        core=core,
        cells=cells,
        small_cells=small_cells,
        delta=delta,
        confidence=confidence,
        calibration_id=calibration_id,
    )


def _calibrated(
    pairs: Sequence[tuple[EstimatorRow, float]], effective_groups: float
) -> CalibratedCell:
    billed = sum(row.num_tokens for row, _ in pairs)
    estimated = sum(median_tokens for _, median_tokens in pairs)
    return CalibratedCell(
        residuals=Residuals.of(log_score(row.num_tokens, median) for row, median in pairs),
        effective_groups=effective_groups,
        mean_factor=max(billed, 1) / estimated,
    )


def _require_unseen(core: EstimatorCore, rows: Iterable[EstimatorRow]) -> None:
    num_seen = sum(_group_digest(row) in core.trained_groups for row in rows)
    if num_seen:
        raise CalibrationError(
            f"{num_seen} calibration requests are on questions of the training part: split by "
            "question, so that no question is in both"
        )


def _group_digest(row: EstimatorRow) -> str:
    return hashlib.sha256(row.group.encode("utf-8", "surrogatepass")).hexdigest()[:16]
