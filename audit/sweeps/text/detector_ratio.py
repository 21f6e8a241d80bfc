"""Detector `candidate-ratio/1`: whether a known substitute explains the answers better.

Every answer is scored under the claimed model and under each candidate at hand. The evidence bets
on the ratios, the honest mean of which the calibration bounds; the ratios themselves bound the
share of requests that a candidate answered, and rank the candidates.

Unlike the other text detectors it keeps the white space around answers, and takes the tokens that
an endpoint states if they spell its text: only the likelihood of what was really drawn bounds the
share.

Legend: N answers in order, C candidates, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.judge.substitution import KnownSubstitute
from audit.records import SamplingRequest
from audit.sweep_records import (
    Candidate,
    Endpoint,
    Probe,
    Probed,
    ProbeKind,
    Reading,
    ReadingStatus,
)
from audit.sweeps.detector import Section, Tools
from audit.sweeps.probe import make_probe
from audit.sweeps.text import calibrate, power, samples
from audit.sweeps.text.likelihood import Scorer
from audit.sweeps.text.ratio import TELL_NATS, temper_names, tempered

Float64Array = NDArray[np.float64]

RATIO_ID = "candidate-ratio/1"

#: Largest |log ratio| of one answer in the bounds on the share: honest arithmetic differs a little.
_MOST_NATS = 8.0

#: Error of each candidate's two-sided bounds on the share, at all looks together.
_SHARE_ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioSettings:
    """How long answers are; a calibration holds for its own settings only."""

    max_tokens: int = 128

    def members(self) -> dict[str, object]:
        """Return the settings as JSON members."""
        return {"maxTokens": self.max_tokens}


class CandidateRatio:
    """Compares likelihoods under the claimed model and under candidates; see the module."""

    detector_id = RATIO_ID
    tier = 3

    def __init__(
        self, tools: Tools, section: Section | None = None, settings: RatioSettings | None = None
    ) -> None:
        """Raises: CalibrationError for a section that is not one of this detector."""
        self._tools = tools
        self._settings = settings or RatioSettings()
        self._scores = RatioScores(tools)
        self._bounds = None if section is None else _read_section(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return one probe a prompt at temperature 1; fewer where the texts are used up."""
        prompts = samples.cut_prompts(
            self._tools.reference,
            self._tools.texts,
            endpoint.api,
            seed,
            num_prompts=num_probes,
            max_tokens=self._settings.max_tokens,
        )
        return tuple(
            make_probe(
                kind=ProbeKind.TEXT,
                detector=RATIO_ID,
                group=f"prompt-{number}",
                api=endpoint.api,
                prompt=prompt,
                sampling=SamplingRequest(
                    # the law of an answer is the model's own only at temperature 1, without filters
                    temperature=1.0,
                    top_p=1.0,
                    top_k=0,
                    seed=samples.derived_seed(seed, f"sent {number}"),
                    max_tokens=self._settings.max_tokens,
                ),
            )
            for number, prompt in enumerate(prompts)
        )

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return the evidence of the answers so far."""
        if self._bounds is None:
            return self._silent(
                ReadingStatus.UNCALIBRATED,
                "no bundle says how honest answers compare with candidates for this model",
                len(probed),
            )
        names = sorted(set(self._bounds.by_candidate) & set(self._tools.candidates))
        if not names:
            return self._silent(
                ReadingStatus.NOT_APPLICABLE,
                "none of the candidates that the bundle was calibrated for is at hand",
                len(probed),
            )
        used = calibrate.usable(probed, RATIO_ID)
        if not used:
            return self._silent(
                ReadingStatus.TOO_LITTLE, "no answer with text came back", len(probed)
            )
        return self._reading(used, len(probed), names, self._bounds)

    def _silent(self, status: ReadingStatus, reason: str, num_sent: int) -> Reading:
        return Reading(
            detector=RATIO_ID, tier=self.tier, status=status, reason=reason, num_sent=num_sent
        )

    def _reading(
        self, used: Sequence[Probed], num_sent: int, names: Sequence[str], bounds: "_Bounds"
    ) -> Reading:
        honest_N = self._scores.log_likelihood(None, used)
        likelihoods = {name: self._scores.log_likelihood(name, used) for name in names}
        ratios = {name: likelihoods[name] - honest_N for name in names}
        weights = [1.0 / len(temper_names())] * len(temper_names())
        log_e = {
            name: calibrate.log_e_process(
                tempered(ratios[name]), bounds.by_candidate[name], weights
            )
            for name in names
        }
        total_N = np.logaddexp.reduce([log_e[name] for name in names]) - np.log(len(names))
        tells_N = np.max([ratios[name] for name in names], axis=0) >= TELL_NATS
        statistics = [
            item
            for name in names
            for item in (
                (f"log_e_nats:{name}", float(log_e[name][-1])),
                (f"mean_log_ratio_nats:{name}", float(ratios[name].mean())),
                *_share_bounds(name, ratios[name]),
            )
        ]
        explained = [("honest", honest_N), *likelihoods.items()]
        return Reading(
            detector=RATIO_ID,
            tier=self.tier,
            status=ReadingStatus.READ,
            log_e_nats_N=tuple(float(value) for value in total_N),
            tells="".join("1" if tell else "0" for tell in tells_N),
            honest_tell_rate=bounds.tell_rate,
            num_sent=num_sent,
            num_used=len(used),
            statistics=(*statistics, *calibrate.tell_statistics(bounds.tell_rates)),
            candidates=tuple(
                Candidate(name=name, log_likelihood_nats=float(values_N.sum()))
                for name, values_N in explained
            ),
            visible=power.visible(bounds.power, len(used), power=self._tools.power),
            notes=("Bounds on the share hold for the named candidate as the only substitute.",),
        )


class RatioScores:
    """Log-likelihoods of answers under the claimed model and its candidates."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._claimed = Scorer(tools.reference)
        self._candidates = {name: Scorer(model) for name, model in tools.candidates.items()}

    def log_likelihood(self, candidate: str | None, used: Sequence[Probed]) -> Float64Array:
        """Return each answer's log-likelihood in nats, shape [N]; None is the claimed model.

        Raises: BadSequence.
        """
        scorer = self._claimed if candidate is None else self._candidates[candidate]
        values = []
        for item in used:
            token_ids = samples.prompt_token_ids(self._tools.reference, item.probe.prompt)
            output_ids = samples.answer_token_ids(self._tools.reference, item.answer)
            values.append(scorer.log_likelihood(token_ids, output_ids))
        return np.asarray(values, dtype=np.float64)

    def features(self, probed: Sequence[Probed]) -> Float64Array:
        """Return the tempered ratios of all candidates and the tell, shape [N, C F + 1]."""
        used = calibrate.usable(probed, RATIO_ID)
        honest_N = self.log_likelihood(None, used)
        ratios = [self.log_likelihood(name, used) - honest_N for name in sorted(self._candidates)]
        tell_N = np.max(ratios, axis=0) >= TELL_NATS
        return np.concatenate([*map(tempered, ratios), tell_N[:, None]], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    by_candidate: Mapping[str, Sequence[float]]
    tell_rate: float
    tell_rates: Mapping[str, float]
    power: power.PowerTable


def _share_bounds(name: str, ratio_N: Float64Array) -> tuple[tuple[str, float], tuple[str, float]]:
    state = KnownSubstitute.fresh(_SHARE_ALPHA)
    for ratio in np.clip(ratio_N, -_MOST_NATS, _MOST_NATS):
        state = state.after(float(ratio))
    return (f"share_low:{name}", state.lower), (f"share_high:{name}", state.upper)


def _read_section(section: Section, settings: RatioSettings) -> _Bounds:
    reader = calibrate.SectionReader(section, RATIO_ID)
    reader.members("settings", "variants", "bounds", "tellRate", "tellRates", "power")
    reader.settings(settings.members())
    bounds = reader.nested("bounds")
    return _Bounds(
        by_candidate={
            name: bounds.rates(name, temper_names()) for name in sorted(reader.mapping("bounds"))
        },
        tell_rate=reader.number("tellRate", 0.0, 1.0),
        tell_rates=reader.tell_rates(),
        power=power.read_power(reader),
    )
