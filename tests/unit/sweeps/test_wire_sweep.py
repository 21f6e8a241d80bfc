"""Sweeps, runs and results survive the wire, and the wire knows every member of every enum."""

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_audit.v1 import sweep_pb2 as pb

from audit.codec import wire_sweep_enums as enums
from audit.codec.wire_sweep import (
    SweepRunView,
    run_from_wire,
    run_to_wire,
    sweep_from_wire,
    sweep_to_wire,
)
from audit.codec.wire_sweep_result import result_from_wire, result_to_wire
from audit.codec.wire_sweep_spec import spec_from_wire, spec_to_wire
from audit.errors import ConfigurationError, InvalidRequest
from audit.sweep_records import (
    ApiStyle,
    Budget,
    CatchUpRule,
    ChangeKind,
    Endpoint,
    EndpointRole,
    OverlapRule,
    ReadingStatus,
    Slot,
    SlotState,
    Sweep,
    SweepOutcome,
    SweepResult,
    SweepSpec,
    SweepState,
)
from tests.unit.sweeps.record_strategies import records, times
from tests.unit.sweeps.wire_examples import A_SPEC, TENANT, a_result, a_time

slots = records(
    Slot,
    slot_at=times,
    start_at=times,
    finished_at=st.none() | times,
    owner=st.none(),
    lease_until=st.none(),
    result_json=st.none(),
)


@settings(max_examples=60, deadline=None)
@given(records(SweepSpec))
def test_a_spec_survives_the_wire(spec: SweepSpec) -> None:
    raw = spec_to_wire(spec).SerializeToString()
    assert spec_from_wire(pb.SweepSpec.FromString(raw)) == spec


@settings(max_examples=60, deadline=None)
@given(records(SweepResult))
def test_a_result_survives_the_wire(result: SweepResult) -> None:
    raw = result_to_wire(result).SerializeToString()
    assert result_from_wire(pb.SweepResult.FromString(raw)) == result


@settings(max_examples=40, deadline=None)
@given(records(Sweep, created_at=times))
def test_a_sweep_survives_the_wire(sweep: Sweep) -> None:
    raw = sweep_to_wire(sweep).SerializeToString()
    assert sweep_from_wire(pb.Sweep.FromString(raw)) == sweep


@settings(max_examples=40, deadline=None)
@given(slots, st.none() | st.binary(max_size=4))
def test_a_run_without_a_result_survives_the_wire(slot: Slot, envelope: bytes | None) -> None:
    view = SweepRunView(slot=slot, envelope=envelope, log_index=slot.log_index)
    raw = run_to_wire(view).SerializeToString()
    assert run_from_wire(pb.SweepRun.FromString(raw)) == view


def finished_run() -> SweepRunView:
    return SweepRunView(
        slot=Slot(
            run_id="run-1",
            sweep_id="sweep-1",
            tenant=TENANT,
            slot_at=a_time(0),
            start_at=a_time(1),
            state=SlotState.DONE,
            attempt=2,
            owner="host-1",
            lease_until=a_time(9),
            finished_at=a_time(5),
            result_json="{}",
            log_index=17,
        ),
        result=a_result("run-1", "sweep-1"),
        envelope=b"{}",
        log_index=17,
    )


def test_who_holds_a_run_stays_in_the_service() -> None:
    found = run_from_wire(run_to_wire(finished_run()))
    assert (found.slot.owner, found.slot.lease_until, found.slot.result_json) == (None, None, None)
    assert found.result == finished_run().result
    assert found.outcome is SweepOutcome.INCONSISTENT


def test_a_list_has_outcomes_without_results() -> None:
    found = run_from_wire(run_to_wire(finished_run(), with_result=False))
    assert (found.result, found.envelope) == (None, None)
    assert found.outcome is SweepOutcome.INCONSISTENT
    assert found.statement == finished_run().result.statement  # type: ignore[union-attr]
    assert found.log_index == 17


def test_what_a_message_leaves_out_is_the_records_default() -> None:
    message = pb.SweepSpec(name="n", endpoints=[pb.SweepEndpoint(name="a")])
    message.schedule.cron = "* * * * *"
    message.budget.max_requests = 3
    spec = spec_from_wire(message)
    assert spec.endpoints == (Endpoint(name="a", base_url="", model=""),)
    assert spec.budget == Budget(max_requests=3, max_tokens=0)
    assert spec.schedule is not None
    assert (spec.schedule.timezone, spec.schedule.max_lateness_s) == ("UTC", 3600.0)
    assert (spec.schedule.overlap, spec.schedule.catch_up) == (OverlapRule.SKIP, CatchUpRule.NONE)


def test_what_a_message_states_as_zero_is_not_the_default() -> None:
    message = pb.SweepSpec(endpoints=[pb.SweepEndpoint()])
    (endpoint,) = message.endpoints
    endpoint.max_concurrency, endpoint.timeout_s, endpoint.offers_logprobs = 0, 0.0, False
    endpoint.route = ""
    (found,) = spec_from_wire(message).endpoints
    assert (found.max_concurrency, found.timeout_s, found.offers_logprobs) == (0, 0.0, False)
    assert found.route_json == ""


@pytest.mark.parametrize(
    ("wire", "members", "prefix"),
    [
        (pb.EndpointRole, EndpointRole, "ENDPOINT_ROLE_"),
        (pb.ApiStyle, ApiStyle, "API_STYLE_"),
        (pb.OverlapRule, OverlapRule, "OVERLAP_RULE_"),
        (pb.CatchUpRule, CatchUpRule, "CATCH_UP_RULE_"),
        (pb.SweepState, SweepState, "SWEEP_STATE_"),
        (pb.SweepRunState, SlotState, "SWEEP_RUN_STATE_"),
        (pb.ReadingStatus, ReadingStatus, "READING_STATUS_"),
        (pb.SweepOutcome, SweepOutcome, "SWEEP_OUTCOME_"),
        (pb.ChangeKind, ChangeKind, "CHANGE_KIND_"),
    ],
)
def test_wire_and_records_have_the_same_members(
    wire: EnumTypeWrapper, members: type, prefix: str
) -> None:
    expected = {f"{prefix}{name}" for name in members.__members__}  # type: ignore[attr-defined]
    assert set(wire.keys()) == expected | {f"{prefix}UNSPECIFIED"}


@pytest.mark.parametrize(
    "read",
    [
        enums.answered_role_from_wire,
        enums.sweep_state_from_wire,
        enums.run_state_from_wire,
        enums.reading_status_from_wire,
        enums.sweep_outcome_from_wire,
        enums.change_kind_from_wire,
    ],
)
@pytest.mark.parametrize("value", [0, 99])
def test_an_answer_that_is_unknown_asks_for_an_update(read: object, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{value}, which this version does not know"):
        read(value)  # type: ignore[operator]


@pytest.mark.parametrize("field", ["role", "api"])
def test_an_unknown_value_of_a_client_is_refused_by_name(field: str) -> None:
    message = spec_to_wire(A_SPEC)
    setattr(message.endpoints[1], field, 99)
    with pytest.raises(InvalidRequest, match=rf"spec\.endpoints\[1\]\.{field}: is 99, which is"):
        spec_from_wire(message)


@pytest.mark.parametrize("field", ["overlap", "catch_up"])
def test_an_unknown_rule_of_a_client_is_refused_by_name(field: str) -> None:
    message = spec_to_wire(A_SPEC)
    setattr(message.schedule, field, 99)
    with pytest.raises(InvalidRequest, match=rf"spec\.schedule\.{field}: is 99, which is unknown"):
        spec_from_wire(message)


def test_a_sweep_of_a_later_version_asks_for_an_update() -> None:
    sweep = Sweep(
        sweep_id="s", tenant=TENANT, spec=A_SPEC, state=SweepState.ACTIVE, created_at=a_time(0)
    )
    message = sweep_to_wire(sweep)
    message.spec.endpoints[0].role = 99  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="a sweep that this version does not know"):
        sweep_from_wire(message)
