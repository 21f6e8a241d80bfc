"""From a FAIL to its likely cause: replays rival explanations and ranks them.

Exchanges of one provider are diagnosed together: one cause has to account for all of them, so
log-likelihoods add up, and a rival that cannot be tried on one of them is not ranked at all.

Legend: R calls.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from audit.cases import Case
from audit.findings import Disposition, Explanation
from audit.judge.alternatives import EvidenceLaw
from audit.judge.bins import RateBounds
from audit.judge.calibration import Calibration, StratumKey, stratum_key
from audit.judge.calls import Calls, read_calls
from audit.judge.diagnosis import (
    UNKNOWN,
    Burst,
    Candidate,
    Score,
    best_choice,
    find_burst,
    fit_figure,
    fit_unknown,
    honest_log_likelihood,
    parameter_cost,
    rank,
    unseeded_log_likelihood,
)
from audit.judge.eprocess import weigh
from audit.judge.policy import Policy
from audit.ports import Reference
from audit.records import AuditRequest
from audit.rivals import Rival, heated, is_deaf, list_rivals, replay_each, reseeded, rounded, scaled
from reference_runner.records import ReplayBatch, ReplaySequence

#: Bounds for a ranking need not hold for sure: looser ones stand closer to what honest engines do.
BOUNDS_ERROR = 0.5

#: Seeds that nobody asks for: what replays under them show is chance.
UNRELATED_SEEDS = tuple(0x5EED_0000 + 7919 * i for i in range(8))

#: Temperatures tried first, before the best is refined to within 0.2 %: ratios to the stated one,
#: from 1/2 to 2; and where temperature 0 was asked for, from 0.3 to 1.5.
LOG_RATIOS = tuple(math.log(4.0) * (i / 12 - 0.5) for i in range(13))
LOG_TEMPERATURES = tuple(math.log(0.3) + math.log(5.0) * i / 12 for i in range(13))

Change = Callable[[ReplaySequence, float], ReplaySequence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnoser:
    """Ranks the explanations of failed exchanges."""

    laws: Mapping[StratumKey, EvidenceLaw]
    bounds: Mapping[StratumKey, RateBounds]
    dispositions: Mapping[str, Disposition]
    copies: tuple[str, ...]
    max_tokens: int
    """Of the failed answers, so many are replayed under each rival."""
    threshold_nats: float
    """At which an exchange is failed."""
    siblings: Mapping[str, Reference] = field(default_factory=dict)
    system_prompts: tuple[str, ...] = ()
    """Tried beside the built-in ones."""

    def __call__(self, cases: Sequence[Case]) -> tuple[Explanation, ...]:
        """Return the explanations, likeliest first; empty where there is nothing to replay.

        Only exchanges that failed may be handed in; of honest ones only `unknown` comes back.
        Raises: KeyError for a kind of exchange that was not calibrated; RunnerError where a case
        cannot be replayed as it was.
        """
        trials = self._trials(cases)
        return _Diagnosis(self, trials).explanations() if trials else ()

    def _trials(self, cases: Sequence[Case]) -> list["_Trial"]:
        """Return what is to be replayed; the last answer is cut where the budget ends."""
        trials: list[_Trial] = []
        num_left = self.max_tokens
        for case in cases:
            sequence = case.sequence
            output = sequence.output_token_ids[:num_left]
            if not output:
                break
            num_left -= len(output)
            key = stratum_key(case.plan, case.evidence.profile_id, case.reference.info.precision)
            trials.append(
                _Trial(
                    request=case.request,
                    sequence=replace(sequence, output_token_ids=output),
                    reference=case.reference,
                    law=self.laws[key],
                    bounds=self.bounds[key],
                )
            )
        return trials


def build_diagnoser(
    calibration: Calibration,
    policy: Policy,
    laws: Mapping[StratumKey, EvidenceLaw],
    *,
    siblings: Mapping[str, Reference] | None = None,
    system_prompts: Sequence[str] = (),
) -> Diagnoser:
    """Return the diagnoser of a calibration and policy; `laws` are those that verdicts rest on."""
    return Diagnoser(
        laws=laws,
        bounds={s.key: s.bounds(BOUNDS_ERROR) for s in calibration.strata},
        dispositions=dict(policy.diagnosis.dispositions),
        copies=policy.diagnosis.rounded_copies,
        max_tokens=policy.diagnosis.max_tokens,
        threshold_nats=policy.log_threshold_nats,
        siblings=siblings or {},
        system_prompts=tuple(system_prompts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One case, ready to be replayed under rivals.

    Every rival is held to the honest law of the claimed kind: arithmetic errs alike, whatever the
    sampler or prompt.
    """

    request: AuditRequest
    sequence: ReplaySequence
    reference: Reference
    law: EvidenceLaw
    bounds: RateBounds

    def likelihood(self, calls: Calls) -> float:
        return honest_log_likelihood(calls, self.bounds)


class _Diagnosis:
    """The work on one set of trials."""

    def __init__(self, rules: Diagnoser, trials: Sequence[_Trial]) -> None:
        self._rules = rules
        self._trials = trials
        self._claimed = [_replay_claimed(trial) for trial in trials]
        self._num_tokens = sum(int(calls.counts_R.sum()) for calls in self._claimed)
        self._honest_nats = sum(
            trial.likelihood(calls) for trial, calls in zip(trials, self._claimed, strict=True)
        )

    def explanations(self) -> tuple[Explanation, ...]:
        """Return all that could be tried, ranked."""
        rivals = self._scored_rivals()
        names = dict.fromkeys(candidate.name for candidate in rivals)
        found = [best_choice([c for c in rivals if c.name == name]) for name in names]
        others = (self._temperature(), self._unseeded(), self._burst())
        found.extend(candidate for candidate in others if candidate is not None)
        return rank(
            [*found, self._unknown()],
            honest_nats=self._honest_nats,
            dispositions=self._rules.dispositions,
        )

    def _scored_rivals(self) -> list[Candidate]:
        rivals = self._common_rivals()
        own = [column for column in rivals if column[0].copy is None and not column[0].sibling]
        rows = [
            _replay_each(trial.reference, [column[t].sequence for column in own])
            for t, trial in enumerate(self._trials)
        ]
        found = [
            _candidate(column, self._score([row[i] for row in rows]))
            for i, column in enumerate(own)
        ]
        for column in rivals:
            if column not in own:
                found.append(_candidate(column, self._score(self._replay_elsewhere(column))))
        return [candidate for candidate in found if candidate is not None]

    def _common_rivals(self) -> list[tuple[Rival, ...]]:
        """Return the rivals that every trial has, one column each; no-ops and twins left out."""
        rules = self._rules
        listed = [
            {
                rival.key: rival
                for rival in list_rivals(
                    trial.sequence,
                    trial.request,
                    trial.reference,
                    copies=rules.copies,
                    siblings=tuple(rules.siblings),
                    system_prompts=rules.system_prompts,
                )
            }
            for trial in self._trials
        ]
        columns: dict[object, tuple[Rival, ...]] = {
            (tuple(trial.sequence for trial in self._trials), None, None): ()
        }
        for key, first in listed[0].items():
            if all(key in rivals for rivals in listed):
                column = tuple(rivals[key] for rivals in listed)
                twin = (tuple(r.sequence for r in column), first.copy, first.sibling)
                columns.setdefault(twin, column)
        return [column for column in columns.values() if column]

    def _replay_elsewhere(self, column: Sequence[Rival]) -> list[Calls | None]:
        """Replay on a rounded copy or sibling; copies are dropped again, as they fill memory."""
        copies: dict[int, Reference | None] = {}
        found: list[Calls | None] = []
        for trial, rival in zip(self._trials, column, strict=True):
            if rival.sibling is not None:
                reference: Reference | None = self._rules.siblings[rival.sibling]
            else:
                own = id(trial.reference)
                if own not in copies:
                    copies[own] = rounded(trial.reference, rival.copy or "")
                reference = copies[own]
            found += [None] if reference is None else _replay_each(reference, [rival.sequence])
        return found

    def _score(self, replays: Sequence[Calls | None]) -> Score | None:
        """Return how well one rival accounts for all trials; None where one cannot be tried."""
        total, is_refuted = 0.0, False
        for trial, calls in zip(self._trials, replays, strict=True):
            if calls is None:
                return None
            total += trial.likelihood(calls)
            peak = weigh(calls, trial.law).peak_log_e_nats
            is_refuted |= peak >= self._rules.threshold_nats
        return Score(log_likelihood_nats=total, is_refuted=is_refuted)

    def _temperature(self) -> Candidate | None:
        """Return the likeliest other temperature: a ratio to the stated one, if that is not 0."""
        sampled = [t.sequence.sampling for t in self._trials if not t.sequence.sampling.is_greedy]
        if not sampled and any(is_deaf(trial.sequence) for trial in self._trials):
            return None
        change: Change = scaled if sampled else heated
        grid = LOG_RATIOS if sampled else LOG_TEMPERATURES
        best = fit_figure(grid, partial(self._score_changes, change))
        if best is None:
            return None
        log_figure, score = best
        figure = math.exp(log_figure)
        stated = {sampling.temperature for sampling in sampled} or {0.0}
        if len(stated) == 1:
            before = stated.pop()
            figure = figure * before if sampled else figure
            statement = f"sampled at temperature {figure:.3g} instead of {before:.3g}"
        else:
            statement = f"sampled at {figure:.3g} times the stated temperature"
        return Candidate(
            name="temperature",
            statement=statement,
            log_likelihood_nats=score.log_likelihood_nats - parameter_cost(1, self._num_tokens),
            is_refuted=score.is_refuted,
            estimate=figure,
        )

    def _score_changes(
        self,
        change: Change,
        figures: Sequence[float],
    ) -> list[Score | None]:
        rows = [
            _replay_each(trial.reference, [change(trial.sequence, figure) for figure in figures])
            for trial in self._trials
        ]
        return [self._score([row[i] for row in rows]) for i in range(len(figures))]

    def _unseeded(self) -> Candidate | None:
        total = 0.0
        stated: list[Calls] = []
        unrelated: list[Calls] = []
        for trial, calls in zip(self._trials, self._claimed, strict=True):
            if is_deaf(trial.sequence) or trial.sequence.sampling.is_greedy:
                total += trial.likelihood(calls)
                continue
            stated.append(calls)
            seeds = [reseeded(trial.sequence, seed) for seed in UNRELATED_SEEDS]
            replays = _replay_each(trial.reference, seeds)
            unrelated += [replay for replay in replays if replay is not None]
        if not unrelated:
            return None
        return Candidate(
            name="unseeded",
            statement="drawn with noise that the stated seed had no part in: the tokens agree with "
            "it as seldom as with seeds that nobody asked for. By which model cannot be told",
            log_likelihood_nats=total + unseeded_log_likelihood(stated, unrelated),
        )

    def _burst(self) -> Candidate | None:
        bursts: list[Burst | None] = [
            find_burst(calls, trial.bounds)
            for trial, calls in zip(self._trials, self._claimed, strict=True)
        ]
        gains = [burst.gain_nats for burst in bursts if burst is not None]
        if not gains:
            return None
        only = bursts[0] if len(bursts) == 1 else None
        where = (
            f"tokens {only.first_token} to {only.last_token} of an answer that agrees otherwise"
            if only is not None
            else f"one run of tokens in each of {len(gains)} answers that agree otherwise"
        )
        return Candidate(
            name="burst",
            statement=f"{where} came from something else",
            log_likelihood_nats=self._honest_nats + sum(gains),
            first_token=None if only is None else only.first_token,
            last_token=None if only is None else only.last_token,
        )

    def _unknown(self) -> Candidate:
        fit = fit_unknown(self._claimed)
        cost = parameter_cost(2, self._num_tokens)
        return Candidate(
            name=UNKNOWN,
            statement=f"something else, which strays as noise of {fit.noise_logits:.2g} logits "
            f"would, with {fit.stray_share:.2%} of the tokens unrelated",
            log_likelihood_nats=fit.log_likelihood_nats - cost,
            estimate=fit.noise_logits,
        )


def _candidate(column: Sequence[Rival], score: Score | None) -> Candidate | None:
    if score is None:
        return None
    rival = column[0]
    estimates = {each.estimate for each in column}
    return Candidate(
        name=rival.name,
        statement=rival.statement,
        log_likelihood_nats=score.log_likelihood_nats,
        is_refuted=score.is_refuted,
        estimate=rival.estimate if len(estimates) == 1 else None,
    )


def _replay_each(reference: Reference, sequences: Sequence[ReplaySequence]) -> list[Calls | None]:
    return [
        None if evidence is None else read_calls(evidence, sequence)
        for evidence, sequence in zip(replay_each(reference, sequences), sequences, strict=True)
    ]


def _replay_claimed(trial: _Trial) -> Calls:
    """Replay a case as it was claimed: unlike rivals, this must not fail."""
    ((evidence,),) = trial.reference.replay(ReplayBatch(sequences=(trial.sequence,)))
    return read_calls(evidence, trial.sequence)
