"""Sweeps and their runs, from records to messages and back.

Stands at the edge of service and client. What holds a slot meanwhile stays in the service.
"""

from dataclasses import dataclass

from inference_audit.v1 import sweep_pb2 as pb

from audit.codec.wire_sweep_enums import (
    run_state_from_wire,
    run_state_to_wire,
    sweep_outcome_from_wire,
    sweep_outcome_to_wire,
    sweep_state_from_wire,
    sweep_state_to_wire,
)
from audit.codec.wire_sweep_result import result_from_wire, result_to_wire
from audit.codec.wire_sweep_spec import spec_from_wire, spec_to_wire
from audit.codec.wire_time import time_from_wire, time_to_wire
from audit.errors import ConfigurationError, InvalidRequest
from audit.sweep_records import Slot, Sweep, SweepOutcome, SweepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRunView:
    """A run with what it concludes, as desk and client see it.

    At the client, owner, lease and `result_json` of the slot are None: they stay in the service.
    """

    slot: Slot
    result: SweepResult | None = None
    """None until the run is over, and at the client of a list."""
    envelope: bytes | None = None
    """The signed result, DSSE in JSON."""
    log_index: int | None = None
    """Place of the envelope in the log."""
    outcome: SweepOutcome | None = None
    """As in the result; a list has it without. Need not be stated beside a result."""
    statement: str | None = None


def sweep_to_wire(sweep: Sweep) -> pb.Sweep:
    """Return the message for a sweep."""
    return pb.Sweep(
        sweep_id=sweep.sweep_id,
        tenant=sweep.tenant,
        spec=spec_to_wire(sweep.spec),
        state=sweep_state_to_wire(sweep.state),
        create_time=time_to_wire(sweep.created_at),
        version=sweep.version,
    )


def sweep_from_wire(message: pb.Sweep) -> Sweep:
    """Return what a service says. Raises: ConfigurationError for unknown enum values."""
    try:
        spec = spec_from_wire(message.spec)
    except InvalidRequest as error:
        raise ConfigurationError(
            f"the service answered with a sweep that this version does not know ({error}): update "
            "it"
        ) from error
    return Sweep(
        sweep_id=message.sweep_id,
        tenant=message.tenant,
        spec=spec,
        state=sweep_state_from_wire(message.state),
        created_at=time_from_wire(message.create_time),
        version=message.version,
    )


def run_to_wire(view: SweepRunView, *, with_result: bool = True) -> pb.SweepRun:
    """Return the message for a run; lists leave result and envelope out."""
    slot, result = view.slot, view.result
    outcome = view.outcome if result is None else result.outcome
    return pb.SweepRun(
        run_id=slot.run_id,
        sweep_id=slot.sweep_id,
        tenant=slot.tenant,
        slot_time=time_to_wire(slot.slot_at),
        start_time=time_to_wire(slot.start_at),
        is_manual=slot.is_manual,
        state=run_state_to_wire(slot.state),
        attempt=slot.attempt,
        finish_time=None if slot.finished_at is None else time_to_wire(slot.finished_at),
        outcome=None if outcome is None else sweep_outcome_to_wire(outcome),
        statement=view.statement if result is None else result.statement,
        result=result_to_wire(result) if with_result and result is not None else None,
        envelope=view.envelope if with_result else None,
        log_index=view.log_index,
    )


def run_from_wire(message: pb.SweepRun) -> SweepRunView:
    """Return what a service says. Raises: ConfigurationError for unknown enum values."""
    has = message.HasField
    log_index = message.log_index if has("log_index") else None
    return SweepRunView(
        slot=Slot(
            run_id=message.run_id,
            sweep_id=message.sweep_id,
            tenant=message.tenant,
            slot_at=time_from_wire(message.slot_time),
            start_at=time_from_wire(message.start_time),
            is_manual=message.is_manual,
            state=run_state_from_wire(message.state),
            attempt=message.attempt,
            finished_at=time_from_wire(message.finish_time) if has("finish_time") else None,
            log_index=log_index,
        ),
        result=result_from_wire(message.result) if has("result") else None,
        envelope=message.envelope if has("envelope") else None,
        log_index=log_index,
        outcome=sweep_outcome_from_wire(message.outcome) if has("outcome") else None,
        statement=message.statement if has("statement") else None,
    )
