"""Bounds for `candidate-ratio/1`, measured on honest endpoints, and what it would find.

Legend: N answers in order, F features.
"""

from dataclasses import dataclass, field

import numpy as np

from audit.errors import CalibrationError
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.text import calibrate, power
from audit.sweeps.text.detector_ratio import RATIO_ID, RatioScores, RatioSettings
from audit.sweeps.text.rank import text_grid
from audit.sweeps.text.ratio import temper_names

#: Answers of each candidate that are drawn where nobody recorded any.
_NUM_TRIED = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioCalibrator:
    """Bounds how well candidates explain honest answers."""

    tools: Tools
    settings: RatioSettings = field(default_factory=RatioSettings)
    attacks: HonestAnswers | None = None
    """Answers of substitutes, for the power; None draws them from the candidates."""

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return bounds that hold for all variants at once with probability 1 - error.

        Raises: CalibrationError, also where there is no candidate.
        """
        calibrate.check_error(error)
        names = sorted(self.tools.candidates)
        if not names:
            raise CalibrationError("no candidate substitute is at hand: name one")
        scores = RatioScores(self.tools)
        calibrate.require_answers(
            {name: len(calibrate.usable(probed, RATIO_ID)) for name, probed in honest.items()}
        )
        features = {name: scores.features(probed) for name, probed in sorted(honest.items())}
        num_tempers = len(temper_names())
        is_binary = [False] * (num_tempers * len(names)) + [True]
        bounds = calibrate.bounds_of(features, is_binary, error)
        weights = [1.0 / (num_tempers * len(names))] * (num_tempers * len(names)) + [0.0]
        pooled_NF = np.concatenate(list(features.values()))
        attacks = calibrate.attacks_on(
            self.attacks, honest, self.tools.candidates, RATIO_ID, most=_NUM_TRIED
        )
        attacked = {name: scores.features(probed) for name, probed in attacks.items()}
        table = {
            name: power.needed_requests(
                pooled_NF,
                values_NF,
                bounds_F=bounds,
                weights_F=weights,
                grid=text_grid(),
                log_threshold_nats=self.tools.log_threshold_nats,
                power=self.tools.power,
            )
            for name, values_NF in attacked.items()
        }
        return {
            "settings": self.settings.members(),
            "variants": {name: len(values_NF) for name, values_NF in features.items()},
            "bounds": {
                name: dict(
                    zip(
                        temper_names(), bounds[n * num_tempers : (n + 1) * num_tempers], strict=True
                    )
                )
                for n, name in enumerate(names)
            },
            "tellRate": bounds[-1],
            "tellRates": calibrate.tell_rates(
                {name: values_NF[:, -1] for name, values_NF in attacked.items()}, error
            ),
            "power": power.power_json(table),
        }
