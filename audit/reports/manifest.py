"""The manifest: the whole bounded record as canonical JSON, with the digest of every other file.

It is what a report is known by: its own digest goes into the log. Numbers are as collected; lines
of single verdicts are in the tables that it names.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import rfc8785

from audit.reports.columns import COLUMNS
from audit.reports.records import Report

MANIFEST_NAME = "manifest.json"
MANIFEST_TYPE = "application/vnd.inference-audit.report-manifest.v1+json"
COLUMNS_TYPE = "application/vnd.inference-audit.columns.v1+json"

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """One file of a report."""

    name: str
    format: str
    media_type: str
    size_bytes: int
    digest: str
    """`sha256:<hex>`."""


def manifest(report: Report, files: Sequence[ReportFile]) -> bytes:
    """Return the manifest of a report and its files, in the order of their names."""
    named = sorted(files, key=lambda file: file.name)
    return rfc8785.dumps(
        {
            "mediaType": MANIFEST_TYPE,
            "files": [to_json(file) for file in named],
            "report": to_json(report),
        }
    )


def column_dictionary() -> bytes:
    """Return what each column of the tables means, as canonical JSON."""
    return rfc8785.dumps(
        {
            "mediaType": COLUMNS_TYPE,
            "columns": [to_json(column) for column in COLUMNS],
            "csv": (
                "RFC 4180, UTF-8, CRLF, separated by commas. An empty cell means: not stated. A "
                "text that is empty, or begins with an apostrophe or with a character that a "
                "spreadsheet may take for a formula, has an apostrophe in front; take it away. "
                "Lists of words are separated by spaces, other lists are JSON."
            ),
        }
    )


def to_json(value: object) -> Json:
    """Return a record as JSON: names in lowerCamelCase, None left out, bytes by their digest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {_camel(name): to_json(item) for name, item in fields if item is not None}
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest(), "sizeBytes": len(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a report holds no {type(value).__name__}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
