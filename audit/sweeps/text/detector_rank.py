"""Detector `conformal-rank/1`: where an answer stands among fresh local answers to its prompt.

For each prompt the reference draws its own answers with a seed that the plan holds, once an
endpoint's answer is there to be ranked among them: an endpoint that was decided before costs
nothing. Answers are ranked by mean log-likelihood and by mean log-rank under the reference; ranks
of honest endpoints are uniform up to what their arithmetic changes, which the calibration bounds.
Lengths are ranked too and only reported: servers end answers in ways that say nothing about the
model.

Legend: N answers in order, M local answers, F features.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.records import Prompt, SamplingRequest
from audit.sweep_records import Endpoint, Probe, Probed, ProbeKind, Reading, ReadingStatus
from audit.sweeps.detector import Section, Tools
from audit.sweeps.probe import make_probe
from audit.sweeps.text import calibrate, power, samples
from audit.sweeps.text.likelihood import Scorer, TextScore
from audit.sweeps.text.memory import PerModel
from audit.sweeps.text.rank import FEATURES, conformal_rank, features_of

Float64Array = NDArray[np.float64]

RANK_ID = "conformal-rank/1"

#: What answers are ranked by; the first two carry the evidence, half each.
SCORES = ("log-likelihood", "log-rank", "length")
NUM_JUDGED = 2

FEATURE_NAMES = tuple(name for name, _ in FEATURES)
FEATURE_WEIGHTS = tuple(weight for _, weight in FEATURES)

#: The sign that honest answers show seldom: among the unlikeliest of its prompt by the first score.
TELL_FEATURE = FEATURE_NAMES.index("low-0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSettings:
    """How many answers of what length; a calibration holds for its own settings only."""

    num_local: int = 10
    max_tokens: int = 24
    temperature: float = 1.0

    def members(self) -> dict[str, object]:
        """Return the settings as JSON members."""
        return {
            "numLocal": self.num_local,
            "maxTokens": self.max_tokens,
            "temperature": self.temperature,
        }


class ConformalRank:
    """Bets on ranks that should be uniform; see the module."""

    detector_id = RANK_ID
    tier = 3

    def __init__(
        self, tools: Tools, section: Section | None = None, settings: RankSettings | None = None
    ) -> None:
        """Raises: CalibrationError for a section that is not one of this detector."""
        self._tools = tools
        self._settings = settings or RankSettings()
        self._ranker = Ranker(tools, self._settings)
        self._bounds = None if section is None else _read_section(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return probes with the seeds of local answers; fewer where the texts are used up."""
        settings = self._settings
        prompts = samples.cut_prompts(
            self._tools.reference,
            self._tools.texts,
            endpoint.api,
            seed,
            num_prompts=num_probes,
            max_tokens=settings.max_tokens,
        )
        return tuple(
            make_probe(
                kind=ProbeKind.TEXT,
                detector=RANK_ID,
                group=f"prompt-{number}",
                api=endpoint.api,
                prompt=prompt,
                sampling=SamplingRequest(
                    temperature=settings.temperature,
                    top_p=1.0,
                    top_k=0,
                    seed=samples.derived_seed(seed, f"sent {number}"),
                    max_tokens=settings.max_tokens,
                ),
                expected={"localSeed": samples.secret_seed(seed, f"local {number}")},
            )
            for number, prompt in enumerate(prompts)
        )

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return the evidence of the answers so far."""
        if self._bounds is None:
            return Reading(
                detector=RANK_ID,
                tier=self.tier,
                status=ReadingStatus.UNCALIBRATED,
                reason="no bundle says how honest answers rank for this model",
                num_sent=len(probed),
            )
        used = calibrate.usable(probed, RANK_ID)
        if not used:
            return Reading(
                detector=RANK_ID,
                tier=self.tier,
                status=ReadingStatus.TOO_LITTLE,
                reason="no answer with text came back",
                num_sent=len(probed),
                visible=power.visible(self._bounds.power, 0, power=self._tools.power),
            )
        return self._reading(used, len(probed), self._bounds)

    def ranks(self, used: Sequence[Probed]) -> dict[str, list[float]]:
        """Return each answer's rank by each score, in order. Raises: BadSequence."""
        return self._ranker.ranks(used)

    def _reading(self, used: Sequence[Probed], num_sent: int, bounds: "_Bounds") -> Reading:
        ranks = self.ranks(used)
        log_e: dict[str, Float64Array] = {
            score: calibrate.log_e_process(
                features_of(ranks[score]), bounds.by_score[score], FEATURE_WEIGHTS
            )
            for score in SCORES
        }
        judged = [log_e[score] for score in SCORES[:NUM_JUDGED]]
        total_N = np.logaddexp.reduce(judged) - np.log(NUM_JUDGED)
        tells_N = features_of(ranks[SCORES[0]])[:, TELL_FEATURE]
        statistics = [
            (f"{name}:{score}", value)
            for score in SCORES
            for name, value in (
                ("log_e_nats", float(log_e[score][-1])),
                ("mean_rank", float(np.mean(ranks[score]))),
            )
        ]
        return Reading(
            detector=RANK_ID,
            tier=self.tier,
            status=ReadingStatus.READ,
            log_e_nats_N=tuple(float(value) for value in total_N),
            tells="".join("1" if tell else "0" for tell in tells_N),
            honest_tell_rate=bounds.by_score[SCORES[0]][TELL_FEATURE],
            num_sent=num_sent,
            num_used=len(used),
            statistics=(*statistics, *calibrate.tell_statistics(bounds.tell_rates)),
            visible=power.visible(bounds.power, len(used), power=self._tools.power),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    by_score: Mapping[str, Sequence[float]]
    tell_rates: Mapping[str, float]
    power: power.PowerTable


def scores_of(score: TextScore) -> list[float]:
    """Return what an answer is ranked by, in the order of `SCORES`; low means unlike the model."""
    # equal answers tie on every machine, whatever the last bits of its sums
    return [
        round(score.mean_logprob_nats, 5),
        round(-score.mean_log_rank, 5),
        float(score.num_characters),
    ]


_LocalKey = tuple[str, Prompt, RankSettings]
_LOCAL: PerModel[_LocalKey, tuple[tuple[float, ...], ...]] = PerModel()


class Ranker:
    """Ranks answers among local ones; all rankers of a model share those."""

    def __init__(self, tools: Tools, settings: RankSettings) -> None:
        self._reference = tools.reference
        self._settings = settings
        self._scorer = Scorer(tools.reference)
        self._local = _LOCAL.of(tools.reference)

    def ranks(self, used: Sequence[Probed]) -> dict[str, list[float]]:
        """Return each answer's rank by each score, in order. Raises: BadSequence."""
        ranks: dict[str, list[float]] = {score: [] for score in SCORES}
        for item in used:
            token_ids = samples.prompt_token_ids(self._reference, item.probe.prompt)
            text = samples.answer_text(item.answer) or ""
            own = scores_of(self._scorer.score(token_ids, text))
            local_M3 = np.asarray(self._local_scores(item.probe), dtype=np.float64)
            for column, score in enumerate(SCORES):
                uniform = _uniform(item.probe.probe_id, score)
                ranks[score].append(conformal_rank(own[column], local_M3[:, column], uniform))
        return ranks

    def _local_scores(self, probe: Probe) -> tuple[tuple[float, ...], ...]:
        seed = str(json.loads(probe.expected_json)["localSeed"])
        return self._local.get((seed, probe.prompt, self._settings), lambda: self._drawn(probe))

    def _drawn(self, probe: Probe) -> tuple[tuple[float, ...], ...]:
        settings = self._settings
        token_ids = samples.prompt_token_ids(self._reference, probe.prompt)
        # one prompt a pass: whatever was read before, the same answers come out
        (answers,) = samples.draw_answers(
            self._reference,
            [probe.prompt],
            bytes.fromhex(json.loads(probe.expected_json)["localSeed"]),
            per_prompt=settings.num_local,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
        )
        return tuple(tuple(scores_of(self._scorer.score(token_ids, text))) for text in answers)


def _uniform(probe_id: str, score: str) -> float:
    """Return a number in [0, 1) that splits ties; the endpoint cannot know it."""
    digest = hashlib.sha256(f"{probe_id} {score}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2.0**48


def _read_section(section: Section, settings: RankSettings) -> _Bounds:
    reader = calibrate.SectionReader(section, RANK_ID)
    reader.members("settings", "variants", "bounds", "tellRates", "power")
    reader.settings(settings.members())
    bounds = reader.nested("bounds").members(*SCORES)
    return _Bounds(
        by_score={score: bounds.rates(score, FEATURE_NAMES) for score in SCORES},
        tell_rates=reader.tell_rates(),
        power=power.read_power(reader),
    )
