"""What may be stored about sweeps; both stores call the same checks, and nothing is read here."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from audit.errors import InvalidRequest
from audit.sweep_records import RecordedAnswer, Slot, SlotState, Sweep, SweepState

#: The longest lease that is granted. One that seems to last longer was granted before the clock
#: was set back, and would otherwise keep a crashed run from being taken up.
MAX_LEASE_S = 3600.0

_MAX_NAME_CHARS = 256
_MAX_ID_CHARS = 128
_ENDS = (SlotState.DONE, SlotState.NOT_PERFORMED)


def require_new_sweep(sweep: Sweep, request_id: str | None) -> None:
    """Raise InvalidRequest unless a sweep can be stored as new."""
    _require_name("sweep_id", sweep.sweep_id, _MAX_ID_CHARS)
    _require_name("tenant", sweep.tenant, _MAX_NAME_CHARS)
    _require_name("spec.name", sweep.spec.name, _MAX_NAME_CHARS)
    if request_id is not None:
        _require_name("request_id", request_id, _MAX_NAME_CHARS)
    require_time("created_at", sweep.created_at)
    if sweep.state is not SweepState.ACTIVE or sweep.version != 1:
        raise InvalidRequest.of("state", "a new sweep is ACTIVE and of version 1")


def require_new_slots(sweep_id: str, slots: Sequence[Slot]) -> None:
    """Raise InvalidRequest unless all are slots of the sweep that nobody has claimed."""
    for slot in slots:
        _require_name("run_id", slot.run_id, _MAX_ID_CHARS)
        require_time("slot_at", slot.slot_at)
        require_time("start_at", slot.start_at)
        fresh = Slot(
            run_id=slot.run_id,
            sweep_id=sweep_id,
            tenant=slot.tenant,
            slot_at=slot.slot_at,
            start_at=slot.start_at,
            is_manual=slot.is_manual,
        )
        if slot != fresh:
            raise InvalidRequest.of("slots", f"must be PENDING, unclaimed and of sweep {sweep_id}")


def require_answers(answers: Sequence[RecordedAnswer]) -> None:
    """Raise InvalidRequest unless each answer has a place of its own in the run."""
    for answer in answers:
        _require_name("endpoint", answer.endpoint, _MAX_NAME_CHARS)
        if not 0 <= answer.position < 2**63:
            raise InvalidRequest.of("position", "must be the index of a probe, from 0")
    if len({(answer.endpoint, answer.position) for answer in answers}) != len(answers):
        raise InvalidRequest.of("answers", "each probe may be answered once")


def require_end(state: SlotState, result_json: str | None, now: str) -> None:
    """Raise InvalidRequest for a state that no run ends in, or an unfit result."""
    require_time("now", now)
    if result_json is not None:
        require_text("result_json", result_json)
    if state not in _ENDS:
        raise InvalidRequest.of("state", "a run ends as DONE or NOT_PERFORMED")


def require_limit(limit: int | None) -> None:
    """Raise InvalidRequest unless at least one thing is asked for."""
    if limit is not None and limit < 1:
        raise InvalidRequest.of("limit", "must be at least 1")


def require_time(field: str, text: str) -> None:
    """Raise InvalidRequest unless a time is written so that text order is time order."""
    _parse_time(field, text)


def require_text(field: str, text: str) -> None:
    """Raise InvalidRequest for a text that not every database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest.of(field, "must be Unicode without lone surrogates") from None
    if "\0" in text:
        raise InvalidRequest.of(field, "must not hold NUL characters")


def require_changeable(state: SweepState) -> None:
    """Raise InvalidRequest for a sweep that is deleted."""
    if state is SweepState.DELETED:
        raise InvalidRequest.of("state", "a deleted sweep stays deleted; create a new one")


def lease_end(now: str, lease_s: float) -> str:
    """Return when a lease granted now ends. Raises: InvalidRequest."""
    if not (math.isfinite(lease_s) and 0 < lease_s <= MAX_LEASE_S):
        raise InvalidRequest.of("lease_s", f"must be above 0 and at most {MAX_LEASE_S:g} seconds")
    return _later(now, lease_s)


def longest_lease_end(now: str) -> str:
    """Return the latest end that a lease may have which was granted by now."""
    return _later(now, MAX_LEASE_S)


def _require_name(field: str, text: str, max_chars: int) -> None:
    if not 0 < len(text) <= max_chars or not text.isprintable():
        raise InvalidRequest.of(field, f"must have 1 to {max_chars} printable characters")


def _later(now: str, seconds: float) -> str:
    try:
        time = _parse_time("now", now) + timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidRequest.of("now", "is too late: check the clock") from None
    return _write(time)


def _parse_time(field: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        is_ours = time.tzinfo is not None and _write(time) == text
    except (ValueError, OverflowError):
        is_ours = False
    if not is_ours:
        raise InvalidRequest.of(field, "must be as 2026-01-02T03:04:05.000000Z")
    return time


def _write(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
