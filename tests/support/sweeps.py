"""A small sweep with its result, for tests of what carries them."""

from audit.billing_records import Money
from audit.records import Claim
from audit.sweep_records import (
    Budget,
    Candidate,
    ChangeFinding,
    ChangeKind,
    Endpoint,
    EndpointFinding,
    EndpointRole,
    Misconfiguration,
    Opening,
    Reading,
    ReadingStatus,
    Schedule,
    Spending,
    Sweep,
    SweepOutcome,
    SweepResult,
    SweepSpec,
    SweepState,
    Visible,
)

DIGEST = "sha256:" + "ab" * 32


def example_spec() -> SweepSpec:
    """Return a sweep of one gateway."""
    return SweepSpec(
        name="november",
        endpoints=(
            Endpoint(
                name="gateway",
                base_url="https://gateway.example/v1",
                model="example",
                key_ref="env:GATEWAY_KEY",
                output_price=Money(amount="0.60", currency="USD"),
            ),
        ),
        claim=Claim(model="example", precision="bfloat16"),
        budget=Budget(max_requests=500, max_tokens=50_000),
        schedule=Schedule(cron="0 */6 * * *", timezone="Europe/Berlin", jitter_s=600.0),
    )


def example_sweep() -> Sweep:
    """Return it as stored."""
    return Sweep(
        sweep_id="sweep-1",
        tenant="default",
        spec=example_spec(),
        state=SweepState.ACTIVE,
        created_at="2026-11-10T00:00:00.000000Z",
    )


def example_reading() -> Reading:
    """Return what border probes said."""
    return Reading(
        detector="border-greedy/1",
        tier=1,
        status=ReadingStatus.READ,
        log_e_nats_N=(0.5, 2.0, 5.75),
        tells="011",
        honest_tell_rate=0.02,
        num_sent=4,
        num_used=3,
        statistics=(("disagreement", 0.5),),
        candidates=(Candidate(name="int4-g32", log_likelihood_nats=-2.5),),
        visible=Visible(
            power=0.9,
            smallest_share=0.25,
            needed=(("int4-g32", 9),),
            statement="A share of 25 % would have been found.",
        ),
        notes=("one answer was unreadable",),
    )


def example_finding() -> EndpointFinding:
    """Return what was concluded about the gateway."""
    return EndpointFinding(
        endpoint="gateway",
        role=EndpointRole.TARGET,
        outcome=SweepOutcome.INCONSISTENT,
        statement="Differs from the claimed model after 9 requests.",
        readings=(
            Reading(
                detector="preflight/1",
                tier=0,
                status=ReadingStatus.READ,
                misconfigurations=(
                    Misconfiguration(
                        check="stop", is_decisive=False, detail="The stop text was not obeyed."
                    ),
                ),
            ),
            example_reading(),
        ),
        log_e_nats=5.75,
        threshold_nats=4.75,
        decided_after=9,
        share_low=0.125,
        share_high=1.0,
        is_discovery=True,
        explanation="int4-g32",
        changes=(
            ChangeFinding(
                detector="border-greedy/1",
                kind=ChangeKind.STEP,
                log_e_nats=7.5,
                threshold_nats=4.75,
                epoch=2,
                since_run="run-0",
                statement="Since run-0 more answers differ.",
            ),
        ),
        spending=Spending(
            num_requests=12,
            num_answered=11,
            prompt_tokens=400,
            output_tokens=12,
            cost=Money(amount="0.01", currency="USD"),
        ),
    )


def example_result() -> SweepResult:
    """Return the result of a run."""
    return SweepResult(
        run_id="run-1",
        sweep_id="sweep-1",
        tenant="default",
        slot_at="2026-11-11T09:00:00.000000Z",
        outcome=SweepOutcome.INCONSISTENT,
        statement="1 of 1 endpoints is inconsistent with the claim.",
        findings=(example_finding(),),
        started_at="2026-11-11T09:04:00.000000Z",
        finished_at="2026-11-11T09:05:00.000000Z",
        commitment=DIGEST,
        opening=Opening(
            seed="00" * 32,
            salt="11" * 16,
            plan_digest=DIGEST,
            policy_id=DIGEST,
            bundle_id=DIGEST,
            code_version="0.1.0",
        ),
        recording_digest=DIGEST,
        policy_id=DIGEST,
        bundle_id=DIGEST,
        spec_digest=DIGEST,
    )
