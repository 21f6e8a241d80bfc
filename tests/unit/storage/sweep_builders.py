"""Small sweeps, slots and answers for tests; no file or clock is touched here."""

from datetime import UTC, datetime, timedelta

from audit.records import Claim
from audit.sweep_records import (
    AnswerStatus,
    Budget,
    Endpoint,
    RawAnswer,
    RecordedAnswer,
    Schedule,
    Slot,
    Sweep,
    SweepSpec,
    SweepState,
)

TENANT = "acme"
_START = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(minutes: float) -> str:
    """Return the time so many minutes after noon."""
    time = _START + timedelta(minutes=minutes)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def a_spec(name: str = "watch", schedule: Schedule | None = None) -> SweepSpec:
    endpoint = Endpoint(name="one", base_url="https://host.example/v1", model="tiny")
    return SweepSpec(
        name=name,
        endpoints=(endpoint,),
        claim=Claim(model="tiny"),
        budget=Budget(max_requests=100, max_tokens=10_000),
        schedule=schedule,
    )


def a_sweep(
    sweep_id: str = "sweep-1",
    *,
    name: str = "watch",
    tenant: str = TENANT,
    minutes: float = 0,
    schedule: Schedule | None = None,
) -> Sweep:
    """Return a sweep that was made so many minutes after noon, scheduled each minute."""
    return Sweep(
        sweep_id=sweep_id,
        tenant=tenant,
        spec=a_spec(name, schedule or Schedule(cron="* * * * *")),
        state=SweepState.ACTIVE,
        created_at=at(minutes),
    )


def a_slot(
    minutes: float, sweep_id: str = "sweep-1", *, late_min: float = 0, is_manual: bool = False
) -> Slot:
    return Slot(
        run_id=f"{sweep_id}@{minutes:g}",
        sweep_id=sweep_id,
        tenant=TENANT,
        slot_at=at(minutes),
        start_at=at(minutes + late_min),
        is_manual=is_manual,
    )


def an_answer(position: int, endpoint: str = "one", body: str = "{}") -> RecordedAnswer:
    raw = RawAnswer(
        status=AnswerStatus.ANSWERED, http_status=200, body=body, elapsed_s=0.25, num_attempts=1
    )
    return RecordedAnswer(endpoint=endpoint, position=position, raw=raw)
