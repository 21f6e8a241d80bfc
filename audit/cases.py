"""Judged exchanges with all that is needed to replay them again, for diagnosis and shares."""

from dataclasses import dataclass, replace

from audit.planning import plan_replay
from audit.ports import Reference, ReferenceLibrary
from audit.records import AuditRequest, Examination, Outcome, ReplayPlan
from reference_runner.records import Evidence, ReplaySequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One exchange that failed, and what it was failed by."""

    request: AuditRequest
    plan: ReplayPlan
    evidence: Evidence
    reference: Reference

    @property
    def sequence(self) -> ReplaySequence:
        """The plan's sequence with the one sampler profile that the verdict rests on."""
        return replace(self.plan.sequence, profile_ids=(self.evidence.profile_id,))


def failed_case(
    request: AuditRequest,
    examination: Examination,
    library: ReferenceLibrary,
    profile: str | None,
) -> Case | None:
    """Return what is to be diagnosed of an examined exchange; None unless it failed.

    As `judged_case` otherwise.
    """
    if examination.verdict.outcome is not Outcome.FAIL:
        return None
    return judged_case(request, examination, library, profile)


def judged_case(
    request: AuditRequest,
    examination: Examination,
    library: ReferenceLibrary,
    profile: str | None,
) -> Case | None:
    """Return an exchange with what it was judged by; None where there was no evidence to judge.

    `library` and `profile` are those that it was examined with. Raises: CannotJudge where the
    checkpoint is gone since.
    """
    verdict, evidence = examination.verdict, examination.evidence
    if verdict.outcome is Outcome.INCONCLUSIVE or evidence is None:
        return None
    # a tolerated precision may be the one that the verdict rests on
    reference = library.open(replace(request.claim, precision=verdict.precision))
    plan = plan_replay(request, reference, profile)
    return Case(request=request, plan=plan, evidence=evidence, reference=reference)
