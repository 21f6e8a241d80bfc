"""One exchange from request to verdict: plan, replay, judge.

Everything that stops a verdict on the way becomes INCONCLUSIVE with its reason; a crash is not
caught here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from audit.errors import CannotJudge
from audit.findings import Explanation
from audit.judge.growth import least_growth
from audit.planning import plan_replay
from audit.ports import Judge, ReferenceLibrary
from audit.records import AuditRequest, Examination, Measurement, Outcome, Reason, Verdict
from reference_runner.errors import BadSequence, RunnerError, UnsupportedProfile
from reference_runner.records import ReplayBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayer:
    """Replays exchanges against the references of a library."""

    library: ReferenceLibrary
    profile: str | None = None
    """A sampler profile that overrides claims."""

    def __call__(self, request: AuditRequest) -> Measurement:
        """Return what one replay measured. Raises: CannotJudge."""
        try:
            reference = self.library.open(request.claim)
            plan = plan_replay(request, reference, self.profile)
            (evidences,) = reference.replay(ReplayBatch(sequences=(plan.sequence,)))
        except BadSequence as error:
            raise CannotJudge(Reason(error.code), str(error)) from error
        except UnsupportedProfile as error:
            raise CannotJudge(Reason.PROFILE_UNKNOWN, str(error)) from error
        return Measurement(plan=plan, evidences=evidences, info=reference.info)


Explain = Callable[[AuditRequest, Examination], tuple[Explanation, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """Audits exchanges; the same path for service and `check`."""

    replay: Replayer
    judge: Judge
    tolerated_precisions: tuple[str, ...] = ()
    """Precisions that the policy accepts beside the claimed one."""
    explain: Explain | None = None
    """Ranks the causes of a FAIL; None leaves them out."""

    def __call__(self, request: AuditRequest) -> Examination:
        """Return the verdict on one exchange, with its evidence where there is any."""
        examination = self._least(request)
        if self.explain is None or examination.verdict.outcome is not Outcome.FAIL:
            return examination
        try:
            diagnosis = self.explain(request, examination)
        except (CannotJudge, RunnerError) as error:
            # the verdict stands without its cause, and says so
            note = f"what lies behind the FAIL could not be looked for: {error}"
            notes = (*examination.verdict.notes, note)
            return replace(examination, verdict=replace(examination.verdict, notes=notes))
        return replace(examination, verdict=replace(examination.verdict, diagnosis=diagnosis))

    def _least(self, request: AuditRequest) -> Examination:
        """Return the examination at the precision that speaks least against the provider.

        All that the policy tolerates are tried: a choice by the outcome would raise the false-alarm
        rate.
        """
        claimed = self._examine(request)
        if claimed.verdict.log10_e_value is None or not self.tolerated_precisions:
            return claimed
        others = [self._examine(_at(request, other)) for other in self.tolerated_precisions]
        judged = [e for e in (claimed, *others) if e.verdict.log10_e_value is not None]
        least = min(judged, key=lambda e: e.verdict.log10_e_value or 0.0)
        growths = [e.growth for e in (claimed, *others) if e.growth is not None]
        if len(growths) == 1 + len(others):
            return replace(least, growth=least_growth(growths))
        refused = [e for e in others if e.verdict.log10_e_value is None]
        # a precision that nobody calibrated may be the one that explains the tokens
        if refused and least.verdict.outcome is Outcome.FAIL:
            return refused[0]
        return replace(least, growth=None)

    def _examine(self, request: AuditRequest) -> Examination:
        try:
            return self.judge(self.replay(request))
        except CannotJudge as error:
            return inconclusive(error.reason, str(error))


def _at(request: AuditRequest, precision: str) -> AuditRequest:
    return replace(request, claim=replace(request.claim, precision=precision))


def inconclusive(reason: Reason, detail: str) -> Examination:
    """Return an examination that reached no verdict, and says why."""
    return Examination(
        verdict=Verdict(outcome=Outcome.INCONCLUSIVE, reasons=(reason,), details=(detail,))
    )
