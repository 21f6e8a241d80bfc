"""Has a running audit service make a report, and takes its files.

Stands on the caller's side of the wire: chunks are handed on as they come, so that a report of any
size needs little memory here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from inference_audit.v1 import report_service_pb2 as pb
from inference_audit.v1.report_service_pb2_grpc import ReportServiceStub

from audit.client.connection import DEFAULT_TIMEOUT_S, Connection
from audit.client.errors import translated
from audit.codec.wire_report import ReportReceipt, formats_to_wire, receipt_from_wire
from audit.codec.wire_scope import Scope, scope_to_wire
from audit.errors import StorageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStart:
    """The next file begins; its bytes follow."""

    name: str
    media_type: str


ReportPiece: TypeAlias = FileStart | bytes | ReportReceipt
"""Each file is its start and then its bytes; the receipt comes last."""


class ReportClient(Connection):
    """A connection to the reports at `host:port`; safe to share between threads."""

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(address, timeout_s=timeout_s)
        self._stub = ReportServiceStub(self._channel)

    def export(self, scope: Scope, formats: Sequence[str]) -> Iterator[ReportPiece]:
        """Yield the pieces of a report, the receipt last; waits without limit.

        Raises: InvalidRequest, EntryNotFound, ConfigurationError, StorageError where the report
        broke off.
        """
        request = pb.ExportReportRequest(
            scope=scope_to_wire(scope), formats=formats_to_wire(formats)
        )
        is_complete = False
        with translated(self._address):
            answers = self._stub.ExportReport(request)
            try:
                for answer in answers:
                    piece = _piece(answer)
                    is_complete = isinstance(piece, ReportReceipt)
                    yield piece
            finally:
                answers.cancel()
        if not is_complete:
            raise _broken("it ended without a receipt")


def _piece(answer: pb.ExportReportResponse) -> ReportPiece:
    match answer.WhichOneof("content"):
        case "file_header":
            header = answer.file_header
            return FileStart(name=header.name, media_type=header.media_type)
        case "chunk":
            return answer.chunk
        case "receipt":
            return receipt_from_wire(answer.receipt)
    raise _broken("a piece of it is of no known kind")


def _broken(problem: str) -> StorageError:
    return StorageError(f"the report is not whole: {problem}; ask for it again")
