"""How well attacks can be told from honest traffic at a number of tokens, by five statistics.

Method: sums over N tokens of honest and of attacked traffic, thousands of each; the area under the
ROC curve, and the share of attacked sums above what 1 % of the honest ones exceed. All five
statistics see the same tokens. Tokens are resampled singly, and again as whole exchanges.

Legend: S draws, C numbers of tokens, X statistics, K alternatives.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.study.arms import STATISTICS_X, Arm
from benchmarks.study.counting import (
    auc,
    auc_difference_error,
    auc_error,
    found_at_one_percent,
)
from benchmarks.study.walks import block_sums, mix_SR, resampled_sums

Float64Array = NDArray[np.float64]

NUM_TOKENS = (50, 100, 300, 1000, 3000)
TARGET_AUC = 0.99

#: Between the first and the last number of tokens, for curves and for the tokens to an AUC.
CHECKPOINTS_C = np.unique(
    np.concatenate([NUM_TOKENS, np.round(np.geomspace(10, 3000, 45))]).astype(np.int64)
)

OURS = "e_value"
NAMES = (*STATISTICS_X, OURS)

Scores = dict[str, Float64Array]


def scores(arm: Arm, num_draws: int, rng: np.random.Generator, *, whole: bool) -> Scores:
    """Return each statistic at each number of tokens, larger for worse, each of shape [S, C]."""
    values_ERX = np.concatenate([arm.statistics_ERX, arm.log_e_EKR.transpose(0, 2, 1)], axis=2)
    if whole:
        sums_SCX = block_sums(values_ERX, CHECKPOINTS_C, num_draws, rng)
    else:
        values_TX = values_ERX.reshape(-1, values_ERX.shape[2])
        sums_SCX = resampled_sums(values_TX, CHECKPOINTS_C, num_draws, rng)
    # sums in another order differ in their last bits; equal counts must stay ties
    found = {name: np.round(sums_SCX[:, :, x], 9) for x, name in enumerate(STATISTICS_X)}
    log_e_SKC = sums_SCX[:, :, len(STATISTICS_X) :].transpose(0, 2, 1)
    return {**found, OURS: mix_SR(log_e_SKC)}


def curve(honest: Scores, attacked: Scores) -> dict[str, list[float]]:
    """Return the AUC of each statistic at each of `CHECKPOINTS_C`."""
    return {
        name: [auc(honest[name][:, c], attacked[name][:, c]) for c in range(len(CHECKPOINTS_C))]
        for name in NAMES
    }


def table(honest: Scores, attacked: Scores) -> list[dict[str, Any]]:
    """Return AUC and share found at each of `NUM_TOKENS`."""
    rows = []
    for num_tokens in NUM_TOKENS:
        c = int(np.searchsorted(CHECKPOINTS_C, num_tokens))
        pairs = {name: (honest[name][:, c], attacked[name][:, c]) for name in NAMES}
        rows.append(
            {
                "num_tokens": num_tokens,
                "auc": {name: auc(*pair) for name, pair in pairs.items()},
                "found_at_1pct": {n: found_at_one_percent(*pair) for n, pair in pairs.items()},
                "auc_error": auc_error(*pairs[OURS]),
                "auc_gain_error": {
                    name: auc_difference_error(pairs[OURS], pairs[name]) for name in STATISTICS_X
                },
            }
        )
    return rows


def tokens_to(aucs_C: list[float], target: float = TARGET_AUC) -> float | None:
    """Return the tokens from which on the AUC stays at the target, interpolated in their log."""
    below = np.flatnonzero(np.asarray(aucs_C) < target)
    if len(below) == 0:
        return float(CHECKPOINTS_C[0])
    last = int(below[-1])
    if last + 1 == len(aucs_C):
        return None
    step = (target - aucs_C[last]) / (aucs_C[last + 1] - aucs_C[last])
    low, high = (math.log(CHECKPOINTS_C[i]) for i in (last, last + 1))
    return math.exp(low + step * (high - low))


def attack_row(
    arm: Arm, against: Arm, honest: Scores, num_draws: int, rng: np.random.Generator, *, whole: bool
) -> dict[str, Any]:
    """Return everything about one attack held against one honest arm."""
    attacked = scores(arm, num_draws, rng, whole=whole)
    aucs = curve(honest, attacked)
    return {
        "arm": arm.name,
        "label": arm.label,
        "against": against.name,
        "resampled": "exchanges" if whole else "tokens",
        "num_draws": num_draws,
        "cells": table(honest, attacked),
        "tokens_to_auc_99": {name: tokens_to(values) for name, values in aucs.items()},
        "curve": aucs,
    }
