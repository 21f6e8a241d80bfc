"""The one boundary at which gRPC errors become our own.

Stands around every call of the client. Statuses that the service made are turned back into the
errors they were made from; the others come from the connection, or from something else at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from audit.codec.wire_errors import error_of
from audit.errors import AuditError, ConfigurationError, InvalidRequest, StorageError


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Raise our error for every gRPC error raised inside."""
    try:
        yield
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call):
            raise
        raise _ours(error, address) from None


def _ours(call: grpc.Call, address: str) -> AuditError:
    known = _known(call)
    if known is not None:
        return known
    code, text = call.code(), call.details() or "no details"
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return ConfigurationError(
                f"no audit service answers at {address}: is the service running? "
                "start it with: inference-audit serve"
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return ConfigurationError(
                f"what answers at {address} is no audit service of this version, or one that was "
                "started without this part; check the address"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return InvalidRequest.of("exchange", f"is too large for the service: {text}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return StorageError(
                f"the service at {address} did not answer in time; repeat the call: submitting "
                "again under the same request_id does no harm"
            )
    return AuditError(f"the service at {address} failed with {code.name}: {text}")


def _known(call: grpc.Call) -> AuditError | None:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        # Details that contradict the status are not from our service.
        return None
    return None if status is None else error_of(status)
