"""A maker of reports for tests: it writes what it is told and keeps account of what was asked."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from audit.codec.wire_report import ReportReceipt
from audit.errors import AuditError
from audit.reports.records import ReportScope

RECEIPT = ReportReceipt(
    manifest_digest="sha256:" + "ab" * 32, log_index=7, entry_digest="sha256:" + "cd" * 32
)
Content = Callable[[], Iterator[bytes]]
File = tuple[str, str, Content]


@dataclass
class FakeExport:
    """One report in the making."""

    files: tuple[File, ...]
    error: AuditError | None
    num_chunks: int = 0
    is_finished: bool = False
    closed: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[tuple[str, str, Iterator[bytes]]]:
        for name, media_type, content in self.files:
            yield name, media_type, self._counted(content())
        if self.error is not None:
            raise self.error

    def finish(self) -> ReportReceipt:
        self.is_finished = True
        return RECEIPT

    def close(self) -> None:
        assert not self.closed.is_set(), "closed twice"
        self.closed.set()

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            assert not self.closed.is_set(), "read after it was closed"
            self.num_chunks += 1
            yield chunk


@dataclass
class FakeReports:
    """Makes reports of fixed files; the real rendering is tested where it lives."""

    files: tuple[File, ...] = ()
    error: AuditError | None = None
    formats: tuple[str, ...] = ("oscal", "csv", "html")
    asked: list[tuple[ReportScope, tuple[str, ...]]] = field(default_factory=list)
    exports: list[FakeExport] = field(default_factory=list)

    def export(self, scope: ReportScope, formats: tuple[str, ...]) -> FakeExport:
        self.asked.append((scope, formats))
        self.exports.append(FakeExport(self.files, self.error))
        return self.exports[-1]


def fixed(*chunks: bytes) -> Content:
    return lambda: iter(chunks)
