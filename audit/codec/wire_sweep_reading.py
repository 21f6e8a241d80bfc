"""What one detector says about one endpoint, and amounts of money, to messages and back.

Stands below the messages of specs and results.
"""

from inference_audit.v1 import billing_pb2
from inference_audit.v1 import sweep_pb2 as pb

from audit.billing_records import Money
from audit.codec.wire_sweep_enums import reading_status_from_wire, reading_status_to_wire
from audit.sweep_records import Candidate, Misconfiguration, Reading, Visible


def money_to_wire(money: Money | None) -> billing_pb2.Money | None:
    """Return the message for an amount, None for none."""
    if money is None:
        return None
    return billing_pb2.Money(amount=money.amount, currency=money.currency)


def money_from_wire(message: billing_pb2.Money) -> Money:
    """Return the unchecked record of a message."""
    return Money(amount=message.amount, currency=message.currency)


def reading_to_wire(reading: Reading) -> pb.DetectorReading:
    """Return the message for a reading."""
    visible = reading.visible
    return pb.DetectorReading(
        detector=reading.detector,
        tier=reading.tier,
        status=reading_status_to_wire(reading.status),
        reason=reading.reason,
        log_e_nats=reading.log_e_nats_N,
        tells=reading.tells,
        honest_tell_rate=reading.honest_tell_rate,
        num_sent=reading.num_sent,
        num_used=reading.num_used,
        statistics=[pb.NamedValue(name=name, value=value) for name, value in reading.statistics],
        candidates=[
            pb.CandidateLikelihood(name=one.name, log_likelihood_nats=one.log_likelihood_nats)
            for one in reading.candidates
        ],
        misconfigurations=[
            pb.Misconfiguration(check=one.check, is_decisive=one.is_decisive, detail=one.detail)
            for one in reading.misconfigurations
        ],
        visible=None if visible is None else _visible_to_wire(visible),
        notes=reading.notes,
    )


def reading_from_wire(message: pb.DetectorReading) -> Reading:
    """Return the record of a message. Raises: ConfigurationError for an unknown status."""
    has = message.HasField
    return Reading(
        detector=message.detector,
        tier=message.tier,
        status=reading_status_from_wire(message.status),
        reason=message.reason,
        log_e_nats_N=tuple(message.log_e_nats),
        tells=message.tells,
        honest_tell_rate=message.honest_tell_rate if has("honest_tell_rate") else None,
        num_sent=message.num_sent,
        num_used=message.num_used,
        statistics=tuple((one.name, one.value) for one in message.statistics),
        candidates=tuple(
            Candidate(name=one.name, log_likelihood_nats=one.log_likelihood_nats)
            for one in message.candidates
        ),
        misconfigurations=tuple(
            Misconfiguration(check=one.check, is_decisive=one.is_decisive, detail=one.detail)
            for one in message.misconfigurations
        ),
        visible=_visible_from_wire(message.visible) if has("visible") else None,
        notes=tuple(message.notes),
    )


def _visible_to_wire(visible: Visible) -> pb.VisibleDeviation:
    return pb.VisibleDeviation(
        power=visible.power,
        smallest_share=visible.smallest_share,
        needed=[pb.NeededRequests(attack=name, num_requests=n) for name, n in visible.needed],
        statement=visible.statement,
    )


def _visible_from_wire(message: pb.VisibleDeviation) -> Visible:
    return Visible(
        power=message.power,
        smallest_share=message.smallest_share if message.HasField("smallest_share") else None,
        needed=tuple((one.attack, one.num_requests) for one in message.needed),
        statement=message.statement,
    )
