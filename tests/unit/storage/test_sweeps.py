"""What every SweepStore promises about sweeps, and about who holds a slot and how it ends."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import AuditNotFound, InvalidRequest, RequestConflict, StreamMoved
from audit.sweep_ports import ClaimedSlot, SweepStore
from audit.sweep_records import Schedule, Slot, SlotState, Sweep, SweepState
from storage.engine import WRITES, open_engine
from storage.memory_sweeps import InMemorySweepStore
from storage.sweep_models import AnswerRow, PlanRow, SlotRow, SweepRow
from storage.sweeps import SqlSweepStore
from storage.upgrade import upgrade
from tests.unit.storage.conftest import DATABASES
from tests.unit.storage.sweep_builders import TENANT, a_slot, a_spec, a_sweep, an_answer, at

LEASE_S = 90.0
UNKNOWN = "sweep-9"


@pytest.fixture(params=("memory", *DATABASES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SweepStore]:
    if request.param == "memory":
        yield InMemorySweepStore()
        return
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/audit.db" if is_sqlite else request.getfixturevalue("shared_url")
    engine = open_engine(str(url))
    upgrade(engine)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        for table in (AnswerRow, PlanRow, SlotRow, SweepRow):
            connection.execute(table.__table__.delete())  # type: ignore[attr-defined]
    yield SqlSweepStore(engine)
    engine.dispose()


@pytest.fixture
def one(store: SweepStore) -> SweepStore:
    """A store with one sweep."""
    store.create(a_sweep())
    return store


def claim(store: SweepStore, minutes: float, owner: str = "s1") -> ClaimedSlot:
    claimed = store.claim_slot(at(minutes), owner=owner, lease_s=LEASE_S)
    assert claimed is not None
    return claimed


def nothing_to_claim(store: SweepStore, minutes: float) -> bool:
    return store.claim_slot(at(minutes), owner="s1", lease_s=LEASE_S) is None


def done(store: SweepStore, slot: Slot, minutes: float, result: str = '{"a":1}') -> Slot:
    return store.finish(
        slot, state=SlotState.DONE, result_json=result, log_index=7, now=at(minutes)
    )


def run_of(slot: Slot) -> str:
    return slot.run_id.partition("@")[2]


# --- sweeps ---------------------------------------------------------------------------------------


def test_a_sweep_comes_back_as_it_was_stored(store: SweepStore) -> None:
    sweep = a_sweep(schedule=Schedule(cron="5 4 * * *", timezone="Europe/Berlin", jitter_s=0.5))
    assert store.create(sweep) == (sweep, True)
    assert store.get("sweep-1") == sweep
    assert store.get_by_name(TENANT, "watch") == sweep
    assert store.get_by_name("other", "watch") is None
    with pytest.raises(AuditNotFound, match="no sweep 'sweep-9'"):
        store.get(UNKNOWN)


def test_a_request_sent_twice_makes_one_sweep(store: SweepStore) -> None:
    first = store.create(a_sweep(), request_id="r-1")
    again = store.create(a_sweep("sweep-2", minutes=1), request_id="r-1")
    assert (first, again) == ((a_sweep(), True), (a_sweep(), False))
    with pytest.raises(RequestConflict, match="'r-1' was used for another sweep"):
        store.create(a_sweep("sweep-2", name="other"), request_id="r-1")
    assert store.create(a_sweep("sweep-3", tenant="other"), request_id="r-1")[1]


def test_a_name_is_unique_among_a_tenants_sweeps_that_are_not_deleted(store: SweepStore) -> None:
    store.create(a_sweep())
    assert store.create(a_sweep("sweep-2", tenant="other"))[1]
    with pytest.raises(RequestConflict, match="a sweep named 'watch' exists"):
        store.create(a_sweep("sweep-3"))
    store.set_state("sweep-1", SweepState.DELETED, expected_version=1, now=at(1))
    assert store.get_by_name(TENANT, "watch") is None
    assert store.create(a_sweep("sweep-3"))[1]
    assert store.get("sweep-1").state is SweepState.DELETED


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (replace(a_sweep(), sweep_id=""), "sweep_id"),
        (replace(a_sweep(), tenant="a\nb"), "tenant"),
        (replace(a_sweep(), spec=a_spec("x" * 257)), "spec.name"),
        (replace(a_sweep(), created_at="2026-03-02T12:00:00Z"), "created_at"),
        (replace(a_sweep(), created_at="2026-03-02T14:00:00.000000+02:00"), "created_at"),
        (replace(a_sweep(), version=2), "state"),
        (replace(a_sweep(), state=SweepState.PAUSED), "state"),
    ],
)
def test_what_is_no_new_sweep_is_refused(store: SweepStore, bad: Sweep, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.create(bad)
    assert caught.value.violations[0].field == field


def test_pages_list_the_newest_first_and_each_sweep_once(store: SweepStore) -> None:
    for number in range(7):
        tenant = "other" if number == 3 else TENANT
        made = a_sweep(f"s-{number}", name=f"n-{number}", tenant=tenant, minutes=number // 2)
        store.create(made)
    store.set_state("s-5", SweepState.DELETED, expected_version=1, now=at(9))

    def ids(tenant: str | None, *, with_deleted: bool = False) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = store.list(tenant, page_size=2, cursor=cursor, with_deleted=with_deleted)
            found += [sweep.sweep_id for sweep in page.sweeps]
            if (cursor := page.next_cursor) is None:
                return found

    assert ids(TENANT) == ["s-6", "s-4", "s-2", "s-1", "s-0"]
    assert ids(None) == ["s-6", "s-4", "s-3", "s-2", "s-1", "s-0"]
    assert ids(TENANT, with_deleted=True) == ["s-6", "s-5", "s-4", "s-2", "s-1", "s-0"]


def test_a_cursor_of_another_list_is_refused(one: SweepStore) -> None:
    one.create(a_sweep("sweep-2", name="two"))
    cursor = one.list(None, page_size=1, cursor=None).next_cursor
    assert cursor is not None
    for bad in (cursor, "no cursor", "é", "bm8=", cursor[:-4]):
        with pytest.raises(InvalidRequest, match="page_token"):
            one.list(TENANT, page_size=1, cursor=bad)
        with pytest.raises(InvalidRequest, match="page_token"):
            one.list_slots("sweep-1", page_size=1, cursor=bad)
    with pytest.raises(InvalidRequest, match="page_size"):
        one.list(TENANT, page_size=0, cursor=None)


def test_a_state_changes_from_the_version_that_was_read(one: SweepStore) -> None:
    paused = one.set_state("sweep-1", SweepState.PAUSED, expected_version=1, now=at(1))
    assert (paused.state, paused.version) == (SweepState.PAUSED, 2)
    # sent again after a lost answer
    assert one.set_state("sweep-1", SweepState.PAUSED, expected_version=1, now=at(2)) == paused
    with pytest.raises(StreamMoved, match="is at version 2"):
        one.set_state("sweep-1", SweepState.ACTIVE, expected_version=1, now=at(2))
    active = one.set_state("sweep-1", SweepState.ACTIVE, expected_version=2, now=at(3))
    assert (active.state, active.version) == (SweepState.ACTIVE, 3)
    one.set_state("sweep-1", SweepState.DELETED, expected_version=3, now=at(4))
    with pytest.raises(InvalidRequest, match="stays deleted"):
        one.set_state("sweep-1", SweepState.ACTIVE, expected_version=4, now=at(5))
    with pytest.raises(AuditNotFound):
        one.set_state(UNKNOWN, SweepState.PAUSED, expected_version=1, now=at(5))


# --- slots ----------------------------------------------------------------------------------------


def test_slots_are_added_once_however_often_they_are_written(one: SweepStore) -> None:
    slots = [a_slot(1), a_slot(2)]
    assert one.add_slots("sweep-1", slots, scheduled_until=at(2)) == 2
    assert one.add_slots("sweep-1", [*slots, a_slot(3)], scheduled_until=at(3)) == 1
    other_name = replace(a_slot(3), run_id="another")
    assert one.add_slots("sweep-1", [other_name]) == 0
    assert [run_of(s) for s in one.list_slots("sweep-1", page_size=9, cursor=None).slots] == [
        "3",
        "2",
        "1",
    ]
    with pytest.raises(AuditNotFound):
        one.add_slots(UNKNOWN, [])


@pytest.mark.parametrize(
    "bad",
    [
        replace(a_slot(1), sweep_id="sweep-2"),
        replace(a_slot(1), state=SlotState.DONE),
        replace(a_slot(1), attempt=1),
        replace(a_slot(1), slot_at="tomorrow"),
        replace(a_slot(1), start_at="2026-03-02 12:00:00"),
        replace(a_slot(1), run_id=""),
    ],
)
def test_what_is_no_new_slot_is_refused(one: SweepStore, bad: Slot) -> None:
    with pytest.raises(InvalidRequest):
        one.add_slots("sweep-1", [a_slot(2), bad])
    assert one.list_slots("sweep-1", page_size=9, cursor=None).slots == ()


def test_a_sweep_is_due_until_its_schedule_is_written_down(store: SweepStore) -> None:
    store.create(a_sweep())
    unscheduled = replace(a_sweep("sweep-2", name="manual"), spec=a_spec("manual"))
    store.create(unscheduled)

    def due(minutes: float) -> list[tuple[str, str]]:
        found = store.due_sweeps(at(minutes), limit=9)
        return [(each.sweep.sweep_id, each.scheduled_until) for each in found]

    assert due(5) == [("sweep-1", at(0))]
    store.add_slots("sweep-1", [a_slot(6)], scheduled_until=at(6))
    assert (due(5), due(6)) == ([], [("sweep-1", at(6))])
    # never backwards, and never without a schedule
    store.add_slots("sweep-1", [], scheduled_until=at(2))
    store.add_slots("sweep-2", [], scheduled_until=at(2))
    assert due(6) == [("sweep-1", at(6))]
    with pytest.raises(InvalidRequest, match="limit"):
        store.due_sweeps(at(1), limit=0)


def test_a_pause_withdraws_what_lies_ahead_and_leaves_no_time_to_catch_up(one: SweepStore) -> None:
    ahead = [a_slot(1), a_slot(9), a_slot(9.5, is_manual=True)]
    one.add_slots("sweep-1", ahead, scheduled_until=at(9))
    one.set_state("sweep-1", SweepState.PAUSED, expected_version=1, now=at(2))
    left = one.list_slots("sweep-1", page_size=9, cursor=None).slots
    assert [run_of(slot) for slot in left] == ["9.5", "1"]
    assert one.add_slots("sweep-1", [a_slot(3), a_slot(4, is_manual=True)]) == 1
    assert one.due_sweeps(at(60), limit=9) == ()
    one.set_state("sweep-1", SweepState.ACTIVE, expected_version=2, now=at(30))
    assert one.due_sweeps(at(60), limit=9)[0].scheduled_until == at(30)
    one.set_state("sweep-1", SweepState.DELETED, expected_version=3, now=at(31))
    assert one.add_slots("sweep-1", [a_slot(40), a_slot(41, is_manual=True)]) == 0
    assert one.due_sweeps(at(99), limit=9) == ()


def test_the_next_slot_is_the_pending_one_that_starts_first(one: SweepStore) -> None:
    assert one.next_slot("sweep-1") is None
    one.add_slots("sweep-1", [a_slot(1, late_min=5), a_slot(3)])
    assert one.next_slot("sweep-1") == a_slot(3)
    claim(one, 3)
    assert one.next_slot("sweep-1") == a_slot(1, late_min=5)


# --- claims ---------------------------------------------------------------------------------------


def test_the_oldest_due_slot_is_claimed_first_and_none_before_its_start(store: SweepStore) -> None:
    for number in (1, 2, 3):
        store.create(a_sweep(f"s-{number}", name=f"n-{number}"))
    store.add_slots("s-1", [a_slot(5, "s-1")])
    store.add_slots("s-2", [a_slot(1, "s-2", late_min=3)], scheduled_until=at(1))
    store.add_slots("s-3", [a_slot(2, "s-3")])
    assert nothing_to_claim(store, 1.9)
    first = claim(store, 4)
    assert first.slot == replace(
        a_slot(2, "s-3"),
        state=SlotState.RUNNING,
        attempt=1,
        owner="s1",
        lease_until=at(5.5),
    )
    assert first.sweep == a_sweep("s-3", name="n-3")
    assert (first.has_begun, first.has_later_due, first.overlapped) == (False, False, None)
    second = claim(store, 4)
    assert (second.slot.sweep_id, second.scheduled_until) == ("s-2", at(1))
    assert nothing_to_claim(store, 4)
    assert claim(store, 5).slot.sweep_id == "s-1"


def test_a_sweep_never_has_two_runs_at_once(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1), a_slot(2), a_slot(2.5, is_manual=True)])
    first = claim(one, 3)
    assert (run_of(first.slot), first.has_later_due) == ("1", True)
    assert nothing_to_claim(one, 3)
    done(one, first.slot, 3)
    second = claim(one, 3)
    # a manual slot is no reason to skip one of the schedule
    assert (run_of(second.slot), second.has_later_due) == ("2", False)


def test_a_claim_tells_of_the_run_that_was_still_going_on(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1), a_slot(2), a_slot(3)])
    done(one, claim(one, 1).slot, 2.25)
    second = claim(one, 2.5)
    assert second.overlapped == "sweep-1@1"
    done(one, second.slot, 2.75)
    assert claim(one, 3).overlapped is None


def test_a_slot_that_was_given_up_at_once_overlaps_nothing(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1), a_slot(2)])
    gone = claim(one, 1.99).slot
    one.finish(gone, state=SlotState.NOT_PERFORMED, result_json=None, log_index=None, now=at(2.01))
    assert claim(one, 2.5).overlapped is None


def test_an_expired_lease_is_claimed_again_and_its_holder_stores_nothing(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    dead = claim(one, 1).slot
    one.append_answers(dead, [an_answer(0)])
    assert nothing_to_claim(one, 2.4)
    taken = claim(one, 2.5, owner="s2")
    assert (taken.slot.attempt, taken.slot.owner, taken.has_begun) == (2, "s2", False)
    for late in (
        lambda: one.renew(dead, at(3), lease_s=LEASE_S),
        lambda: one.release(dead, at(3)),
        lambda: one.save_plan(dead, "{}"),
        lambda: one.append_answers(dead, [an_answer(1)]),
        lambda: done(one, dead, 3),
    ):
        with pytest.raises(StreamMoved, match="not held by attempt 1 of 's1' any more"):
            late()
    assert one.read_answers(dead.run_id) == (an_answer(0),)
    assert one.get_slot(dead.run_id) == taken.slot


def test_the_same_owner_counts_as_another_holder_after_a_restart(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    dead = claim(one, 1).slot
    assert claim(one, 3).slot.attempt == 2
    with pytest.raises(StreamMoved):
        done(one, dead, 3)


def test_a_run_that_was_cut_off_goes_before_slots_that_are_older(store: SweepStore) -> None:
    for number in (1, 2):
        store.create(a_sweep(f"s-{number}", name=f"n-{number}"))
    store.add_slots("s-1", [a_slot(5, "s-1")])
    claim(store, 5)
    store.add_slots("s-2", [a_slot(1, "s-2")])
    assert [claim(store, 9).slot.sweep_id for _ in range(2)] == ["s-1", "s-2"]


def test_a_renewed_lease_is_not_taken_and_a_released_one_is_taken_at_once(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    slot = claim(one, 1).slot
    one.save_plan(slot, "{}")
    renewed = one.renew(slot, at(2), lease_s=LEASE_S)
    assert renewed.lease_until == at(3.5)
    assert nothing_to_claim(one, 3)
    # what was claimed first is as good a token as what was renewed
    one.release(slot, at(3))
    again = claim(one, 3)
    assert (again.slot.attempt, again.has_begun) == (2, True)


def test_a_lease_from_before_the_clock_was_set_back_does_not_last(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(-600)])
    assert claim(one, 0).slot.attempt == 1
    assert nothing_to_claim(one, -30)
    assert claim(one, -120).slot.attempt == 2


@pytest.mark.parametrize("lease_s", [0.0, -1.0, float("nan"), float("inf"), 3601.0])
def test_a_lease_that_no_crash_would_end_is_refused(one: SweepStore, lease_s: float) -> None:
    with pytest.raises(InvalidRequest, match="lease_s"):
        one.claim_slot(at(1), owner="s1", lease_s=lease_s)
    with pytest.raises(InvalidRequest, match="now"):
        one.claim_slot("soon", owner="s1", lease_s=1.0)
    with pytest.raises(InvalidRequest, match="check the clock"):
        one.claim_slot("9999-12-31T23:59:59.000000Z", owner="s1", lease_s=10.0)


# --- what a run recorded, and how it ends ---------------------------------------------------------


def test_a_plan_is_written_once(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    slot = claim(one, 1).slot
    assert one.read_plan(slot.run_id) is None
    one.save_plan(slot, '{"seed":"é"}')
    one.save_plan(slot, '{"seed":"é"}')
    with pytest.raises(RequestConflict, match="committed to another plan"):
        one.save_plan(slot, "{}")
    assert one.read_plan(slot.run_id) == '{"seed":"é"}'
    for bad, how in (("\0", "NUL"), ("\ud800", "surrogates")):
        with pytest.raises(InvalidRequest, match=how):
            one.save_plan(slot, bad)


def test_answers_are_kept_once_in_their_places(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    slot = claim(one, 1).slot
    odd = an_answer(10, "b", 'nul \0, half \ud800 and "quotes"')
    one.append_answers(slot, [odd, an_answer(2, "b")])
    one.append_answers(slot, [an_answer(0, "a"), odd])
    one.append_answers(slot, [])
    expected = (an_answer(0, "a"), an_answer(2, "b"), odd)
    assert one.read_answers(slot.run_id) == expected
    with pytest.raises(RequestConflict, match="another answer of 'b' at position 2"):
        one.append_answers(slot, [an_answer(3, "b"), an_answer(2, "b", "other")])
    assert one.read_answers(slot.run_id) == expected
    assert one.read_answers("unknown") == ()


@pytest.mark.parametrize(
    "bad",
    [
        [an_answer(-1)],
        [an_answer(2**63)],
        [an_answer(1, "")],
        [an_answer(1, "x" * 257)],
        [an_answer(1), an_answer(1)],
    ],
)
def test_answers_without_a_place_of_their_own_are_refused(
    one: SweepStore, bad: list[object]
) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    slot = claim(one, 1).slot
    with pytest.raises(InvalidRequest):
        one.append_answers(slot, bad)  # type: ignore[arg-type]
    assert one.read_answers(slot.run_id) == ()


def test_a_run_ends_once(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    slot = claim(one, 1).slot
    ended = done(one, slot, 2)
    assert ended == replace(
        slot,
        state=SlotState.DONE,
        owner=None,
        lease_until=None,
        finished_at=at(2),
        result_json='{"a":1}',
        log_index=7,
    )
    # sent again after a lost answer
    assert done(one, slot, 5) == ended
    with pytest.raises(StreamMoved):
        done(one, slot, 5, result="{}")
    with pytest.raises(StreamMoved):
        one.append_answers(slot, [an_answer(1)])
    assert nothing_to_claim(one, 99)
    with pytest.raises(AuditNotFound, match="no sweep run 'nope'"):
        one.get_slot("nope")


@pytest.mark.parametrize("state", [SlotState.PENDING, SlotState.RUNNING])
def test_a_run_ends_in_a_final_state(one: SweepStore, state: SlotState) -> None:
    one.add_slots("sweep-1", [a_slot(1)])
    slot = claim(one, 1).slot
    with pytest.raises(InvalidRequest, match="DONE or NOT_PERFORMED"):
        one.finish(slot, state=state, result_json=None, log_index=None, now=at(2))
    with pytest.raises(InvalidRequest, match="result_json"):
        done(one, slot, 2, result="\0")


def test_results_come_in_slot_order_whatever_order_they_ended_in(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(1, late_min=3), a_slot(2), a_slot(3), a_slot(9)])
    for minutes in (2, 3, 4):
        slot = claim(one, minutes).slot
        result = None if run_of(slot) == "3" else f'"{run_of(slot)}"'
        one.finish(slot, state=SlotState.DONE, result_json=result, log_index=None, now=at(minutes))
    assert [slot.result_json for slot in one.results("sweep-1")] == ['"1"', '"2"']
    assert [slot.result_json for slot in one.results("sweep-1", after=at(1))] == ['"2"']
    assert [slot.result_json for slot in one.results("sweep-1", limit=1)] == ['"1"']
    assert one.results(UNKNOWN) == ()


def test_runs_are_listed_newest_first_in_pages(one: SweepStore) -> None:
    one.add_slots("sweep-1", [a_slot(number) for number in (3, 1, 5, 2, 4)])
    found: list[str] = []
    cursor = None
    while True:
        page = one.list_slots("sweep-1", page_size=2, cursor=cursor)
        found += [run_of(slot) for slot in page.slots]
        if (cursor := page.next_cursor) is None:
            break
    assert found == ["5", "4", "3", "2", "1"]
