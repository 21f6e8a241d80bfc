"""Two detectors on distances of log-probabilities: `logprob-kl/1` and `logprob-tracking/1`.

The first asks many prompts once for answers of a few tokens and takes the divergence from the
teacher-forced reference. The second asks few prompts several times for one token and takes the mean
difference of mean log-probabilities: cheaper, and blind to what shows only later in an answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.judge.intervals import lower_limit
from audit.sweep_records import (
    Candidate,
    Endpoint,
    Probe,
    Probed,
    Reading,
    ReadingStatus,
    Visible,
)
from audit.sweeps.detector import Section, Tools
from audit.sweeps.logprobs.compare import Aligned, Scorer
from audit.sweeps.logprobs.law import DistanceLaw, read_law, uniform_log_likelihood
from audit.sweeps.logprobs.measure import Measured, measure_kl, measure_tracking
from audit.sweeps.logprobs.plan import (
    KL_ID,
    TRACKING_ID,
    LogprobSettings,
    plan_kl,
    plan_tracking,
)
from audit.sweeps.logprobs.prompts import generator
from audit.sweeps.logprobs.sections import check_members
from audit.sweeps.logprobs.visible import describe, requests_needed, smallest_share

_NO_LOGPROBS = "The endpoint gives no log-probabilities, so nothing can be said with them."


#: Distances of candidates that are kept from look to look.
_MAX_REMEMBERED = 20_000

#: Error of how often the candidates show a tell, all together.
_TELL_RATE_ERROR = 0.05

#: By candidate and answer, the distance had the candidate given its log-probabilities.
Memory = dict[str, dict[Aligned, float | None]]


class LogprobKl:
    """Reads how far returned log-probabilities are from the reference's."""

    detector_id = KL_ID
    tier = 2

    def __init__(
        self,
        tools: Tools,
        section: Section | None = None,
        settings: LogprobSettings | None = None,
    ) -> None:
        """Raises: CalibrationError for a section that is malformed or of other settings."""
        self._tools = tools
        self._settings = settings or LogprobSettings()
        self._scorers = scorers(tools)
        self._memory: Memory = {}
        self._law = None if section is None else kl_law(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return sampled requests for a few tokens, each with a prompt of its own."""
        return plan_kl(endpoint, self._tools.texts, seed, num_probes, self._settings)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return what the answers' divergences say."""
        return read_distances(
            Reading(detector=KL_ID, tier=self.tier, status=ReadingStatus.READ),
            endpoint,
            probed,
            Distances(self._tools, self._law, self._scorers, measure_kl, self._memory),
        )


class LogprobTracking:
    """Reads how far one token's mean log-probabilities are from the reference's.

    A value of evidence stands for each usable answer, and changes once a prompt has all its
    answers; `tells` has one character a prompt, as answers to one prompt are no independent signs.
    """

    detector_id = TRACKING_ID
    tier = 2

    def __init__(
        self,
        tools: Tools,
        section: Section | None = None,
        settings: LogprobSettings | None = None,
        series_seed: bytes | None = None,
    ) -> None:
        """With `series_seed`, every run asks the same prompts, as comparing two times needs.

        Raises: CalibrationError for a section that is malformed or of other settings.
        """
        self._tools = tools
        self._settings = settings or LogprobSettings()
        self._series_seed = series_seed
        self._scorers = scorers(tools)
        self._memory: Memory = {}
        self._law = None if section is None else tracking_law(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return one-token requests, several to each prompt."""
        chosen = seed if self._series_seed is None else self._series_seed
        return plan_tracking(endpoint, self._tools.texts, chosen, num_probes, self._settings)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return what the prompts' mean log-probabilities say."""
        return read_distances(
            Reading(detector=TRACKING_ID, tier=self.tier, status=ReadingStatus.READ),
            endpoint,
            probed,
            Distances(self._tools, self._law, self._scorers, measure_tracking, self._memory),
        )


@dataclass(frozen=True, slots=True)
class Distances:
    """What distances are measured with and weighed by."""

    tools: Tools
    law: DistanceLaw | None
    scorers: Mapping[str, Scorer]
    measure: Callable[[Sequence[Probed], Scorer], Measured]
    memory: Memory

    def of_attacks(self, measured: Measured) -> dict[str, list[float]]:
        """Return the distances had each candidate answered, by its name."""
        if sum(map(len, list(self.memory.values()))) > _MAX_REMEMBERED:
            self.memory.clear()
        return {
            name: measured.as_answered_by(
                scorer, self.scorers["honest"], self.memory.setdefault(name, {})
            )
            for name, scorer in self.scorers.items()
            if name != "honest"
        }


def scorers(tools: Tools) -> dict[str, Scorer]:
    """Return the reference, named `honest`, and the candidates, each with its memory."""
    named = {name: Scorer(candidate) for name, candidate in sorted(tools.candidates.items())}
    return {"honest": Scorer(tools.reference), **named}


def kl_law(section: Section, settings: LogprobSettings) -> DistanceLaw:
    """Return the law of honest divergences. Raises: CalibrationError."""
    check_members(section, kl_members(settings), {"error", "variants"})
    return read_law(section["variants"], section["error"])


def tracking_law(section: Section, settings: LogprobSettings) -> DistanceLaw:
    """Return the law of honest mean differences. Raises: CalibrationError."""
    check_members(section, tracking_members(settings), {"error", "variants"})
    return read_law(section["variants"], section["error"])


def kl_members(settings: LogprobSettings) -> dict[str, object]:
    """Return what a section of `logprob-kl/1` must have been measured with."""
    return {"detector": KL_ID, "numTop": settings.num_top, "tokens": settings.kl_tokens}


def tracking_members(settings: LogprobSettings) -> dict[str, object]:
    """Return what a section of `logprob-tracking/1` must have been measured with."""
    return {"detector": TRACKING_ID, "numTop": settings.num_top, "repeats": settings.repeats}


def read_distances(
    empty: Reading, endpoint: Endpoint, probed: Sequence[Probed], how: Distances
) -> Reading:
    """Return the reading of distances under the honest law."""
    draft = replace(empty, num_sent=len(probed))
    if not endpoint.offers_logprobs:
        return replace(draft, status=ReadingStatus.NOT_APPLICABLE, reason=_NO_LOGPROBS)
    measured = how.measure(probed, how.scorers["honest"])
    draft = replace(draft, num_used=measured.num_used, notes=measured.notes)
    if measured.num_without == len(probed) and probed:
        return replace(draft, status=ReadingStatus.NOT_APPLICABLE, reason=_NO_LOGPROBS)
    if how.law is None:
        return replace(
            draft,
            status=ReadingStatus.UNCALIBRATED,
            reason="How far honest endpoints are from the reference was never measured.",
        )
    if not measured.distances:
        return replace(
            draft,
            status=ReadingStatus.TOO_LITTLE,
            reason="No answer came back whose log-probabilities could be compared.",
        )
    law = how.law
    log_e = (0.0, *law.log_e(measured.distances).tolist())
    others = {
        name: how.measure(probed, scorer).distances
        for name, scorer in how.scorers.items()
        if name != "honest"
    }
    attacks = how.of_attacks(measured)
    return replace(
        draft,
        log_e_nats_N=tuple(log_e[index] for index in measured.num_distances_N),
        tells="".join(str(int(d > law.tell_threshold_nats)) for d in measured.distances),
        honest_tell_rate=law.honest_tell_rate,
        statistics=(*_statistics(measured), *_tell_rates(attacks, law)),
        candidates=_candidates(measured, others, law),
        visible=_visible(measured, attacks, how, law),
    )


def _statistics(measured: Measured) -> tuple[tuple[str, float], ...]:
    return (
        ("median_distance_nats", float(np.median(measured.distances))),
        ("max_distance_nats", float(np.max(measured.distances))),
        ("max_logprob_gap_nats", measured.max_gap_nats),
    )


def _tell_rates(
    attacks: Mapping[str, Sequence[float]], law: DistanceLaw
) -> tuple[tuple[str, float], ...]:
    """Return how often each candidate would have shown a tell here, as lower limits."""
    share = _TELL_RATE_ERROR / max(1, len(attacks))
    return tuple(
        (
            f"tell_rate:{name}",
            float(lower_limit(sum(d > law.tell_threshold_nats for d in seen), len(seen), share)),
        )
        for name, seen in attacks.items()
        if seen
    )


def _candidates(
    measured: Measured, others: Mapping[str, Sequence[float]], law: DistanceLaw
) -> tuple[Candidate, ...]:
    """Return how well each model explains the answers, honest noise around it allowed."""
    named = {"honest": measured.distances, **others}
    found = [
        Candidate(name=name, log_likelihood_nats=law.log_likelihood(distances))
        for name, distances in named.items()
        if len(distances) == len(measured.distances)
    ]
    unknown = uniform_log_likelihood(len(measured.distances))
    return (*found, Candidate(name="unknown", log_likelihood_nats=unknown))


def _visible(
    measured: Measured,
    attacks: Mapping[str, Sequence[float]],
    how: Distances,
    law: DistanceLaw,
) -> Visible:
    """Return what these prompts would have shown of the candidates."""
    power, threshold = how.tools.power, how.tools.log_threshold_nats
    share = smallest_share(
        len(measured.distances),
        law.honest_tell_rate,
        num_bets=len(law.thresholds_C),
        power=power,
        log_threshold=threshold,
    )
    needed = []
    for name, seen in attacks.items():
        random = generator(b"visible", f"{name}/{len(seen)}")
        count = requests_needed(seen, law, random, power=power, log_threshold=threshold)
        needed.append((name, None if count is None else count * measured.requests_each))
    return describe(power, share, needed, measured.num_used)
