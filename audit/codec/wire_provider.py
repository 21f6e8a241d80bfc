"""The evidence about providers, from records to messages and back.

Stands at the edge of service and client. The judge's own state stays in the service: a client gets
what it says, not what it is added up from.
"""

from dataclasses import dataclass

from inference_audit.v1 import provider_pb2 as pb

from audit.codec.wire_findings import finding_from_wire, finding_to_wire
from audit.findings import ProviderFinding, StreamKey
from audit.records import StoredStream


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """The evidence about a provider as a client sees it: a StoredStream without its state."""

    key: StreamKey
    finding: ProviderFinding
    version: int


def provider_to_wire(stream: StoredStream) -> pb.ProviderEvidence:
    """Return the message for a provider's stored evidence."""
    key = stream.key
    return pb.ProviderEvidence(
        provider=key.provider,
        endpoint=key.endpoint,
        model=key.model,
        model_digest=key.model_digest,
        calibration_id=key.calibration_id,
        policy_id=key.policy_id,
        finding=finding_to_wire(stream.finding),
        version=stream.version,
    )


def provider_from_wire(message: pb.ProviderEvidence) -> ProviderView:
    """Return what a message says of a provider."""
    key = StreamKey(
        provider=message.provider,
        endpoint=message.endpoint,
        model=message.model,
        model_digest=message.model_digest,
        calibration_id=message.calibration_id,
        policy_id=message.policy_id,
    )
    return ProviderView(
        key=key, finding=finding_from_wire(message.finding), version=message.version
    )
