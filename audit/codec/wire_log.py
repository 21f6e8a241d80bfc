"""Entries, checkpoints and kinds of the verdict log, from records to messages and back.

Stands at the edge of service and client. It maps fields; whether a proof or a signature holds is
for `audit.ledger` to say.
"""

from collections.abc import Iterable

from inference_audit.v1 import log_pb2 as pb

from audit.codec.wire_time import time_from_wire, time_to_wire
from audit.errors import ConfigurationError, InvalidRequest
from audit.log_records import EntryKind, LogEntry, StoredCheckpoint

_PREFIX = "ENTRY_KIND_"


def kind_to_wire(kind: EntryKind) -> "pb.EntryKind.ValueType":
    """Return the wire value of a kind."""
    return pb.EntryKind.Value(f"{_PREFIX}{kind.name}")


def kind_from_wire(value: int) -> EntryKind:
    """Return the kind of a wire value. Raises: ConfigurationError for an unknown one."""
    for name, number in pb.EntryKind.items():
        if number == value and value != pb.ENTRY_KIND_UNSPECIFIED:
            return EntryKind[name.removeprefix(_PREFIX)]
    raise ConfigurationError(
        f"the service answered with entry kind {value}, which this version does not know: update it"
    )


def kinds_from_wire(values: Iterable[int]) -> tuple[EntryKind, ...]:
    """Return the kinds that a client asks for, each once, in order. Raises: InvalidRequest."""
    kinds: set[EntryKind] = set()
    for position, value in enumerate(values):
        try:
            kinds.add(kind_from_wire(value))
        except ConfigurationError:
            raise InvalidRequest.of(f"kinds[{position}]", f"is {value}, no kind known") from None
    return tuple(sorted(kinds))


def entry_to_wire(entry: LogEntry, *, with_envelope: bool) -> pb.LogEntry:
    """Return the message for an entry, without its content unless that is asked for."""
    return pb.LogEntry(
        log_index=entry.log_index,
        kind=kind_to_wire(entry.kind),
        tenant=entry.tenant,
        tenant_sequence=entry.tenant_sequence,
        entry_key=entry.entry_key,
        audit_id=entry.audit_id,
        entry_digest=entry.entry_digest,
        leaf_body=entry.leaf_body,
        leaf_hash=entry.leaf_hash,
        envelope=entry.envelope if with_envelope else None,
        record_time=time_to_wire(entry.recorded_at),
        erase_time=None if entry.erased_at is None else time_to_wire(entry.erased_at),
    )


def entry_from_wire(message: pb.LogEntry) -> LogEntry:
    """Return the entry of a message. Raises: ConfigurationError for an unknown kind."""
    has = message.HasField
    return LogEntry(
        log_index=message.log_index,
        kind=kind_from_wire(message.kind),
        tenant=message.tenant,
        tenant_sequence=message.tenant_sequence,
        entry_key=message.entry_key,
        audit_id=message.audit_id if has("audit_id") else None,
        entry_digest=message.entry_digest,
        leaf_body=message.leaf_body,
        leaf_hash=message.leaf_hash,
        envelope=message.envelope if has("envelope") else None,
        recorded_at=time_from_wire(message.record_time),
        erased_at=time_from_wire(message.erase_time) if has("erase_time") else None,
    )


def checkpoint_to_wire(checkpoint: StoredCheckpoint) -> pb.Checkpoint:
    """Return the message for a checkpoint."""
    return pb.Checkpoint(
        tree_size=checkpoint.size,
        root_hash=checkpoint.root,
        note=checkpoint.note,
        issue_time=time_to_wire(checkpoint.issued_at),
        witnessed=checkpoint.is_witnessed,
    )


def checkpoint_from_wire(message: pb.Checkpoint) -> StoredCheckpoint:
    """Return the checkpoint of a message."""
    return StoredCheckpoint(
        size=message.tree_size,
        root=message.root_hash,
        note=message.note,
        issued_at=time_from_wire(message.issue_time),
        is_witnessed=message.witnessed,
    )
