"""Billed requests and findings survive the wire; what is absent stays absent; enums pair."""

import struct
from collections.abc import Callable
from dataclasses import fields, replace
from enum import StrEnum
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_audit.v1 import billing_pb2 as pb
from inference_audit.v1 import billing_service_pb2 as service_pb

from audit.billing_records import (
    AccountKey,
    Adversary,
    BilledRequest,
    BilledUsage,
    BillingFinding,
    CallTiming,
    ChannelStanding,
    Controller,
    MeterOutcome,
    Money,
    OpaqueEvidence,
    Tier,
    UsageSchema,
    Violation,
)
from audit.codec.billing_limits import check_billed_request
from audit.codec.wire_billing import billed_request_from_wire, billed_request_to_wire
from audit.codec.wire_billing_enums import (
    adversary_from_wire,
    adversary_to_wire,
    controller_from_wire,
    controller_to_wire,
    meter_outcome_from_wire,
    meter_outcome_to_wire,
    schema_from_wire,
    schema_to_wire,
    tier_from_wire,
    tier_to_wire,
)
from audit.codec.wire_billing_finding import (
    BillingAck,
    BillingView,
    account_from_wire,
    account_to_wire,
    ack_from_wire,
    ack_to_wire,
    key_from_wire,
    key_to_wire,
)
from audit.errors import ConfigurationError, InvalidRequest
from tests.support.hidden_tokens import load_rows
from tests.unit.hidden_tokens.wire_examples import A_REQUEST, a_finding, a_key

T = TypeVar("T")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=False)


def maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


def many(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


usages = st.builds(
    BilledUsage,
    schema=st.sampled_from(UsageSchema),
    output_tokens=counts,
    prompt_tokens=maybe(counts),
    reasoning_tokens=maybe(counts),
    total_tokens=maybe(counts),
    stated_completion_tokens=maybe(counts),
)
timings = st.builds(
    CallTiming,
    elapsed_s=numbers,
    first_answer_token_s=maybe(numbers),
    chunk_times_s=many(numbers),
)
opaques = st.builds(
    OpaqueEvidence,
    blob_chars=maybe(counts),
    num_blobs=counts,
    signature_chars=maybe(counts),
    summary_chars=maybe(counts),
    has_builtin_tools=st.booleans(),
)
requests = st.builds(
    BilledRequest,
    request_id=texts,
    account=texts,
    provider=texts,
    model=texts,
    usage=usages,
    observed_at=texts,
    effort=maybe(texts),
    domain=maybe(texts),
    prompt=maybe(texts),
    answer=maybe(texts),
    streamed_usage=maybe(usages),
    max_output_tokens=maybe(counts),
    thinking_budget_tokens=maybe(counts),
    is_aggregator=st.booleans(),
    timing=maybe(timings),
    opaque=maybe(opaques),
    reference_counts=many(counts),
    disclosed_reasoning=maybe(texts),
)
violations = st.builds(
    Violation,
    identity=texts,
    statement=texts,
    excess_tokens=maybe(counts),
    tier=st.sampled_from(Tier),
)
standings = st.builds(
    ChannelStanding,
    tier=st.sampled_from(Tier),
    controller=st.sampled_from(Controller),
    stops=st.sampled_from(Adversary),
    num_requests=counts,
    log10_e_over=numbers,
    log10_e_under=numbers,
    ratio_low=maybe(numbers),
    ratio_high=maybe(numbers),
)
amounts = st.builds(Money, amount=texts, currency=texts)
findings = st.builds(
    BillingFinding,
    finding_id=texts,
    outcome=st.sampled_from(MeterOutcome),
    statement=texts,
    direction=maybe(texts),
    tier=maybe(st.sampled_from(Tier)),
    controller=maybe(st.sampled_from(Controller)),
    stops=maybe(st.sampled_from(Adversary)),
    num_requests=counts,
    num_violations=counts,
    violations=many(violations),
    log10_e_over=numbers,
    log10_e_under=numbers,
    log10_threshold=numbers,
    disagreed_at_request=maybe(counts),
    billed_tokens=counts,
    expected_tokens=maybe(numbers),
    overcharge_tokens_low=maybe(numbers),
    overcharge_tokens_high=maybe(numbers),
    overcharge_money_low=maybe(amounts),
    overcharge_money_high=maybe(amounts),
    channels=many(standings),
    agreement=texts,
    change_at_request=maybe(counts),
    not_checked=many(texts),
    calibration_id=texts,
)
keys = st.builds(
    AccountKey,
    tenant=texts,
    account=texts,
    provider=texts,
    model=texts,
    effort=texts,
    domain=texts,
    calibration_id=texts,
)
views = st.builds(
    BillingView,
    key=keys,
    version=counts,
    finding=findings,
    envelope=maybe(st.binary(max_size=8)),
    log_index=maybe(counts),
    signed_version=maybe(counts),
)
acks = st.builds(
    BillingAck,
    request_id=texts,
    finding_id=texts,
    violations=many(violations),
    was_known=st.booleans(),
)


def over_the_wire(request: BilledRequest) -> BilledRequest:
    raw = billed_request_to_wire(request).SerializeToString()
    return billed_request_from_wire(pb.BilledRequest.FromString(raw))


@settings(max_examples=100, deadline=None)
@given(requests)
def test_a_billed_request_survives_the_wire(request: BilledRequest) -> None:
    assert over_the_wire(request) == request


@settings(max_examples=60, deadline=None)
@given(views)
def test_the_evidence_about_an_account_survives_the_wire(view: BillingView) -> None:
    raw = account_to_wire(view).SerializeToString()
    assert account_from_wire(pb.BillingAccount.FromString(raw)) == view


@settings(max_examples=40, deadline=None)
@given(acks)
def test_an_acknowledgement_survives_the_wire(ack: BillingAck) -> None:
    raw = ack_to_wire(ack).SerializeToString()
    assert ack_from_wire(service_pb.SubmitUsageResponse.FromString(raw)) == ack


def test_every_field_is_carried() -> None:
    """The example states every field, so that one added to the records and not here fails."""
    for record in (A_REQUEST, a_finding(a_key())):
        assert all(getattr(record, field.name) is not None for field in fields(record))
    assert over_the_wire(A_REQUEST) == A_REQUEST


def test_zero_and_absent_are_two_things() -> None:
    usage = replace(A_REQUEST.usage, reasoning_tokens=0)
    assert over_the_wire(replace(A_REQUEST, usage=usage)).usage.reasoning_tokens == 0
    usage = replace(A_REQUEST.usage, reasoning_tokens=None)
    assert over_the_wire(replace(A_REQUEST, usage=usage)).usage.reasoning_tokens is None


def test_blobs_that_are_not_counted_are_one() -> None:
    message = billed_request_to_wire(A_REQUEST)
    message.opaque.ClearField("num_blobs")
    opaque = billed_request_from_wire(message).opaque
    assert opaque is not None
    assert opaque.num_blobs == 1


def test_the_state_of_the_evidence_has_no_field_on_the_wire() -> None:
    assert "state_json" not in pb.BillingAccount.DESCRIPTOR.fields_by_name


def test_a_key_gets_the_tenant_of_the_service() -> None:
    message = key_to_wire(a_key(tenant="theirs"))
    assert key_from_wire(message, tenant="ours") == a_key(tenant="ours")


@pytest.mark.parametrize(
    ("clear", "says"),
    [
        (lambda m: m.ClearField("usage"), r"request\.usage: is missing"),
        (
            lambda m: m.usage.ClearField("output_tokens"),
            r"request\.usage\.output_tokens: is missing; without it nothing is known",
        ),
        (
            lambda m: m.usage.ClearField("schema"),
            r"request\.usage\.schema: is missing; say whose usage object it was: openai_chat",
        ),
        (
            lambda m: m.streamed_usage.ClearField("output_tokens"),
            r"request\.streamed_usage\.output_tokens: is missing",
        ),
        (
            lambda m: m.timing.ClearField("elapsed_s"),
            r"request\.timing\.elapsed_s: is missing; give it, or leave the timing out",
        ),
    ],
    ids=["usage", "output", "schema", "streamed", "elapsed"],
)
def test_what_a_record_cannot_lack_is_refused_by_name(
    clear: Callable[[pb.BilledRequest], None], says: str
) -> None:
    message = billed_request_to_wire(A_REQUEST)
    clear(message)
    with pytest.raises(InvalidRequest, match=says):
        billed_request_from_wire(message)


def test_an_unknown_schema_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"usage\.schema: is 99, no schema known here; known"):
        schema_from_wire("usage.schema", 99)


@pytest.mark.parametrize(
    ("kind", "to_wire", "from_wire"),
    [
        (UsageSchema, schema_to_wire, lambda value: schema_from_wire("f", value)),
        (Tier, tier_to_wire, tier_from_wire),
        (Controller, controller_to_wire, controller_from_wire),
        (Adversary, adversary_to_wire, adversary_from_wire),
        (MeterOutcome, meter_outcome_to_wire, meter_outcome_from_wire),
    ],
)
def test_members_and_wire_values_pair_one_to_one(
    kind: type[StrEnum], to_wire: Callable[[StrEnum], int], from_wire: Callable[[int], StrEnum]
) -> None:
    values = [to_wire(member) for member in kind]
    assert [from_wire(value) for value in values] == list(kind)
    assert sorted(values) == list(range(1, len(kind) + 1))
    for unknown in (0, len(kind) + 1):
        with pytest.raises((ConfigurationError, InvalidRequest)):
            from_wire(unknown)


def test_an_unknown_answer_tells_to_update() -> None:
    with pytest.raises(ConfigurationError, match="answered with meter outcome 9, which this"):
        meter_outcome_from_wire(9)


def test_real_calls_survive_the_wire_and_pass_its_limits() -> None:
    rows = load_rows("billed_calib")
    for row in rows:
        elapsed_s, signature_chars = row["elapsed_s"], row["signature_chars"]
        request = BilledRequest(
            request_id=row["id"],
            account="acme",
            provider=row["source"],
            model=row["model"],
            effort=row["effort"],
            domain=row["domain"],
            prompt=row["prompt"],
            answer=row["answer"],
            usage=BilledUsage(
                schema=UsageSchema.OPENAI_CHAT,
                output_tokens=row["completion_tokens_billed"] or row["target_tokens"],
                prompt_tokens=row["prompt_tokens_billed"],
                reasoning_tokens=row["reasoning_tokens_billed"],
            ),
            observed_at="2026-01-31T12:00:00Z",
            timing=None if elapsed_s is None else CallTiming(elapsed_s=elapsed_s),
            opaque=OpaqueEvidence(signature_chars=signature_chars),
            disclosed_reasoning=row["reasoning"],
        )
        check_billed_request(request)
        assert over_the_wire(request) == request
    assert len(rows) > 6_000


def test_times_travel_bit_for_bit() -> None:
    times_s = (0.1, 0.1 + 2**-54, 1 / 3)
    timing = CallTiming(elapsed_s=2 / 3, chunk_times_s=times_s)
    arrived = over_the_wire(replace(A_REQUEST, timing=timing)).timing
    assert arrived is not None
    packed = struct.pack("4d", arrived.elapsed_s, *arrived.chunk_times_s)
    assert packed == struct.pack("4d", 2 / 3, *times_s)
