"""Records survive the wire, and the wire knows every member of every enum."""

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from hypothesis import given, settings
from inference_audit.v1 import (
    audit_pb2,
    exchange_pb2,
    findings_pb2,
    provider_pb2,
    verdict_pb2,
)
from inference_audit.v1 import audit_service_pb2 as pb

from audit.codec.limits import check_request
from audit.codec.wire import (
    AuditView,
    audit_from_wire,
    audit_to_wire,
    request_from_wire,
    request_to_wire,
)
from audit.codec.wire_enums import (
    disposition_from_wire,
    outcome_from_wire,
    reason_from_wire,
    state_from_wire,
)
from audit.codec.wire_filter import filter_from_wire, filter_to_wire
from audit.codec.wire_provider import ProviderView, provider_from_wire, provider_to_wire
from audit.errors import ConfigurationError, InvalidRequest
from audit.findings import Disposition
from audit.records import (
    AuditFilter,
    AuditRecord,
    AuditRequest,
    AuditState,
    Outcome,
    Prompt,
    Reason,
    SignedVerdict,
    StoredStream,
    Verdict,
)
from tests.unit.codec.wire_strategies import requests, streams, verdicts


@settings(max_examples=100, deadline=None)
@given(requests)
def test_a_checked_request_survives_the_wire(request_: AuditRequest) -> None:
    check_request(request_)
    raw = request_to_wire(request_).SerializeToString()
    assert request_from_wire(pb.SubmitAuditRequest.FromString(raw)) == request_


@settings(max_examples=60, deadline=None)
@given(requests, verdicts)
def test_a_finished_audit_survives_the_wire_but_for_its_exchange(
    request_: AuditRequest, verdict: Verdict
) -> None:
    record = AuditRecord(
        audit_id="audit-1",
        request=request_,
        request_digest="sha256:0",
        state=AuditState.DONE,
        submitted_at="2026-01-31T12:00:00.000001Z",
        finished_at="2026-01-31T12:00:01.000000Z",
        signed=SignedVerdict(verdict=verdict, envelope=b"{}", key_id="key-1"),
    )
    raw = audit_to_wire(record).SerializeToString()
    assert audit_from_wire(audit_pb2.Audit.FromString(raw)) == AuditView(
        audit_id=record.audit_id,
        request_id=request_.request_id,
        request_digest=record.request_digest,
        claim=request_.claim,
        state=record.state,
        submitted_at=record.submitted_at,
        finished_at=record.finished_at,
        signed=record.signed,
    )


@settings(max_examples=60, deadline=None)
@given(streams)
def test_provider_evidence_survives_the_wire_but_for_its_state(stream: StoredStream) -> None:
    raw = provider_to_wire(stream).SerializeToString()
    assert provider_from_wire(provider_pb2.ProviderEvidence.FromString(raw)) == ProviderView(
        key=stream.key, finding=stream.finding, version=stream.version
    )


def test_an_empty_message_becomes_a_request_that_states_nothing() -> None:
    request = request_from_wire(pb.SubmitAuditRequest())
    assert request.exchange.prompt == Prompt()
    with pytest.raises(InvalidRequest):
        check_request(request)


def test_an_empty_list_of_ids_is_told_from_none() -> None:
    message = exchange_pb2.Output(token_ids=exchange_pb2.TokenIds())
    request = pb.SubmitAuditRequest(exchange=exchange_pb2.Exchange(output=message))
    assert request_from_wire(request).exchange.output.token_ids == ()


@pytest.mark.parametrize(
    ("members", "wrapper", "prefix"),
    [
        (Outcome, verdict_pb2.Outcome, "OUTCOME_"),
        (Reason, verdict_pb2.Reason, "REASON_"),
        (AuditState, audit_pb2.AuditState, "AUDIT_STATE_"),
        (Disposition, findings_pb2.Disposition, "DISPOSITION_"),
    ],
    ids=["outcome", "reason", "state", "disposition"],
)
def test_enums_pair_one_to_one(
    members: type[Outcome] | type[Reason] | type[AuditState] | type[Disposition],
    wrapper: EnumTypeWrapper,
    prefix: str,
) -> None:
    expected = {prefix + member.name for member in members} | {f"{prefix}UNSPECIFIED"}
    assert set(wrapper.keys()) == expected


@pytest.mark.parametrize("value", [0, 99], ids=["unspecified", "from-a-newer-version"])
def test_an_unknown_enum_value_is_an_error_and_no_guess(value: int) -> None:
    for convert in (
        outcome_from_wire,
        reason_from_wire,
        state_from_wire,
        disposition_from_wire,
    ):
        with pytest.raises(ConfigurationError, match=f"{value}, which this version"):
            convert(value)


@pytest.mark.parametrize(
    "where",
    [
        AuditFilter(),
        AuditFilter(outcome=Outcome.FAIL, state=AuditState.DONE, model="small"),
        AuditFilter(model=""),
    ],
    ids=["all", "narrow", "empty-model"],
)
def test_a_filter_survives_the_wire(where: AuditFilter) -> None:
    assert filter_from_wire(filter_to_wire(where)) == where
