"""The digest names exchange and claim, all of them and nothing else."""

import hashlib
from dataclasses import replace

from hypothesis import given, settings
from inference_audit.v1 import audit_service_pb2 as pb

from audit.codec.digest import request_digest, stream_id
from audit.codec.wire import request_from_wire, request_to_wire
from audit.findings import StreamKey
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Output,
    Prompt,
    SamplingRequest,
)
from tests.unit.codec.wire_strategies import requests, stream_keys

SMALL = AuditRequest(
    request_id="request-1",
    exchange=Exchange(
        prompt=Prompt(text="é"),
        output=Output(token_ids=(1, 2)),
        sampling=SamplingRequest(temperature=1.0, seed=2**53),
    ),
    claim=Claim(model="small"),
)
SMALL_JSON = (
    '{"claim":{"model":"small"},"exchange":{"output":{"token_ids":[1,2]},"prompt":{"text":"é"},'
    '"provider":{},"sampling":{"seed":"9007199254740992","stated_neutral":[],"temperature":1,'
    '"unsupported":[]},"timing":{},"usage":{}}}'
)
#: Of SMALL_JSON, from sha256sum.
SMALL_DIGEST = "sha256:c9cdbe44c7ad1694cb80ab85d21a081f0dad33ec43c66a7a2917119c9b10de98"


def test_the_digest_is_that_of_the_written_out_canonical_json() -> None:
    assert request_digest(SMALL) == SMALL_DIGEST


def test_the_request_id_is_not_part_of_the_digest() -> None:
    assert request_digest(replace(SMALL, request_id="another")) == SMALL_DIGEST


@settings(max_examples=100, deadline=None)
@given(requests, requests)
def test_two_requests_share_a_digest_only_if_they_are_equal(
    first: AuditRequest, second: AuditRequest
) -> None:
    same = (first.exchange, first.claim) == (second.exchange, second.claim)
    assert (request_digest(first) == request_digest(second)) is same


@settings(max_examples=100, deadline=None)
@given(requests, requests)
def test_a_change_of_any_one_part_changes_the_digest(
    request_: AuditRequest, other: AuditRequest
) -> None:
    for name in ("prompt", "output", "sampling", "usage", "timing", "provider"):
        part = {name: getattr(other.exchange, name)}
        changed = replace(request_, exchange=replace(request_.exchange, **part))
        assert (request_digest(changed) == request_digest(request_)) is (changed == request_)


@settings(max_examples=50, deadline=None)
@given(requests)
def test_the_digest_is_the_same_on_both_sides_of_the_wire(request_: AuditRequest) -> None:
    raw = request_to_wire(request_).SerializeToString()
    received = request_from_wire(pb.SubmitAuditRequest.FromString(raw))
    assert request_digest(received) == request_digest(request_)


def test_a_stream_is_named_by_the_written_out_canonical_json_of_its_key() -> None:
    key = StreamKey(
        provider="",
        endpoint="https://é.example",
        model="small",
        model_digest="sha256:0",
        calibration_id="c",
        policy_id="p",
    )
    written_out = (
        '{"calibration_id":"c","endpoint":"https://é.example","model":"small",'
        '"model_digest":"sha256:0","policy_id":"p","provider":""}'
    )
    assert stream_id(key) == f"sha256:{hashlib.sha256(written_out.encode()).hexdigest()}"


@settings(max_examples=100, deadline=None)
@given(stream_keys, stream_keys)
def test_two_streams_share_an_id_only_if_their_keys_are_equal(
    first: StreamKey, second: StreamKey
) -> None:
    assert (stream_id(first) == stream_id(second)) is (first == second)
