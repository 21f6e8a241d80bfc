"""The times that a schedule names, across changes of the clock.

A schedule that names an hour and a minute means the time of day, as people read it: a time that
a change of the clock skips runs at the end of the gap, a time that comes twice runs at its first
occurrence. A schedule whose hour or minute begins with `*` means a rhythm: it runs whenever the
clock shows a fitting time, so twice in the hour that comes twice. Both never run twice at one
moment, and both are what Debian's cron does.
"""

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from audit.errors import ConfigurationError, FieldViolation, InvalidRequest
from audit.sweep_records import Schedule

_NUM_FIELDS = 5
#: Enough to meet the shortest gap between slots of any schedule that people write.
_NUM_CHECKED_TIMES = 200
_MAX_LATENESS_S = 366 * 86_400.0
#: An ordinary moment from which a schedule's gaps are looked at.
_ORDINARY = datetime(2026, 1, 1, tzinfo=UTC)


def times_after(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the schedule's times in UTC, each later than the one before and than `after`.

    Raises: InvalidRequest for a schedule that is none, ConfigurationError without the cron library.
    """
    zone = _zone(schedule.timezone)
    last = after.astimezone(UTC)
    for time in _cron_times(schedule.cron, last.astimezone(zone)):
        found = time.astimezone(UTC)
        # A time of day is looked for on the local clock, which may have been set back meanwhile.
        if found > last:
            yield found
            last = found


def check_schedule(schedule: Schedule) -> None:
    """Raise InvalidRequest naming every field of a schedule that cannot be kept."""
    problems = [*_time_problems(schedule), *_number_problems(schedule)]
    if problems:
        raise InvalidRequest(
            *(FieldViolation(field=f"schedule.{name}", description=how) for name, how in problems)
        )
    times = itertools.islice(times_after(schedule, _ORDINARY), _NUM_CHECKED_TIMES)
    gaps_s = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    if schedule.jitter_s >= min(gaps_s, default=math.inf):
        raise InvalidRequest.of(
            "schedule.jitter_s",
            f"must be below {min(gaps_s):g} seconds, the shortest time between two slots, so that "
            "slots start in their order",
        )


def parse_time(text: str) -> datetime:
    """Return the moment that an RFC 3339 time names."""
    return datetime.fromisoformat(text)


def write_time(time: datetime) -> str:
    """Return a moment as all records write it: UTC, microseconds, `Z`."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def later(text: str, seconds: float) -> str:
    """Return the time so many seconds after another one."""
    return write_time(parse_time(text) + timedelta(seconds=seconds))


def _time_problems(schedule: Schedule) -> Iterator[tuple[str, str]]:
    if len(schedule.cron.split()) != _NUM_FIELDS:
        yield "cron", "must have five fields: minute, hour, day of month, month, day of week"
        return
    try:
        _zone(schedule.timezone)
    except InvalidRequest as error:
        yield from ((v.field.removeprefix("schedule."), v.description) for v in error.violations)
        return
    try:
        has_time = next(times_after(schedule, _ORDINARY), None) is not None
    except InvalidRequest as error:
        yield from ((v.field.removeprefix("schedule."), v.description) for v in error.violations)
        return
    if not has_time:
        yield "cron", "names a time that never comes"


def _number_problems(schedule: Schedule) -> Iterator[tuple[str, str]]:
    if not (math.isfinite(schedule.jitter_s) and schedule.jitter_s >= 0):
        yield "jitter_s", "must be 0 or a positive number of seconds"
    if not 0 < schedule.max_lateness_s <= _MAX_LATENESS_S:
        yield "max_lateness_s", f"must be above 0 and at most {_MAX_LATENESS_S:g} seconds"


def _zone(name: str) -> ZoneInfo:
    # The name alone would be taken as a path, and some names mean whatever this machine is set to.
    if name not in _zone_names():
        raise InvalidRequest.of(
            "schedule.timezone", f"{name!r} is no zone of the tz database, such as Europe/Berlin"
        )
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime"})


def _cron_times(expression: str, after: datetime) -> Iterator[datetime]:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise ConfigurationError(
            "schedules need the cron library: pip install 'inference-audit[sweeps]'"
        ) from error
    try:
        times = CronSim(expression, after)
    except CronSimError as error:
        raise InvalidRequest.of("schedule.cron", f"{expression!r} is not cron: {error}") from error
    while True:
        try:
            yield next(times)
        # the calendar ends where dates cannot be written any more
        except (StopIteration, OverflowError):
            return
