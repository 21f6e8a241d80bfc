"""The times of a schedule, held against a scan of every minute, and across changes of the clock."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from audit.errors import InvalidRequest
from audit.sweep_records import Schedule
from audit.sweeps.schedule.cron import check_schedule, later, times_after, write_time

NEW_YORK = "America/New_York"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def between(schedule: Schedule, since: str, until: str) -> list[str]:
    """Return the schedule's times after one moment and up to another, in UTC."""
    times = times_after(schedule, moment(since))
    found = itertools.takewhile(lambda time: time <= moment(until), times)
    return [time.strftime("%m-%d %H:%M") for time in found]


def shown_minutes(zone: str, since: datetime, hours: int) -> Iterator[tuple[datetime, datetime]]:
    """Yield each minute with what the zone's clock shows then: the slow twin of cron."""
    for minute in range(1, hours * 60 + 1):
        time = since + timedelta(minutes=minute)
        yield time, time.astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "since"),
    [
        (NEW_YORK, "2026-03-07"),
        (NEW_YORK, "2026-10-31"),
        ("Europe/Berlin", "2026-03-28"),
        ("Europe/Berlin", "2026-10-24"),
        # half an hour only, and at 45 minutes from UTC
        ("Australia/Lord_Howe", "2026-04-04"),
        ("Australia/Lord_Howe", "2026-10-03"),
        ("Pacific/Chatham", "2026-04-04"),
        # changes at midnight
        ("America/Santiago", "2026-09-05"),
        # a whole day that never was
        ("Pacific/Apia", "2011-12-29"),
        ("UTC", "2026-03-07"),
    ],
)
@pytest.mark.parametrize("cron", ["*/20 * * * *", "*/15 1-3 * * *"])
def test_a_rhythm_runs_whenever_the_clock_shows_a_fitting_time(
    zone: str, since: str, cron: str
) -> None:
    step = int(cron[2:4])
    hours = range(1, 4) if "1-3" in cron else range(24)
    expected = [
        time
        for time, shown in shown_minutes(zone, moment(since), 72)
        if shown.minute % step == 0 and shown.hour in hours
    ]
    times = times_after(Schedule(cron=cron, timezone=zone), moment(since))
    assert list(itertools.islice(times, len(expected))) == expected
    assert len(expected) > 30


def test_a_time_of_day_that_is_skipped_runs_at_the_end_of_the_gap() -> None:
    # the clock goes from 2:00 EST to 3:00 EDT, which is 7:00 UTC
    daily = Schedule(cron="30 2 * * *", timezone=NEW_YORK)
    assert between(daily, "2026-03-06T12:00", "2026-03-09T12:00") == [
        "03-07 07:30",
        "03-08 07:00",
        "03-09 06:30",
    ]


def test_skipped_times_that_meet_at_the_end_of_the_gap_run_once() -> None:
    often = Schedule(cron="0,15,45 2,3 * * *", timezone=NEW_YORK)
    assert between(often, "2026-03-08T05:00", "2026-03-08T09:00") == [
        "03-08 07:00",
        "03-08 07:15",
        "03-08 07:45",
    ]


def test_a_time_of_day_that_comes_twice_runs_at_its_first_occurrence() -> None:
    # 1:30 EDT is 5:30 UTC, and 1:30 EST an hour later
    daily = Schedule(cron="30 1 * * *", timezone=NEW_YORK)
    assert between(daily, "2026-10-31T00:00", "2026-11-03T00:00") == [
        "10-31 05:30",
        "11-01 05:30",
        "11-02 06:30",
    ]


@pytest.mark.parametrize("begun_min", [0, 10, 29, 30, 31, 45, 59])
def test_beginning_within_the_hour_that_comes_twice_repeats_nothing(begun_min: int) -> None:
    daily = Schedule(cron="30 1 * * *", timezone=NEW_YORK)
    begun = moment("2026-11-01T06:00") + timedelta(minutes=begun_min)
    assert next(times_after(daily, begun)) == moment("2026-11-02T06:30")


def test_a_schedule_read_step_by_step_is_the_one_read_at_once() -> None:
    for cron in ("30 1,2 * * *", "*/7 * * * *", "0 0 * * *"):
        schedule = Schedule(cron=cron, timezone=NEW_YORK)
        for since in ("2026-03-07T12:00", "2026-10-31T12:00"):
            at_once = list(itertools.islice(times_after(schedule, moment(since)), 300))
            last, stepped = moment(since), []
            for _ in range(300):
                last = next(times_after(schedule, last))
                stepped.append(last)
            assert stepped == at_once


def test_times_follow_strictly_also_within_a_minute() -> None:
    minutely = Schedule(cron="* * * * *")
    noon = moment("2026-03-02T12:00")
    for after in (noon, noon + timedelta(microseconds=1), noon + timedelta(seconds=59.999999)):
        assert next(times_after(minutely, after)) == noon + timedelta(minutes=1)
    assert next(times_after(minutely, noon - timedelta(microseconds=1))) == noon


def test_the_last_years_of_the_calendar_end_the_schedule() -> None:
    yearly = Schedule(cron="0 0 1 1 *")
    assert list(times_after(yearly, moment("9998-06-01"))) == [moment("9999-01-01")]


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="*/5 * * * *", jitter_s=299.0),
        Schedule(cron="0 4 * * mon-fri", timezone="Asia/Kathmandu", jitter_s=3600),
        Schedule(cron="0 0 L * *"),
        Schedule(cron="0 0 * * MON#5"),
        Schedule(cron="30 2 29 2 *"),
    ],
)
def test_what_cron_reads_is_a_schedule(schedule: Schedule) -> None:
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "how"),
    [
        (Schedule(cron="* * * *"), r"schedule\.cron: must have five fields"),
        (Schedule(cron="* * * * * *"), r"schedule\.cron: must have five fields"),
        (Schedule(cron="@daily"), r"schedule\.cron: must have five fields"),
        (Schedule(cron="61 * * * *"), r"schedule\.cron: '61 \* \* \* \*' is not cron: Bad minute"),
        (Schedule(cron="0 0 30 2 *"), r"schedule\.cron: .* is not cron: Bad day-of-month"),
        (Schedule(cron="* * * * *", timezone="Mars/Olympus"), r"'Mars/Olympus' is no zone"),
        (Schedule(cron="* * * * *", timezone="../UTC"), r"schedule\.timezone: '\.\./UTC' is no"),
        (Schedule(cron="* * * * *", timezone="localtime"), r"schedule\.timezone"),
        (Schedule(cron="* * * * *", timezone=""), r"schedule\.timezone"),
        (Schedule(cron="0 0 * * *", jitter_s=-1.0), r"schedule\.jitter_s: must be 0 or"),
        (Schedule(cron="0 0 * * *", jitter_s=float("nan")), r"schedule\.jitter_s: must be 0 or"),
        (Schedule(cron="0,5 * * * *", jitter_s=300), r"must be below 300 seconds, the shortest"),
        (Schedule(cron="0 0 * * *", max_lateness_s=0), r"schedule\.max_lateness_s: must be above"),
        (Schedule(cron="0 0 * * *", max_lateness_s=float("inf")), r"schedule\.max_lateness_s"),
        (Schedule(cron="0 0 * * *", max_lateness_s=float("nan")), r"schedule\.max_lateness_s"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: Schedule, how: str) -> None:
    with pytest.raises(InvalidRequest, match=how):
        check_schedule(schedule)


def test_all_bad_fields_are_named_at_once() -> None:
    bad = Schedule(cron="x", jitter_s=-1, max_lateness_s=-1)
    with pytest.raises(InvalidRequest) as caught:
        check_schedule(bad)
    assert [v.field for v in caught.value.violations] == [
        "schedule.cron",
        "schedule.jitter_s",
        "schedule.max_lateness_s",
    ]


def test_times_are_written_so_that_their_order_is_that_of_their_texts() -> None:
    time = datetime(2026, 3, 2, 14, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert write_time(time) == "2026-03-02T13:00:00.000000Z"
    assert later("2026-03-02T13:00:00.000000Z", 0.5) == "2026-03-02T13:00:00.500000Z"
