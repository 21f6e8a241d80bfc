"""Scopes of reports, from values to messages and back.

Stands at the edge of service and client, below `audit.reports`: it knows the fields of a scope, and
leaves the record to its caller. The way in checks every field, whichever side it is on.
"""

from collections.abc import Iterator
from typing import Protocol, TypedDict

from google.protobuf.timestamp_pb2 import Timestamp
from inference_audit.v1 import report_pb2 as pb

from audit.codec.limits import MAX_ID_CHARS, MAX_NAME_CHARS
from audit.codec.wire_time import checked_time_from_wire, checked_time_to_wire, time_from_wire
from audit.errors import FieldViolation, InvalidRequest

#: Each one is shown token by token, and read into memory for it.
MAX_EXCHANGES = 100
_MAX_INDEX = 2**63 - 1


class ScopeFields(TypedDict):
    """The fields of a report scope; times are RFC 3339 UTC, None does not restrict."""

    tenant: str | None
    provider: str | None
    model: str | None
    since: str | None
    until: str | None
    first_index: int
    end_index: int | None
    exchanges: tuple[str, ...]


class Scope(Protocol):
    """A record with the fields of a report scope; times are RFC 3339."""

    @property
    def tenant(self) -> str | None:
        """Whose entries."""

    @property
    def provider(self) -> str | None:
        """Name of the provider."""

    @property
    def model(self) -> str | None:
        """Name of the model."""

    @property
    def since(self) -> str | None:
        """Earliest time."""

    @property
    def until(self) -> str | None:
        """First time that is too late."""

    @property
    def first_index(self) -> int:
        """First index that is read."""
        ...

    @property
    def end_index(self) -> int | None:
        """First index that is no longer read."""

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Audit ids to be shown token by token."""
        ...


def scope_to_wire(scope: Scope) -> pb.ReportScope:
    """Return the message for a scope. Raises: InvalidRequest for what the service would refuse."""
    violations: list[FieldViolation] = []
    since = _time_to_wire(violations, "scope.since_time", scope.since)
    until = _time_to_wire(violations, "scope.until_time", scope.until)
    fields = ScopeFields(
        tenant=scope.tenant,
        provider=scope.provider,
        model=scope.model,
        since=None if since is None else time_from_wire(since),
        until=None if until is None else time_from_wire(until),
        first_index=scope.first_index,
        end_index=scope.end_index,
        exchanges=scope.exchanges,
    )
    _require(violations, fields)
    return pb.ReportScope(
        tenant=scope.tenant,
        provider=scope.provider,
        model=scope.model,
        since_time=since,
        until_time=until,
        first_index=scope.first_index,
        end_index=scope.end_index,
        exchanges=scope.exchanges,
    )


def scope_from_wire(message: pb.ReportScope) -> ScopeFields:
    """Return the checked fields of a scope. Raises: InvalidRequest with every violation."""
    violations: list[FieldViolation] = []
    has = message.HasField
    since = message.since_time if has("since_time") else None
    until = message.until_time if has("until_time") else None
    fields = ScopeFields(
        tenant=message.tenant if has("tenant") else None,
        provider=message.provider if has("provider") else None,
        model=message.model if has("model") else None,
        since=_time_from_wire(violations, "scope.since_time", since),
        until=_time_from_wire(violations, "scope.until_time", until),
        first_index=message.first_index,
        end_index=message.end_index if has("end_index") else None,
        exchanges=tuple(message.exchanges),
    )
    _require(violations, fields)
    return fields


def _time_to_wire(
    violations: list[FieldViolation], field: str, text: str | None
) -> Timestamp | None:
    try:
        return None if text is None else checked_time_to_wire(field, text)
    except InvalidRequest as error:
        violations += error.violations
        return None


def _time_from_wire(
    violations: list[FieldViolation], field: str, message: Timestamp | None
) -> str | None:
    try:
        return None if message is None else checked_time_from_wire(field, message)
    except InvalidRequest as error:
        violations += error.violations
        return None


def _require(violations: list[FieldViolation], fields: ScopeFields) -> None:
    found = (*violations, *_scope(fields))
    if found:
        raise InvalidRequest(*found)


def _scope(fields: ScopeFields) -> Iterator[FieldViolation]:
    yield from _name("scope.tenant", fields["tenant"])
    yield from _name("scope.provider", fields["provider"])
    yield from _name("scope.model", fields["model"])
    since, until = fields["since"], fields["until"]
    # Texts of one form sort as their times do.
    if since is not None and until is not None and since >= until:
        yield _bad("scope.until_time", "is not after since_time; nothing lies between")
    first, end = fields["first_index"], fields["end_index"]
    yield from _index("scope.first_index", first)
    if end is not None:
        yield from _index("scope.end_index", end)
        if 0 <= end < first:
            yield _bad("scope.end_index", f"is {end}; give at least first_index, {first}")
    exchanges = fields["exchanges"]
    if len(exchanges) > MAX_EXCHANGES:
        yield _bad("scope.exchanges", f"has {len(exchanges)} ids; the limit is {MAX_EXCHANGES}")
        return
    for position, audit_id in enumerate(exchanges):
        is_id = 1 <= len(audit_id) <= MAX_ID_CHARS and audit_id.isascii()
        if not (is_id and audit_id.isprintable()):
            yield _bad(f"scope.exchanges[{position}]", "is no audit id")


def _name(path: str, name: str | None) -> Iterator[FieldViolation]:
    if name is None:
        return
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        yield _bad(path, f"has {len(name)} characters; give 1 to {MAX_NAME_CHARS}, or leave it out")
    elif not name.isprintable():
        yield _bad(path, "holds a control character or other unprintable one; leave it out")


def _index(path: str, value: int) -> Iterator[FieldViolation]:
    if not 0 <= value <= _MAX_INDEX:
        yield _bad(path, f"is {value}; give 0 to {_MAX_INDEX}")


def _bad(path: str, description: str) -> FieldViolation:
    return FieldViolation(field=path, description=description)
