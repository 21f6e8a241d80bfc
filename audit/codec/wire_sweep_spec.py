"""What a user asks a sweep to watch, from records to messages and back.

Stands at the edge of service and client. It maps fields and checks no limits:
`audit.codec.sweep_limits` does that, before a spec is sent and after a message has become one.
What a field states is kept; what it does not state becomes the record's default.
"""

from typing import Any

from inference_audit.v1 import sweep_pb2 as pb

from audit.codec.wire_exchange import claim_from_wire, claim_to_wire
from audit.codec.wire_sweep_enums import (
    api_from_wire,
    api_to_wire,
    catch_up_from_wire,
    catch_up_to_wire,
    overlap_from_wire,
    overlap_to_wire,
    role_from_wire,
    role_to_wire,
)
from audit.codec.wire_sweep_reading import money_from_wire, money_to_wire
from audit.sweep_records import Budget, Endpoint, Schedule, SweepSpec


def spec_to_wire(spec: SweepSpec) -> pb.SweepSpec:
    """Return the message for a spec."""
    budget, schedule = spec.budget, spec.schedule
    return pb.SweepSpec(
        name=spec.name,
        endpoints=[_endpoint_to_wire(endpoint) for endpoint in spec.endpoints],
        claim=claim_to_wire(spec.claim),
        budget=pb.SweepBudget(
            max_requests=budget.max_requests,
            max_tokens=budget.max_tokens,
            max_cost=money_to_wire(budget.max_cost),
        ),
        schedule=None if schedule is None else _schedule_to_wire(schedule),
        detectors=spec.detectors,
    )


def spec_from_wire(message: pb.SweepSpec) -> SweepSpec:
    """Return the unchecked record of a message.

    Raises: InvalidRequest, with the fields of CreateSweepRequest, for unknown enum values.
    """
    budget = message.budget
    return SweepSpec(
        name=message.name,
        endpoints=tuple(
            _endpoint_from_wire(f"spec.endpoints[{index}]", endpoint)
            for index, endpoint in enumerate(message.endpoints)
        ),
        claim=claim_from_wire(message.claim),
        budget=Budget(
            max_requests=budget.max_requests,
            max_tokens=budget.max_tokens,
            max_cost=money_from_wire(budget.max_cost) if budget.HasField("max_cost") else None,
        ),
        schedule=_schedule_from_wire(message.schedule) if message.HasField("schedule") else None,
        detectors=tuple(message.detectors),
    )


def _endpoint_to_wire(endpoint: Endpoint) -> pb.SweepEndpoint:
    return pb.SweepEndpoint(
        name=endpoint.name,
        base_url=endpoint.base_url,
        model=endpoint.model,
        key_ref=endpoint.key_ref,
        role=role_to_wire(endpoint.role),
        route=endpoint.route_json,
        expected_upstream=endpoint.expected_upstream,
        engine=endpoint.engine,
        engine_version=endpoint.engine_version,
        device=endpoint.device,
        sampler_profile=endpoint.sampler_profile,
        api=api_to_wire(endpoint.api),
        offers_logprobs=endpoint.offers_logprobs,
        offers_token_ids=endpoint.offers_token_ids,
        max_concurrency=endpoint.max_concurrency,
        max_requests_per_s=endpoint.max_requests_per_s,
        timeout_s=endpoint.timeout_s,
        input_price=money_to_wire(endpoint.input_price),
        output_price=money_to_wire(endpoint.output_price),
    )


def _endpoint_from_wire(path: str, message: pb.SweepEndpoint) -> Endpoint:
    has, rate = message.HasField, message.max_requests_per_s
    stated = _stated(message, "offers_logprobs", "offers_token_ids", "max_concurrency", "timeout_s")
    return Endpoint(
        name=message.name,
        base_url=message.base_url,
        model=message.model,
        key_ref=message.key_ref if has("key_ref") else None,
        role=role_from_wire(f"{path}.role", message.role),
        route_json=message.route if has("route") else "{}",
        expected_upstream=message.expected_upstream if has("expected_upstream") else None,
        engine=message.engine if has("engine") else None,
        engine_version=message.engine_version if has("engine_version") else None,
        device=message.device if has("device") else None,
        sampler_profile=message.sampler_profile if has("sampler_profile") else None,
        api=api_from_wire(f"{path}.api", message.api),
        max_requests_per_s=rate if has("max_requests_per_s") else None,
        input_price=money_from_wire(message.input_price) if has("input_price") else None,
        output_price=money_from_wire(message.output_price) if has("output_price") else None,
        **stated,
    )


def _schedule_to_wire(schedule: Schedule) -> pb.SweepSchedule:
    return pb.SweepSchedule(
        cron=schedule.cron,
        timezone=schedule.timezone,
        jitter_s=schedule.jitter_s,
        overlap=overlap_to_wire(schedule.overlap),
        catch_up=catch_up_to_wire(schedule.catch_up),
        max_lateness_s=schedule.max_lateness_s,
    )


def _schedule_from_wire(message: pb.SweepSchedule) -> Schedule:
    return Schedule(
        cron=message.cron,
        jitter_s=message.jitter_s,
        overlap=overlap_from_wire("spec.schedule.overlap", message.overlap),
        catch_up=catch_up_from_wire("spec.schedule.catch_up", message.catch_up),
        **_stated(message, "timezone", "max_lateness_s"),
    )


def _stated(message: pb.SweepEndpoint | pb.SweepSchedule, *names: str) -> dict[str, Any]:
    # the record has the defaults of what is absent
    has: Any = message.HasField
    return {name: getattr(message, name) for name in names if has(name)}
