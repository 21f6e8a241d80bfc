"""Report formats and receipts, from values to messages and back.

Stands at the edge of service and client, below `audit.reports`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inference_audit.v1 import report_pb2 as pb

from audit.errors import InvalidRequest

_PREFIX: Final = "REPORT_FORMAT_"

#: Formats by the names that commands and renderers use, in the order of the proto.
FORMATS: Final = tuple(
    name.removeprefix(_PREFIX).lower() for name, number in pb.ReportFormat.items() if number
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReceipt:
    """Where a finished report stands in the log; digests are `sha256:<hex>`."""

    manifest_digest: str
    log_index: int
    entry_digest: str


def formats_to_wire(formats: Sequence[str]) -> "list[pb.ReportFormat.ValueType]":
    """Return the wire values of formats. Raises: InvalidRequest."""
    for position, name in enumerate(formats):
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise InvalidRequest.of(f"formats[{position}]", f"is {name!r}; known are {known}")
    values = [pb.ReportFormat.Value(f"{_PREFIX}{name.upper()}") for name in formats]
    formats_from_wire(values)
    return values


def formats_from_wire(values: Sequence[int]) -> tuple[str, ...]:
    """Return the formats of a request, in its order. Raises: InvalidRequest."""
    if not values:
        raise InvalidRequest.of("formats", "is empty; say how to render the report")
    names: dict[int, str] = {n: name for name, n in pb.ReportFormat.items() if n}
    found: list[str] = []
    for position, value in enumerate(values):
        if value not in names:
            raise InvalidRequest.of(f"formats[{position}]", f"is {value}, no format known here")
        name = names[value].removeprefix(_PREFIX).lower()
        if name in found:
            raise InvalidRequest.of(f"formats[{position}]", f"asks for {name} a second time")
        found.append(name)
    return tuple(found)


def receipt_to_wire(receipt: ReportReceipt) -> pb.ReportReceipt:
    """Return the message for a receipt."""
    return pb.ReportReceipt(
        manifest_digest=receipt.manifest_digest,
        log_index=receipt.log_index,
        entry_digest=receipt.entry_digest,
    )


def receipt_from_wire(message: pb.ReportReceipt) -> ReportReceipt:
    """Return the receipt of a message."""
    return ReportReceipt(
        manifest_digest=message.manifest_digest,
        log_index=message.log_index,
        entry_digest=message.entry_digest,
    )
