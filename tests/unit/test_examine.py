"""Whatever stops a verdict becomes INCONCLUSIVE with its reason; a crash stays a crash."""

from dataclasses import dataclass, field, replace

import pytest

from audit.errors import CannotJudge
from audit.examine import Examiner, Replayer, inconclusive
from audit.findings import Disposition, Explanation
from audit.judge.verdict import ConditionalJudge
from audit.ports import Reference
from audit.records import (
    AuditRequest,
    Claim,
    Examination,
    Measurement,
    Outcome,
    Reason,
    Verdict,
)
from reference_runner.errors import BadSequence, CheckpointError, UnsupportedProfile
from tests.support.fake_reference import FakeLibrary, FakeReference, exchange_with
from tests.support.measurements import default_policy, info_of

REQUEST = AuditRequest(request_id="r", exchange=exchange_with(), claim=Claim())


def judge(measured: Measurement) -> Examination:
    return ConditionalJudge(None, default_policy(), version="1")(measured)


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


@dataclass(slots=True)
class PrecisionLibrary:
    """Hands out a reference at the claimed precision, bfloat16 where none is claimed."""

    opened: list[str] = field(default_factory=list)

    def open(self, claim: Claim) -> Reference:
        precision = claim.precision or "bfloat16"
        self.opened.append(precision)
        return FakeReference(info=info_of(precision=precision))


def tolerant(values: dict[str, float | None], *tolerated: str) -> tuple[Examiner, PrecisionLibrary]:
    """Return an examiner that finds such evidence at each precision; None cannot be judged."""

    def weigh(measured: Measurement) -> Examination:
        precision = measured.info.precision
        value = values[precision]
        if value is None:
            return inconclusive(Reason.UNCALIBRATED, precision)
        outcome = Outcome.FAIL if value >= 2.0 else Outcome.PASS
        return Examination(
            verdict=Verdict(outcome=outcome, precision=precision, log10_e_value=value)
        )

    library = PrecisionLibrary()
    examiner = Examiner(
        replay=Replayer(library=library), judge=weigh, tolerated_precisions=tolerated
    )
    return examiner, library


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ({"bfloat16": 5.0, "float16": 0.3, "float32": 0.1}, "float32"),
        ({"bfloat16": 0.0, "float16": 5.0, "float32": 5.0}, "bfloat16"),
        ({"bfloat16": 0.2, "float16": 0.0, "float32": 0.1}, "float16"),
        ({"bfloat16": 5.0, "float16": 4.0, "float32": 4.5}, "float16"),
        ({"bfloat16": 0.2, "float16": 0.2, "float32": 0.2}, "bfloat16"),
    ],
)
def test_of_all_tolerated_precisions_the_one_that_speaks_least_counts(
    values: dict[str, float | None], least: str
) -> None:
    examiner, library = tolerant(values, "float16", "float32")
    verdict = examiner(REQUEST).verdict
    assert verdict.precision == least
    assert verdict.outcome is (Outcome.FAIL if values[least] == 4.0 else Outcome.PASS)
    # a pass at the claimed precision does not spare the others
    assert library.opened == ["bfloat16", "float16", "float32"]


def test_without_tolerated_precisions_only_the_claimed_one_is_replayed() -> None:
    examiner, library = tolerant({"bfloat16": 5.0})
    assert examiner(REQUEST).verdict.outcome is Outcome.FAIL
    assert library.opened == ["bfloat16"]


def test_a_claimed_precision_that_cannot_be_judged_is_not_replaced_by_a_tolerated_one() -> None:
    examiner, _ = tolerant({"bfloat16": None, "float16": 5.0}, "float16")
    assert examiner(REQUEST).verdict.reasons == (Reason.UNCALIBRATED,)


def test_a_tolerated_precision_that_cannot_be_judged_leaves_a_pass_alone() -> None:
    examiner, _ = tolerant({"bfloat16": 0.5, "float16": None}, "float16")
    verdict = examiner(REQUEST).verdict
    assert (verdict.precision, verdict.outcome) == ("bfloat16", Outcome.PASS)


def test_a_tolerated_precision_that_cannot_be_judged_prevents_a_fail() -> None:
    examiner, _ = tolerant({"bfloat16": 5.0, "float16": None}, "float16")
    examination = examiner(REQUEST)
    assert examination.verdict.outcome is Outcome.INCONCLUSIVE
    assert examination.verdict.reasons == (Reason.UNCALIBRATED,)
    assert examination.growth is None


CAUSE = Explanation(
    name="int4",
    statement="4-bit weights",
    disposition=Disposition.SUBSTITUTION,
    probability=0.9,
    log_likelihood_nats=-3.0,
)


def test_a_fail_is_explained_and_nothing_else_is() -> None:
    asked: list[Outcome] = []

    def explain(request: AuditRequest, examination: Examination) -> tuple[Explanation, ...]:
        assert request is REQUEST
        asked.append(examination.verdict.outcome)
        return (CAUSE,)

    for value, diagnosis in ((5.0, (CAUSE,)), (0.0, ()), (None, ())):
        examiner, _ = tolerant({"bfloat16": value})
        plain = examiner(REQUEST)
        found = replace(examiner, explain=explain)(REQUEST)
        assert found.verdict == replace(plain.verdict, diagnosis=diagnosis)
    assert asked == [Outcome.FAIL]


@pytest.mark.parametrize(
    "error", [CannotJudge(Reason.MODEL_UNAVAILABLE, "gone"), CheckpointError("broken")]
)
def test_a_fail_stands_without_its_cause_and_says_so(error: Exception) -> None:
    def explain(request: AuditRequest, examination: Examination) -> tuple[Explanation, ...]:
        raise error

    examiner, _ = tolerant({"bfloat16": 5.0})
    verdict = replace(examiner, explain=explain)(REQUEST).verdict
    assert verdict == replace(examiner(REQUEST).verdict, notes=verdict.notes)
    (note,) = verdict.notes
    assert "could not be looked for" in note and str(error) in note
