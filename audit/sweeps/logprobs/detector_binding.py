"""`logprob-binding/1`: are text and log-probabilities of one model?

Half of the answers are drawn at temperature 1, half are greedy. The evidence is the average of two
e-processes: the drawn answers' likelihood ratios against many alternatives, and bets on greedy
answers that hold another token than the returned favourite.

Legend: N usable answers in order, A alternatives.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.errors import CalibrationError
from audit.judge.betting import log_bets
from audit.judge.intervals import upper_limit
from audit.sweep_records import Endpoint, Probe, Probed, Reading, ReadingStatus, Visible
from audit.sweeps.detector import Section, Tools
from audit.sweeps.logprobs.binding import (
    is_not_favourite,
    log_ratios,
    outcomes_of,
    with_shares,
)
from audit.sweeps.logprobs.compare import Aligned, Scorer, align
from audit.sweeps.logprobs.detector import scorers
from audit.sweeps.logprobs.plan import BINDING_ID, LogprobSettings, plan_binding
from audit.sweeps.logprobs.sections import check_members
from audit.sweeps.logprobs.visible import describe, draws_needed, smallest_share

Float64Array = NDArray[np.float64]

#: A drawn answer whose own e-value reaches 1 over this is a tell; Markov's inequality bounds how
#: often that happens where text and law belong together.
_TELL_RATE = 0.05


@dataclass(frozen=True, slots=True)
class WeighedAnswer:
    """What one answer says by itself."""

    is_greedy: bool
    is_violation: bool
    """Greedy, and not the favourite."""
    log_ratios_A: Float64Array
    """Drawn answers' log likelihood ratios; zeros for greedy ones."""
    aligned: Aligned


#: What answers say, by probe and answer; None for those that say nothing.
Memory = dict[tuple[str, Aligned], WeighedAnswer | None]

_MAX_REMEMBERED = 4096


class LogprobBinding:
    """Reads whether tokens follow the log-probabilities that come with them."""

    detector_id = BINDING_ID
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
        self._rate = None if section is None else binding_law(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return sampled and greedy requests by turns, each with a prompt of its own."""
        return plan_binding(endpoint, self._tools.texts, seed, num_probes, self._settings)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return whether the answers' tokens follow their log-probabilities."""
        draft = Reading(
            detector=BINDING_ID, tier=2, status=ReadingStatus.READ, num_sent=len(probed)
        )
        if not endpoint.offers_logprobs:
            return replace(
                draft,
                status=ReadingStatus.NOT_APPLICABLE,
                reason="The endpoint gives no log-probabilities to hold its text against.",
            )
        if self._rate is None:
            return replace(
                draft,
                status=ReadingStatus.UNCALIBRATED,
                reason="Whether honest endpoints' greedy text is their favourite was not measured.",
            )
        honest = self._scorers["honest"]
        foreign = [scorer for name, scorer in self._scorers.items() if name != "honest"]
        if len(self._memory) > _MAX_REMEMBERED:
            # other threads may still hold the old one
            self._memory = {}
        weighed = weigh_binding(probed, honest, foreign, self._memory)
        if not weighed:
            return replace(
                draft,
                status=ReadingStatus.TOO_LITTLE,
                reason="No answer came back whose log-probabilities belong to its tokens.",
            )
        return replace(
            draft,
            num_used=len(weighed),
            log_e_nats_N=tuple(_log_e(weighed, self._rate).tolist()),
            tells="".join(str(int(_is_tell(answer))) for answer in weighed),
            honest_tell_rate=max(self._rate, _TELL_RATE),
            statistics=_statistics(weighed),
            visible=self._visible(weighed, honest, max(self._rate, _TELL_RATE)),
        )

    def _visible(
        self, weighed: Sequence[WeighedAnswer], honest: Scorer, tell_rate: float
    ) -> Visible:
        """Return what could be seen; attacks are named by the text's model."""
        power, threshold = self._tools.power, self._tools.log_threshold_nats
        share = smallest_share(
            len(weighed), tell_rate, num_bets=2, power=power, log_threshold=threshold
        )
        drawn = [answer.aligned for answer in weighed if not answer.is_greedy]
        needed = [
            (name, draws_needed(drawn, scorer, honest, threshold))
            for name, scorer in self._scorers.items()
            if name != "honest"
        ]
        return describe(power, share, needed, len(weighed))


def weigh_binding(
    probed: Sequence[Probed],
    scorer: Scorer,
    candidates: Sequence[Scorer],
    known: Memory | None = None,
) -> list[WeighedAnswer]:
    """Return what each usable answer says; a prompt counts once.

    `known` holds what earlier looks found with the same models, and takes what is new.
    """
    memory = {} if known is None else known
    weighed: list[WeighedAnswer] = []
    seen: set[tuple[int, ...]] = set()
    for item in probed:
        aligned = align(item.probe, item.answer, scorer)
        if aligned is None or aligned.prompt_token_ids in seen:
            continue
        key = (item.probe.probe_id, aligned)
        answer = memory[key] if key in memory else _weighed(item.probe, aligned, scorer, candidates)
        memory[key] = answer
        if answer is not None:
            seen.add(aligned.prompt_token_ids)
            weighed.append(answer)
    return weighed


def _weighed(
    probe: Probe, aligned: Aligned, scorer: Scorer, candidates: Sequence[Scorer]
) -> WeighedAnswer | None:
    salt = str(json.loads(probe.expected_json).get("salt", ""))
    outcomes = outcomes_of(aligned, probe.wants_logprobs or 0, salt, scorer)
    if not outcomes:
        return None
    is_greedy = probe.group == "greedy"
    ratios_A = log_ratios(outcomes, aligned, candidates)
    return WeighedAnswer(
        is_greedy=is_greedy,
        is_violation=is_greedy and is_not_favourite(outcomes),
        log_ratios_A=np.zeros_like(ratios_A) if is_greedy else ratios_A,
        aligned=aligned,
    )


def sampled_log_e(weighed: Sequence[WeighedAnswer]) -> float:
    """Return the largest log e-value of the drawn answers over all looks."""
    return float(_sampled_log_e_N(weighed).max(initial=0.0))


def binding_members(settings: LogprobSettings) -> dict[str, object]:
    """Return what a section of `logprob-binding/1` must have been measured with."""
    return {"detector": BINDING_ID, "numTop": settings.num_top, "tokens": settings.binding_tokens}


def binding_law(section: Section, settings: LogprobSettings) -> float:
    """Return the bound on the share of honest greedy answers that are not the favourite.

    Raises: CalibrationError.
    """
    check_members(section, binding_members(settings), {"error", "variants"})
    variants, error = section["variants"], section["error"]
    problem = CalibrationError(f"the bundle's part of {BINDING_ID} is malformed; calibrate anew")
    if not isinstance(variants, Mapping) or not variants:
        raise problem
    if not isinstance(error, float) or not 0.0 < error < 1.0:
        raise problem
    rates = []
    for body in variants.values():
        if not isinstance(body, Mapping) or set(body) != {"num", "violations"}:
            raise problem
        num, violations = body["num"], body["violations"]
        if type(num) is not int or type(violations) is not int or not 0 <= violations <= num:
            raise problem
        rates.append(float(upper_limit(violations, num, error / len(variants))))
    if max(rates) >= 0.9:
        raise CalibrationError(
            "honest greedy text is hardly ever the returned favourite; leave "
            f"{BINDING_ID} out for this engine"
        )
    return max(rates)


def _log_e(weighed: Sequence[WeighedAnswer], rate: float) -> Float64Array:
    """Return the evidence after each usable answer, shape [N]."""
    greedy_N = np.asarray([answer.is_greedy for answer in weighed])
    violations = [answer.is_violation for answer in weighed if answer.is_greedy]
    bets = np.concatenate([[0.0], log_bets(np.asarray(violations, dtype=np.float64), rate)])
    greedy_log_e_N = bets[np.cumsum(greedy_N)]
    mixed_N = np.logaddexp(_sampled_log_e_N(weighed), greedy_log_e_N) - np.log(2.0)
    return np.asarray(mixed_N, dtype=np.float64)


def _sampled_log_e_N(weighed: Sequence[WeighedAnswer]) -> Float64Array:
    shared_NA = with_shares(np.stack([answer.log_ratios_A for answer in weighed]))
    wealth_NA = np.cumsum(shared_NA, axis=0)
    mixed_N = special.logsumexp(wealth_NA, axis=1) - np.log(wealth_NA.shape[1])
    return np.asarray(mixed_N, dtype=np.float64)


def _is_tell(answer: WeighedAnswer) -> bool:
    if answer.is_greedy:
        return answer.is_violation
    ratios_A = answer.log_ratios_A
    average = float(special.logsumexp(ratios_A) - np.log(len(ratios_A)))
    return bool(average >= -np.log(_TELL_RATE))


def _statistics(weighed: Sequence[WeighedAnswer]) -> tuple[tuple[str, float], ...]:
    greedy = [answer.is_violation for answer in weighed if answer.is_greedy]
    share = sum(greedy) / len(greedy) if greedy else 0.0
    return (
        ("greedy_not_favourite_share", share),
        ("sampled_log_e_nats", float(_sampled_log_e_N(weighed)[-1])),
    )
