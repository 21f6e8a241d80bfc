"""Reads and decides a run from its plan and its raw answers: pure, the same bits every time.

    raw answers --parse--> Probed --detectors--> Readings --decide--> EndpointFindings
                --e-BH, controls--> SweepResult

The run itself looks through the same eyes while it goes on (`is_decided`), so that scoring a
recording again can never give another result than the run gave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from audit.sweep_records import (
    AnswerStatus,
    Budget,
    ChangeFinding,
    EndpointRole,
    Probed,
    RawAnswer,
    Reading,
    ReadingStatus,
    RecordedAnswer,
    Spending,
    SweepResult,
)
from audit.sweeps.decide.discovery import decide_run
from audit.sweeps.decide.verdict import decide_endpoint, should_stop
from audit.sweeps.detector import Comparer, Detector
from audit.sweeps.drift.history import changes_of
from audit.sweeps.drift.records import RunTells
from audit.sweeps.plan import EndpointPlan
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.policy import SweepPolicy
from audit.sweeps.provider.answers import parse_answer
from audit.sweeps.provider.limits import BudgetGuard, Tokens

Answers = Mapping[int, RawAnswer]

_NOT_SENT = RawAnswer(status=AnswerStatus.NOT_SENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Everything that scoring needs beside plan and answers."""

    detectors: Sequence[Detector]
    comparers: Sequence[Comparer]
    policy: SweepPolicy
    num_probes: Mapping[str, int]
    """How many requests each detector may spend; none for what was never calibrated."""

    def score(
        self,
        stored: StoredPlan,
        answers: Mapping[str, Answers],
        history: Mapping[str, Sequence[RunTells]],
        *,
        recording_digest: str,
    ) -> SweepResult:
        """Return what a run concluded; `history` holds each endpoint's earlier runs, in order."""
        parts = stored.plan.endpoints
        num_targets = sum(part.endpoint.role is EndpointRole.TARGET for part in parts)
        run = {part.endpoint.name: _probed(part, answers) for part in parts}
        findings = []
        for part in parts:
            endpoint = part.endpoint
            own = answers.get(endpoint.name, {})
            readings = (*self.read(part, own), *self._compared(part, run))
            findings.append(
                decide_endpoint(
                    endpoint,
                    readings,
                    self.policy,
                    stored.run_number,
                    num_targets=max(1, num_targets),
                    order=_order(part, own),
                    changes=self._changes(stored, readings, history.get(endpoint.name, ())),
                    spending=spending_of(part, own, stored.budget),
                )
            )
        outcome, statement, marked = decide_run(findings, self.policy)
        return SweepResult(
            run_id=stored.run_id,
            sweep_id=stored.sweep_id,
            tenant=stored.tenant,
            slot_at=stored.slot_at,
            outcome=outcome,
            statement=statement,
            findings=marked,
            started_at=stored.started_at,
            finished_at=_last_sent(answers),
            commitment=stored.commitment,
            opening=stored.opening,
            recording_digest=recording_digest,
            policy_id=stored.opening.policy_id,
            bundle_id=stored.opening.bundle_id,
            spec_digest=stored.spec_digest,
        )

    def read(self, part: EndpointPlan, answers: Answers) -> tuple[Reading, ...]:
        """Return what each detector says about one endpoint so far."""
        by_detector = _by_detector(part, answers)
        return tuple(
            self.reading(detector, part, by_detector.get(detector.detector_id, ()))
            for detector in self.detectors
        )

    def reading(self, detector: Detector, part: EndpointPlan, probed: Sequence[Probed]) -> Reading:
        """Return what a detector says, and whether it takes part, which the plan has settled.

        The common evidence may not depend on answers in who takes part in it: who was to ask does,
        who had nothing to ask does not.
        """
        reading = detector.read(part.endpoint, probed)
        is_planned = any(probe.detector == detector.detector_id for probe in part.probes)
        if is_planned and reading.status is ReadingStatus.NOT_APPLICABLE:
            return replace(reading, status=ReadingStatus.TOO_LITTLE)
        if is_planned or reading.status is ReadingStatus.UNCALIBRATED:
            return reading
        return replace(
            reading,
            status=ReadingStatus.NOT_APPLICABLE,
            reason=reading.reason or "there was nothing to ask this endpoint",
        )

    def _compared(
        self, part: EndpointPlan, run: Mapping[str, Sequence[Probed]]
    ) -> tuple[Reading, ...]:
        return tuple(comparer.compare(part.endpoint, run) for comparer in self.comparers)

    def _changes(
        self, stored: StoredPlan, readings: Sequence[Reading], earlier: Sequence[RunTells]
    ) -> tuple[ChangeFinding, ...]:
        return changes_of((*earlier, *tells_of(stored.run_id, readings)), self.policy)


@dataclass(slots=True)
class Watcher:
    """Looks at a run while it goes on; remembers readings whose answers did not change."""

    scorer: Scorer
    run_number: int
    num_targets: int
    _seen: dict[tuple[str, str], tuple[int, Reading]] = field(default_factory=dict)

    def is_decided(self, part: EndpointPlan, answers: Answers) -> bool:
        """Return whether asking the endpoint further would change nothing."""
        by_detector = _by_detector(part, answers)
        readings = []
        for detector in self.scorer.detectors:
            probed = by_detector.get(detector.detector_id, ())
            place = (part.endpoint.name, detector.detector_id)
            known = self._seen.get(place)
            if known is None or known[0] != len(probed):
                known = (len(probed), self.scorer.reading(detector, part, probed))
                self._seen[place] = known
            readings.append(known[1])
        if any(cause.is_decisive for r in readings for cause in r.misconfigurations):
            return True
        reason = should_stop(
            readings,
            self.scorer.policy,
            self.run_number,
            num_targets=max(1, self.num_targets),
            order=_order(part, answers),
        )
        return reason is not None


def tells_of(run_id: str, readings: Sequence[Reading]) -> tuple[RunTells, ...]:
    """Return what the history keeps of a run's readings: those with signs that can be counted."""
    return tuple(
        RunTells(
            run_id=run_id,
            detector=reading.detector,
            tells=reading.tells,
            honest_tell_rate=reading.honest_tell_rate,
            statistics=reading.statistics,
        )
        for reading in readings
        if reading.honest_tell_rate is not None
    )


def spending_of(part: EndpointPlan, answers: Answers, budget: Budget) -> Spending:
    """Return what an endpoint cost, from its answers' own usage as the client counts it."""
    guard = BudgetGuard(part.endpoint, budget)
    for position in sorted(answers):
        probe, raw = part.probes[position], answers[position]
        answer = parse_answer(probe, raw)
        usage = None
        if answer.prompt_tokens is not None and answer.completion_tokens is not None:
            usage = Tokens(prompt=answer.prompt_tokens, output=answer.completion_tokens)
        guard.charge(probe, raw.status, usage, raw.num_attempts)
    return guard.spending


def by_endpoint(answers: Sequence[RecordedAnswer]) -> dict[str, dict[int, RawAnswer]]:
    """Return recorded answers by endpoint and position."""
    found: dict[str, dict[int, RawAnswer]] = {}
    for answer in answers:
        found.setdefault(answer.endpoint, {})[answer.position] = answer.raw
    return found


def _probed(part: EndpointPlan, answers: Mapping[str, Answers]) -> tuple[Probed, ...]:
    own = answers.get(part.endpoint.name, {})
    return tuple(_pair(part, own, position) for position in range(_num_asked(own)))


def _by_detector(part: EndpointPlan, answers: Answers) -> dict[str, list[Probed]]:
    found: dict[str, list[Probed]] = {}
    for position in range(_num_asked(answers)):
        pair = _pair(part, answers, position)
        found.setdefault(pair.probe.detector, []).append(pair)
    return found


def _pair(part: EndpointPlan, answers: Answers, position: int) -> Probed:
    probe = part.probes[position]
    return Probed(probe=probe, answer=parse_answer(probe, answers.get(position, _NOT_SENT)))


def _order(part: EndpointPlan, answers: Answers) -> tuple[str, ...]:
    return tuple(part.probes[position].detector for position in range(_num_asked(answers)))


def _num_asked(answers: Answers) -> int:
    return max(answers, default=-1) + 1


def _last_sent(answers: Mapping[str, Answers]) -> str | None:
    """Return when the last request was sent: a time that scoring again finds as well."""
    times = [raw.sent_at for own in answers.values() for raw in own.values() if raw.sent_at]
    return max(times, default=None)
