"""Between the sweeps' tables and the auditor's records; no query is run here.

Rows never leave this package. Where the in-memory twin makes the same promise, it calls the same
check.
"""

import base64
import binascii
import hashlib
import json

from audit.errors import AuditNotFound, InvalidRequest, RequestConflict, StorageError, StreamMoved
from audit.sweep_records import Slot, SlotState, Sweep, SweepSpec, SweepState
from storage.serialise import from_json
from storage.sweep_models import SlotRow, SweepRow

_NO_CURSOR = "is not one of ours; send it back unchanged, or leave it out"


def to_sweep(row: SweepRow) -> Sweep:
    """Return the sweep of a row. Raises: StorageError for a damaged row."""
    spec = from_json(SweepSpec, row.spec_json)
    if spec.name != row.name or row.state not in list(SweepState):
        raise _damaged(f"the sweep {row.sweep_id}", "its columns and its spec do not fit together")
    return Sweep(
        sweep_id=row.sweep_id,
        tenant=row.tenant,
        spec=spec,
        state=SweepState(row.state),
        created_at=row.created_at,
        version=row.version,
    )


def to_slot(row: SlotRow) -> Slot:
    """Return the slot of a row. Raises: StorageError for a damaged row."""
    if row.state not in list(SlotState):
        raise _damaged(f"the run {row.run_id}", f"its state is {row.state!r}")
    return Slot(
        run_id=row.run_id,
        sweep_id=row.sweep_id,
        tenant=row.tenant,
        slot_at=row.slot_at,
        start_at=row.start_at,
        is_manual=row.is_manual,
        state=SlotState(row.state),
        attempt=row.attempt,
        owner=row.owner,
        lease_until=row.lease_until,
        finished_at=row.finished_at,
        result_json=row.result_json,
        log_index=row.log_index,
    )


def lease_lost(slot: Slot) -> StreamMoved:
    """Return the error for a write by somebody who does not hold the slot any more."""
    return StreamMoved(
        f"the run {slot.run_id} is not held by attempt {slot.attempt} of {slot.owner!r} any more; "
        "nothing was stored: leave it to whoever claimed it since"
    )


def sweep_not_found(sweep_id: str) -> AuditNotFound:
    """Return the error for an unknown sweep."""
    return AuditNotFound(f"no sweep {sweep_id!r}: check the id, or list the sweeps")


def run_not_found(run_id: str) -> AuditNotFound:
    """Return the error for an unknown run."""
    return AuditNotFound(f"no sweep run {run_id!r}: check the id, or list the sweep's runs")


def sweep_moved(sweep_id: str, version: int) -> StreamMoved:
    """Return the error for a change of state from another version."""
    return StreamMoved(
        f"the sweep {sweep_id} was changed meanwhile and is at version {version}; nothing was "
        "stored: read it again and decide anew"
    )


def name_taken(name: str) -> RequestConflict:
    """Return the error for a second sweep of a name."""
    return RequestConflict(f"a sweep named {name!r} exists: choose another name, or delete it")


def request_id_taken(request_id: str) -> RequestConflict:
    """Return the error for a request_id that named another sweep."""
    return RequestConflict(
        f"request_id {request_id!r} was used for another sweep: send the same sweep again, or "
        "choose a new request_id"
    )


def plan_conflict(run_id: str) -> RequestConflict:
    """Return the error for a second plan of a run."""
    return RequestConflict(
        f"the run {run_id} is committed to another plan already: go on with the stored one"
    )


def answer_conflict(run_id: str, endpoint: str, position: int) -> RequestConflict:
    """Return the error for a second answer in one place."""
    return RequestConflict(
        f"the run {run_id} holds another answer of {endpoint!r} at position {position} already; "
        "nothing was stored: read the answers before asking again"
    )


def encode_sweep_cursor(sweep: Sweep, *scope: object) -> str:
    """Return the cursor for the page that follows a sweep in the list of that scope."""
    return _encode("sweep", sweep.created_at, sweep.sweep_id, scope)


def decode_sweep_cursor(cursor: str, *scope: object) -> tuple[str, str]:
    """Return creation time and id that the next page stays below. Raises: InvalidRequest."""
    return _decode("sweep", cursor, scope)


def encode_slot_cursor(slot: Slot) -> str:
    """Return the cursor for the page that follows a slot in its sweep's list."""
    return _encode("slot", slot.slot_at, slot.run_id, (slot.sweep_id,))


def decode_slot_cursor(cursor: str, sweep_id: str) -> str:
    """Return the slot time that the next page stays below. Raises: InvalidRequest."""
    return _decode("slot", cursor, (sweep_id,))[0]


def _encode(mark: str, time: str, name: str, scope: tuple[object, ...]) -> str:
    place = json.dumps([mark, time, name, _digest(scope)])
    return base64.urlsafe_b64encode(place.encode("ascii")).decode("ascii")


def _decode(mark: str, cursor: str, scope: tuple[object, ...]) -> tuple[str, str]:
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        place = json.loads(packed.decode("ascii"))
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise InvalidRequest.of("page_token", _NO_CURSOR) from None
    is_place = isinstance(place, list) and len(place) == 4
    # PostgreSQL takes no NUL in a text, and a cursor of ours holds none.
    if not is_place or not all(isinstance(part, str) and part.isprintable() for part in place):
        raise InvalidRequest.of("page_token", _NO_CURSOR)
    if place[0] != mark or place[3] != _digest(scope):
        raise InvalidRequest.of("page_token", "belongs to another list; start without a token")
    return place[1], place[2]


def _digest(scope: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps(scope).encode("ascii")).hexdigest()[:16]


def _damaged(what: str, problem: str) -> StorageError:
    return StorageError(
        f"{what} cannot be read ({problem}); a newer version wrote it, or it is damaged: upgrade "
        "inference-audit, or restore the database from a backup"
    )
