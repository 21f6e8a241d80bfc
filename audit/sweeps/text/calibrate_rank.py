"""Bounds for `conformal-rank/1`, measured on honest endpoints, and what it would find.

Legend: N answers in order, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.sweep_records import Probed
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.text import calibrate, power
from audit.sweeps.text.detector_rank import (
    FEATURE_NAMES,
    FEATURE_WEIGHTS,
    NUM_JUDGED,
    RANK_ID,
    SCORES,
    TELL_FEATURE,
    Ranker,
    RankSettings,
)
from audit.sweeps.text.rank import IS_BINARY, features_of, text_grid

Float64Array = NDArray[np.float64]

#: Answers of each candidate that are drawn where nobody recorded any.
_NUM_TRIED = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCalibrator:
    """Bounds how far ranks of honest endpoints are from uniform."""

    tools: Tools
    settings: RankSettings = field(default_factory=RankSettings)
    attacks: HonestAnswers | None = None
    """Answers of substitutes, for the power; None draws them from the candidates."""

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return bounds that hold for all variants at once with probability 1 - error.

        Raises: CalibrationError.
        """
        calibrate.check_error(error)
        ranker = Ranker(self.tools, self.settings)
        features = {name: _features(ranker, probed) for name, probed in honest.items()}
        calibrate.require_answers({name: len(f[SCORES[0]]) for name, f in features.items()})
        bounds = {
            score: calibrate.bounds_of(
                {name: by_score[score] for name, by_score in features.items()},
                [IS_BINARY[name] for name in FEATURE_NAMES],
                error / len(SCORES),
            )
            for score in SCORES
        }
        pooled_NF = np.concatenate([_judged(by_score) for by_score in features.values()])
        attacks = calibrate.attacks_on(
            self.attacks, honest, self.tools.candidates, RANK_ID, most=_NUM_TRIED
        )
        attacked = {name: _judged(_features(ranker, probed)) for name, probed in attacks.items()}
        table = {
            name: power.needed_requests(
                pooled_NF,
                values_NF,
                bounds_F=[bound for score in SCORES[:NUM_JUDGED] for bound in bounds[score]],
                weights_F=[weight / NUM_JUDGED for weight in FEATURE_WEIGHTS * NUM_JUDGED],
                grid=text_grid(),
                log_threshold_nats=self.tools.log_threshold_nats,
                power=self.tools.power,
            )
            for name, values_NF in attacked.items()
        }
        return {
            "settings": self.settings.members(),
            "variants": {name: len(f[SCORES[0]]) for name, f in sorted(features.items())},
            "bounds": {s: dict(zip(FEATURE_NAMES, bounds[s], strict=True)) for s in SCORES},
            "tellRates": calibrate.tell_rates(
                {name: values_NF[:, TELL_FEATURE] for name, values_NF in attacked.items()}, error
            ),
            "power": power.power_json(table),
        }


def _features(ranker: Ranker, probed: Sequence[Probed]) -> dict[str, Float64Array]:
    ranks = ranker.ranks(calibrate.usable(probed, RANK_ID))
    return {score: features_of(ranks[score]) for score in SCORES}


def _judged(by_score: Mapping[str, Float64Array]) -> Float64Array:
    return np.concatenate([by_score[score] for score in SCORES[:NUM_JUDGED]], axis=1)
