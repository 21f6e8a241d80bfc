"""Whatever stops a verdict becomes INCONCLUSIVE with its reason; a crash stays a crash."""

import pytest

from audit.errors import CannotJudge
from audit.examine import Examiner, Replayer, inconclusive
from audit.judge.verdict import DivergenceJudge
from audit.records import AuditRequest, Claim, Examination, Measurement, Outcome, Reason
from reference_runner.errors import BadSequence, UnsupportedProfile
from tests.support.fake_reference import FakeLibrary, FakeReference, exchange_with

REQUEST = AuditRequest(request_id="r", exchange=exchange_with(), claim=Claim())


def judge(measured: Measurement) -> Examination:
    return DivergenceJudge(None, version="1")(measured)


def examined(library: FakeLibrary, profile: str | None = None) -> Examination:
    return Examiner(replay=Replayer(library=library, profile=profile), judge=judge)(REQUEST)


def test_an_exchange_is_planned_replayed_and_judged() -> None:
    examination = examined(FakeLibrary())
    assert examination.verdict.reasons == (Reason.UNCALIBRATED,)
    assert examination.evidence is not None and examination.evidence.num_tokens == 2
    assert examination.verdict.profile_id == "vllm-cpu-splitmix64"


def test_the_measurement_holds_one_evidence_per_candidate() -> None:
    measured = Replayer(library=FakeLibrary(), profile="vllm-v2-murmur32")(REQUEST)
    assert [e.profile_id for e in measured.evidences] == list(measured.plan.sequence.profile_ids)
    assert measured.info == FakeReference().info


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadSequence("context_exceeded", "too long"), Reason.CONTEXT_EXCEEDED),
        (BadSequence("output_empty", "no tokens"), Reason.OUTPUT_EMPTY),
        (BadSequence("token_out_of_vocabulary", "id"), Reason.TOKEN_OUT_OF_VOCABULARY),
        (BadSequence("seed_missing", "seed"), Reason.SEED_MISSING),
        (BadSequence("invalid_exchange", "prompt"), Reason.INVALID_EXCHANGE),
        (UnsupportedProfile("self-test"), Reason.PROFILE_UNKNOWN),
        (CannotJudge(Reason.TOKENS_AMBIGUOUS, "twice"), Reason.TOKENS_AMBIGUOUS),
    ],
)
def test_what_cannot_be_replayed_is_inconclusive_with_its_reason(
    error: Exception, reason: Reason
) -> None:
    examination = examined(FakeLibrary(reference=FakeReference(error=error)))
    assert examination.verdict.outcome is Outcome.INCONCLUSIVE
    assert examination.verdict.reasons == (reason,)
    assert examination.verdict.details == (str(error),)
    assert examination.evidence is None


def test_a_missing_reference_is_inconclusive() -> None:
    refusal = CannotJudge(Reason.MODEL_UNAVAILABLE, "no reference")
    assert examined(FakeLibrary(refusal=refusal)) == inconclusive(
        Reason.MODEL_UNAVAILABLE, "no reference"
    )


def test_a_profile_that_overrides_the_claims_must_be_known() -> None:
    assert examined(FakeLibrary(), "no-such").verdict.reasons == (Reason.PROFILE_UNKNOWN,)


def test_a_crash_is_no_verdict() -> None:
    reference = FakeReference(error=RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        examined(FakeLibrary(reference=reference))
