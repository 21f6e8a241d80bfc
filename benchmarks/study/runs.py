"""The parts of the study, in order, over one set of arms.

Method: each part draws from its own random numbers, seeded by its name, so that leaving one out or
adding one changes no other.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.judge.calibration import Calibration
from audit.judge.policy import Policy
from audit.judge.power import PowerCurve
from benchmarks.study import decisions, detection, false_alarms, mixtures, noise_levels
from benchmarks.study.arms import (
    ATTACKS,
    HONEST,
    MARGINAL_CALIBRATION,
    STATISTICS_X,
    Weigher,
    joined,
    statistics_of,
)
from benchmarks.study.marginal import CONFIDENCE, long_thresholds, upper_tolerance_bound
from benchmarks.study.sizes import Size
from benchmarks.study.walks import draw_exchanges, paths

#: The honest arm of the attacks' prompts and temperatures; flipped tokens are greedy, and held
#: against the greedy honest arm as well.
AGAINST = "honest-code"
ALSO_AGAINST = (("flipped-1pct", "honest-other-text-t0"),)

#: Streams drawn in the figure of evidence: of each honest arm, and for the median of an attack.
_NUM_HONEST_PATHS = 4
_NUM_PATHS = 60


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def fairest_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each attack held against the honest arm nearest to it in kind, tokens resampled."""
    nearest = dict(ALSO_AGAINST)
    return [
        row
        for row in rows
        if row["resampled"] == "tokens" and row["against"] == nearest.get(row["arm"], AGAINST)
    ]


class Study:
    """All arms, weighed, and what is done with them."""

    def __init__(
        self, calibration: Calibration, policy: Policy, recordings: Path, size: Size
    ) -> None:
        self._policy = policy
        self._size = size
        self._weigher = Weigher(calibration, policy, recordings, size.num_exchanges)
        self._arms = {name: self._weigher.arm(name) for name in (*HONEST, *ATTACKS)}
        self._honest = [self._arms[name] for name in HONEST]
        self._mixed = joined("honest-all", "all honest together", self._honest)
        self._attacks = [self._arms[name] for name in ATTACKS]

    @property
    def num_tokens_each(self) -> int:
        """Number of tokens of each exchange."""
        return self._mixed.num_tokens_each

    def false_alarms(self) -> dict[str, Any]:
        """Return how often honest traffic is failed."""
        size, threshold = self._size, self._policy.log_threshold_nats
        means_E = self._marginal_calibration()
        rate = self._policy.false_alarm_rate
        marginal = upper_tolerance_bound(means_E, rate=rate, confidence=CONFIDENCE)
        long = long_thresholds(
            means_E,
            size.num_stream_tokens // self.num_tokens_each,
            rate,
            10 * size.num_streams,
            _rng("marginal"),
        )
        arms = [*self._honest, self._mixed]
        return {
            "marginal_threshold_logits": marginal,
            "marginal_long_thresholds_logits": long,
            "marginal_streams": [
                false_alarms.marginal_stream_row(a, size, long, _rng(f"marginal {a.name}"))
                for a in arms
            ],
            "exchanges": [false_alarms.exchange_row(a, threshold, marginal) for a in arms],
            "streams": [
                false_alarms.stream_row(a, size, threshold, _rng(f"streams {a.name}")) for a in arms
            ],
            "providers": [
                false_alarms.provider_row(a, size, threshold, _rng(f"providers {a.name}"))
                for a in arms
            ],
            "boundary": false_alarms.boundary(
                self._mixed,
                self._weigher.law,
                self._weigher.bounds,
                size,
                threshold,
                _rng("boundary"),
            ),
        }

    def _marginal_calibration(self) -> NDArray[np.float64]:
        """Return the published statistic of each exchange that the marginal threshold rests on."""
        exchanges = self._weigher.replayed(MARGINAL_CALIBRATION, self._size.num_marginal_exchanges)
        column = STATISTICS_X.index("published")
        return np.array([statistics_of(x.evidence)[:, column].mean() for x in exchanges])

    def detection(self) -> list[dict[str, Any]]:
        """Return how well each attack is told from honest traffic."""
        rows = []
        num_draws = self._size.num_draws
        pairs = [(name, AGAINST) for name in ATTACKS] + list(ALSO_AGAINST)
        for whole in (False, True):
            kind = "exchanges" if whole else "tokens"
            honest = {
                name: detection.scores(
                    self._arms[name], num_draws, _rng(f"{kind} {name}"), whole=whole
                )
                for name in {against for _, against in pairs}
            }
            rows += [
                detection.attack_row(
                    self._arms[name],
                    self._arms[against],
                    honest[against],
                    num_draws,
                    _rng(f"{kind} {name}"),
                    whole=whole,
                )
                for name, against in pairs
            ]
        return rows

    def decisions(self) -> tuple[dict[str, Any], list[PowerCurve], list[int]]:
        """Return what a FAIL takes, and the power curves with their numbers of tokens."""
        size, threshold = self._size, self._policy.log_threshold_nats
        num_tokens = [n for n in decisions.POWER_TOKENS if n <= size.num_cap_tokens]
        rows, curves = [], []
        for arm in self._attacks:
            first_S = decisions.first_tokens(arm, size, threshold, _rng(f"fail {arm.name}"))
            rows.append(decisions.token_row(arm, first_S, size.num_cap_tokens))
            curves.append(decisions.power_curve(arm, first_S, num_tokens))
        providers = [
            decisions.provider_row(arm, size, threshold, _rng(f"fail provider {arm.name}"))
            for arm in self._attacks
        ]
        found = {
            "num_cap_tokens": size.num_cap_tokens,
            "tokens": rows,
            "providers": providers,
            "power": [
                {"arm": c.attack, "num_tokens": num_tokens, "power": list(c.power)} for c in curves
            ],
        }
        return found, curves, num_tokens

    def mixtures(self) -> tuple[list[dict[str, Any]], ...]:
        """Return what is found where only some exchanges are substituted."""
        honest, other = self._arms[AGAINST], self._arms["checkpoint-other"]
        size, policy = self._size, self._policy
        return (
            mixtures.share_rows(honest, other, policy, size, _rng("shares")),
            mixtures.sticky_rows(honest, other, size, _rng("sticky")),
            mixtures.known_rows(policy, size, _rng("known substitute")),
        )

    def noise(self) -> dict[str, Any]:
        """Return the effective noise of each arm, and what could be seen."""
        return {
            "arms": [
                noise_levels.noise_row(a) for a in (*self._honest, self._mixed, *self._attacks)
            ],
            "detectable": noise_levels.detectable_rows(
                self._arms[AGAINST], self._weigher.law, self._policy
            ),
        }

    def draw(self, results: dict[str, Any], out: Path) -> None:
        """Draw the figures."""
        from benchmarks.study import plots

        plots.draw_auc(fairest_rows(results["detection"]), out)
        alarms = results["false_alarms"]
        plots.draw_false_alarms(
            alarms["exchanges"], alarms["marginal_streams"], alarms["streams"], out
        )
        shown = {}
        for arms, count in ((self._honest, _NUM_HONEST_PATHS), (self._attacks, _NUM_PATHS)):
            for arm in arms:
                picks = draw_exchanges(
                    _rng(f"path {arm.name}"), count, arm.num_exchanges, 3000, arm.num_tokens_each
                )
                shown[arm.label] = paths(arm.log_e_EKR, picks) / math.log(10)
        honest = {arm.label: shown[arm.label] for arm in self._honest}
        attacks = {arm.label: shown[arm.label] for arm in self._attacks}
        threshold = self._policy.log_threshold_nats / math.log(10)
        plots.draw_evidence(honest, attacks, threshold, out)
