"""Sweeps and their results as canonical JSON: what storage keeps and what digests are made of.

Both directions are exact: a result that was read from its text is the result that was written.
Limits are checked elsewhere, where input comes in; see `audit.codec.sweep_limits`.
"""

import hashlib
from typing import Final, TypeVar

from audit.codec.record_json import Record, canonical_json, members_of, parse_members, record_of
from audit.errors import InvalidRequest
from audit.sweep_records import SweepResult, SweepSpec

SPEC_FORMAT: Final = "inference-audit/sweep-spec/v1"
RESULT_FORMAT: Final = "inference-audit/sweep-result/v1"

_Record = TypeVar("_Record", SweepSpec, SweepResult)


def spec_to_json(spec: SweepSpec) -> str:
    """Return a spec as RFC 8785 JSON; equal specs give equal texts.

    Raises: InvalidRequest for NaN, and for whole numbers beyond 2^53 - 1.
    """
    return _written(spec, SPEC_FORMAT, "spec")


def spec_from_json(text: str) -> SweepSpec:
    """Return the spec of a text. Raises: InvalidRequest naming the member that is wrong."""
    return _read(SweepSpec, text, SPEC_FORMAT, "spec")


def spec_digest(spec: SweepSpec) -> str:
    """Return `sha256:<hex>` of a spec's canonical JSON. Raises: InvalidRequest as it does."""
    return f"sha256:{hashlib.sha256(spec_to_json(spec).encode()).hexdigest()}"


def result_to_json(result: SweepResult) -> str:
    """Return a result as RFC 8785 JSON. Raises: InvalidRequest as `spec_to_json` does."""
    return _written(result, RESULT_FORMAT, "result")


def result_from_json(text: str) -> SweepResult:
    """Return the result of a text. Raises: InvalidRequest naming the member that is wrong."""
    return _read(SweepResult, text, RESULT_FORMAT, "result")


def _written(record: _Record, form: str, path: str) -> str:
    return canonical_json({"format": form, **members_of(record, path)}, path)


def _read(kind: type[Record], text: str, form: str, path: str) -> Record:
    members = parse_members(text, path)
    found = members.pop("format", None)
    if found != form:
        raise InvalidRequest.of(
            f"{path}.format", f"is {found!r}, which this version cannot read; it reads {form!r}"
        )
    return record_of(kind, members, path)
