"""Makes the reports that ReportService sends: `audit.reports` in a temporary folder.

A report is collected and rendered as soon as its first file is asked for, then read back file by
file; it goes into the log once all of them were read.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from audit.codec.wire_report import FORMATS, ReportReceipt
from audit.errors import InvalidRequest
from audit.ledger.verdict_log import VerdictLog
from audit.log_records import Receipt
from audit.reports.formats import FORMATS as RENDERED
from audit.reports.formats import can_render
from audit.reports.make import MadeReport, Sign, make_report
from audit.reports.records import ReportScope
from audit.reports.source import LogSource

_BLOCK_BYTES = 1_048_576
_PACK_TYPE = "application/zip"
_ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
_STATEMENT_TYPE = "application/vnd.in-toto+json"


class ReportMaker:
    """Makes reports of one log; `log_report` appends the entry for a manifest."""

    def __init__(
        self,
        log: VerdictLog,
        log_report: Callable[[bytes], Receipt],
        *,
        version: str,
        sign: Sign | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._log = log
        self._log_report = log_report
        self._version = version
        self._sign = sign
        self._scratch = scratch

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats that can be rendered on this machine."""
        return tuple(name for name in FORMATS if name not in RENDERED or can_render(name))

    def export(self, scope: ReportScope, formats: tuple[str, ...]) -> "ReportFiles":
        """Begin a report. Raises: InvalidRequest, EntryNotFound without a checkpoint."""
        source = LogSource(self._log, self._log.trust_root())
        size = source.checkpoint.size
        for field, index in (("first_index", scope.first_index), ("end_index", scope.end_index)):
            if index is not None and index > size:
                raise InvalidRequest.of(f"scope.{field}", f"is {index}; the log has {size} entries")

        def make(folder: Path) -> MadeReport:
            return make_report(
                source,
                scope,
                folder,
                formats,
                version=self._version,
                sign=self._sign,
                scratch=self._scratch,
            )

        summary_type = _STATEMENT_TYPE if self._sign is None else _ENVELOPE_TYPE
        return ReportFiles(make, self._log_report, summary_type, self._scratch)


class ReportFiles:
    """One report in the making; its files lie in a temporary folder until it is closed."""

    def __init__(
        self,
        make: Callable[[Path], MadeReport],
        log_report: Callable[[bytes], Receipt],
        summary_type: str,
        scratch: Path | None,
    ) -> None:
        self._make = make
        self._log_report = log_report
        self._summary_type = summary_type
        self._folder = tempfile.TemporaryDirectory(dir=scratch, prefix="inference-audit-report-")
        self._manifest = b""

    def __iter__(self) -> Iterator[tuple[str, str, Iterator[bytes]]]:
        """Yield each file, the manifest last among the rendered ones, summaries and pack after it.

        Raises: ConfigurationError, VerificationError, StorageError.
        """
        folder = Path(self._folder.name)
        made = self._make(folder)
        self._manifest = made.manifest
        for file in made.files:
            yield file.name, file.media_type, _blocks(folder / file.name)
        for path in made.summaries:
            yield path.name, self._summary_type, _blocks(path)
        if made.pack is not None:
            yield made.pack.name, _PACK_TYPE, _blocks(made.pack)

    def finish(self) -> ReportReceipt:
        """Log the report by its manifest. Raises: StorageError, LogForked."""
        receipt = self._log_report(self._manifest)
        return ReportReceipt(
            manifest_digest=f"sha256:{hashlib.sha256(self._manifest).hexdigest()}",
            log_index=receipt.log_index,
            entry_digest=receipt.entry_digest,
        )

    def close(self) -> None:
        """Delete the files."""
        self._folder.cleanup()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
