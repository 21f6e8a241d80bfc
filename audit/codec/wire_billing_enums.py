"""Schemas, tiers, controllers, adversaries and outcomes of meters, to wire values and back.

Stands below the other wire modules of billing. Members pair by name, so that a member without its
wire value fails at the first test, and a wire value without its member is an error, never a guess.
"""

from collections.abc import Sequence

from inference_audit.v1 import billing_pb2 as pb

from audit.billing_records import Adversary, Controller, MeterOutcome, Tier, UsageSchema
from audit.errors import ConfigurationError, InvalidRequest


def schema_to_wire(schema: UsageSchema) -> "pb.UsageSchema.ValueType":
    """Return the wire value of a usage schema."""
    return pb.UsageSchema.Value(f"USAGE_SCHEMA_{schema.name}")


def schema_from_wire(field: str, value: int) -> UsageSchema:
    """Return the usage schema that a client states. Raises: InvalidRequest naming the field."""
    known = ", ".join(UsageSchema)
    if value == pb.USAGE_SCHEMA_UNSPECIFIED:
        raise InvalidRequest.of(field, f"is missing; say whose usage object it was: {known}")
    name = _member_name(pb.UsageSchema.items(), value, "USAGE_SCHEMA_")
    if name is None:
        raise InvalidRequest.of(field, f"is {value}, no schema known here; known are {known}")
    return UsageSchema[name]


def tier_to_wire(tier: Tier) -> "pb.Tier.ValueType":
    """Return the wire value of a tier."""
    return pb.Tier.Value(f"TIER_{tier.name}")


def tier_from_wire(value: int) -> Tier:
    """Return the tier of a wire value. Raises: ConfigurationError for an unknown one."""
    return Tier[_answered(pb.Tier.items(), value, "TIER_")]


def controller_to_wire(controller: Controller) -> "pb.Controller.ValueType":
    """Return the wire value of a controller."""
    return pb.Controller.Value(f"CONTROLLER_{controller.name}")


def controller_from_wire(value: int) -> Controller:
    """Return the controller of a wire value. Raises: ConfigurationError for an unknown one."""
    return Controller[_answered(pb.Controller.items(), value, "CONTROLLER_")]


def adversary_to_wire(adversary: Adversary) -> "pb.Adversary.ValueType":
    """Return the wire value of an adversary."""
    return pb.Adversary.Value(f"ADVERSARY_{adversary.name}")


def adversary_from_wire(value: int) -> Adversary:
    """Return the adversary of a wire value. Raises: ConfigurationError for an unknown one."""
    return Adversary[_answered(pb.Adversary.items(), value, "ADVERSARY_")]


def meter_outcome_to_wire(outcome: MeterOutcome) -> "pb.MeterOutcome.ValueType":
    """Return the wire value of what is said of a meter."""
    return pb.MeterOutcome.Value(f"METER_OUTCOME_{outcome.name}")


def meter_outcome_from_wire(value: int) -> MeterOutcome:
    """Return what is said of a meter. Raises: ConfigurationError for an unknown wire value."""
    return MeterOutcome[_answered(pb.MeterOutcome.items(), value, "METER_OUTCOME_")]


def _answered(items: Sequence[tuple[str, int]], value: int, prefix: str) -> str:
    name = _member_name(items, value, prefix)
    if name is None:
        kind = prefix.removesuffix("_").lower().replace("_", " ")
        raise ConfigurationError(
            f"the service answered with {kind} {value}, which this version does not know: update it"
        )
    return name


def _member_name(items: Sequence[tuple[str, int]], value: int, prefix: str) -> str | None:
    for name, number in items:
        if number == value and value != 0:
            return name.removeprefix(prefix)
    return None
