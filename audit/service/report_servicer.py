"""The RPC of ReportService over whatever makes reports.

Stands between the wire and `audit.reports`. A report is made piece by piece, as fast as its reader
takes the pieces: nothing is gathered here, and nothing blocks the event loop.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Generator, Iterator
from concurrent.futures import Executor
from typing import Protocol, TypeAlias

from inference_audit.v1 import report_pb2, report_service_pb2
from inference_audit.v1 import report_service_pb2 as pb
from inference_audit.v1.report_service_pb2_grpc import ReportServiceServicer

from audit.codec.wire_report import ReportReceipt, formats_from_wire, receipt_to_wire
from audit.codec.wire_scope import scope_from_wire
from audit.errors import InvalidRequest
from audit.reports.records import ReportScope

SERVICE_NAME = report_service_pb2.DESCRIPTOR.services_by_name["ReportService"].full_name

_Messages: TypeAlias = Generator[pb.ExportReportResponse, None, None]

MAX_CHUNK_BYTES = 64 * 1024
#: Each report in the making may hold spool files and a renderer's memory; further ones wait.
MAX_EXPORTS = 2


class ReportExport(Protocol):
    """One report in the making; used by one thread at a time."""

    def __iter__(self) -> Iterator[tuple[str, str, Iterator[bytes]]]:
        """Yield (name, media type, content) of each file; read each content before the next."""
        ...

    def finish(self) -> ReportReceipt:
        """Log the report once all its files were read. Raises: StorageError, LogForked."""
        ...

    def close(self) -> None:
        """Release what the export holds; called exactly once, finished or not."""
        ...


class ReportApi(Protocol):
    """What the service needs of reports; safe to call from several threads."""

    @property
    def formats(self) -> Collection[str]:
        """Names of the formats that can be rendered here, of those in the proto."""
        ...

    def export(self, scope: ReportScope, formats: tuple[str, ...]) -> ReportExport:
        """Begin a report. Raises: InvalidRequest, EntryNotFound without a checkpoint."""
        ...


class ReportServicer(ReportServiceServicer):
    """Answers the RPC of ReportService; `executor` has a thread for each of MAX_EXPORTS."""

    def __init__(self, reports: ReportApi, *, executor: Executor) -> None:
        self._reports = reports
        self._executor = executor
        self._turns = asyncio.Semaphore(MAX_EXPORTS)

    async def ExportReport(
        self, request: pb.ExportReportRequest, context: object
    ) -> AsyncIterator[pb.ExportReportResponse]:
        """Yield headers and chunks of each file, then the receipt. Raises: InvalidRequest."""
        scope = ReportScope(**scope_from_wire(request.scope))
        formats = formats_from_wire(request.formats)
        self._require_available(formats)
        loop = asyncio.get_running_loop()
        async with self._turns:
            pieces = _Pieces(_messages(self._reports, scope, formats))
            try:
                while True:
                    piece = await loop.run_in_executor(self._executor, pieces.take)
                    if piece is None:
                        return
                    yield piece
            finally:
                # Where the client left, a thread may still be at work on the piece it waited for.
                await asyncio.shield(asyncio.to_thread(pieces.close))

    def _require_available(self, formats: tuple[str, ...]) -> None:
        for position, name in enumerate(formats):
            if name not in self._reports.formats:
                available = ", ".join(self._reports.formats)
                raise InvalidRequest.of(
                    f"formats[{position}]",
                    f"{name} cannot be rendered by this service; it can: {available}",
                )


class _Pieces:
    """An iterator that may be closed from another thread, once it is at rest."""

    def __init__(self, messages: _Messages) -> None:
        self._messages = messages
        self._at_rest = threading.Lock()
        self._is_closed = False

    def take(self) -> pb.ExportReportResponse | None:
        with self._at_rest:
            return None if self._is_closed else next(self._messages, None)

    def close(self) -> None:
        with self._at_rest:
            self._is_closed = True
            self._messages.close()


def _messages(reports: ReportApi, scope: ReportScope, formats: tuple[str, ...]) -> _Messages:
    export = reports.export(scope, formats)
    try:
        for name, media_type, content in export:
            header = report_pb2.ReportFileHeader(name=name, media_type=media_type)
            yield pb.ExportReportResponse(file_header=header)
            for chunk in _rechunked(content):
                yield pb.ExportReportResponse(chunk=chunk)
        yield pb.ExportReportResponse(receipt=receipt_to_wire(export.finish()))
    finally:
        export.close()


def _rechunked(content: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in chunks of MAX_CHUNK_BYTES, the last one perhaps shorter."""
    pending = bytearray()
    for part in content:
        pending += part
        num_whole = len(pending) - len(pending) % MAX_CHUNK_BYTES
        for start in range(0, num_whole, MAX_CHUNK_BYTES):
            yield bytes(pending[start : start + MAX_CHUNK_BYTES])
        del pending[:num_whole]
    if pending:
        yield bytes(pending)
