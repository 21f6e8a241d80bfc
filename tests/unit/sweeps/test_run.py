"""A run is planned, committed to, asked, scored and signed; cut off, it is gone on with."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from audit.codec.sweep_json import result_from_json
from audit.errors import ConfigurationError, StorageError, StreamMoved
from audit.log_records import Receipt
from audit.records import Claim
from audit.sweep_ports import ClaimedSlot
from audit.sweep_records import (
    Budget,
    Endpoint,
    EndpointRole,
    Probe,
    RawAnswer,
    SlotState,
    Sweep,
    SweepOutcome,
    SweepResult,
    SweepSpec,
    SweepState,
)
from audit.sweeps.commitment import check_opening
from audit.sweeps.plan_file import plan_from_json
from audit.sweeps.policy import load_sweep_policy
from audit.sweeps.run import RunTools, SweepKit, SweepRunner
from audit.sweeps.schedule.lease import Lease
from audit.sweeps.schedule.slots import manual_slot
from audit.sweeps.score import Scorer
from storage.memory_sweeps import InMemorySweepStore
from tests.unit.storage.sweep_builders import at
from tests.unit.sweeps.small_run import DIGEST, ParityDetector, answered, endpoint


@dataclass
class World:
    """A store with one sweep, endpoints that answer, and a log that remembers."""

    store: InMemorySweepStore = field(default_factory=InMemorySweepStore)
    asked: list[tuple[str, str]] = field(default_factory=list)
    charged: int = 0
    commitments: dict[str, str] = field(default_factory=dict)
    results: dict[str, SweepResult] = field(default_factory=dict)
    fails_after: int | None = None
    version: str = "0.1.0"
    lacks_model: bool = False
    minutes: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.store.create(
            Sweep(
                sweep_id="sweep-1",
                tenant="acme",
                spec=SweepSpec(
                    name="watch",
                    endpoints=(endpoint("gateway"), endpoint("diverted")),
                    claim=Claim(model="example"),
                    budget=Budget(max_requests=200, max_tokens=100_000),
                ),
                state=SweepState.ACTIVE,
                created_at=at(0),
            )
        )

    def clock(self) -> str:
        return at(next(self.minutes) / 100)

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise StorageError("the machine is gone")
        self.asked.append((endpoint.name, probe.probe_id))
        await asyncio.sleep(0)
        letter = "A" if endpoint.name in ("gateway", "honest") else "B"
        return answered(letter)

    def charge(self, endpoint: str, probe: Probe, raw: RawAnswer) -> None:
        self.charged += 1

    @asynccontextmanager
    async def client(self, endpoints: Sequence[Endpoint], budget: Budget) -> AsyncIterator["World"]:
        yield self

    @contextmanager
    def controls(self, endpoints: Sequence[Endpoint]) -> Iterator[Mapping[str, Endpoint]]:
        yield {
            e.name: replace(e, base_url="http://localhost:1234")
            for e in endpoints
            if e.role is not EndpointRole.TARGET
        }

    def commit(self, run_id: str, commitment: str, tenant: str) -> Receipt:
        # the log takes each key once, and keeps what it said first
        self.commitments.setdefault(run_id, commitment)
        return Receipt(log_index=len(self.commitments), entry_digest=DIGEST)

    def log(self, result: SweepResult) -> Receipt:
        self.results.setdefault(result.run_id, result)
        return Receipt(log_index=100 + len(self.results), entry_digest=DIGEST)

    def kit_or_error(self, kit: SweepKit) -> SweepKit:
        if self.lacks_model:
            raise ConfigurationError("no checkpoint of that name; start with --model")
        return kit

    def runner(self) -> SweepRunner:
        scorer = Scorer(
            detectors=(ParityDetector(),),
            comparers=(),
            policy=replace(load_sweep_policy(), must_see=("int4-g32",), max_blind_share=0.5),
            num_probes={"border-greedy/1": 160},
        )
        kit = SweepKit(
            scorer=scorer,
            bundle_id=DIGEST,
            controls=(
                endpoint("honest", EndpointRole.NEGATIVE_CONTROL),
                endpoint("cheap", EndpointRole.POSITIVE_CONTROL),
            ),
            start_controls=self.controls,
        )
        tools = RunTools(
            store=self.store,
            kit_of=lambda spec: self.kit_or_error(kit),
            version=self.version,
            open_client=self.client,
            log_commitment=self.commit,
            log_result=self.log,
            is_logged=lambda run_id: run_id in self.results,
            new_secret=lambda size: bytes(size),
            clock=self.clock,
        )
        return SweepRunner(tools=tools, stopping=threading.Event())

    def claim(self) -> tuple[ClaimedSlot, Lease]:
        self.store.add_slots("sweep-1", [manual_slot(self.store.get("sweep-1"), self.clock())])
        claimed = self.store.claim_slot(at(600), owner="me", lease_s=3600.0)
        assert claimed is not None
        return claimed, Lease(claimed.slot, lease_s=3600.0, monotonic=lambda: 0.0)


def test_a_run_ends_with_a_signed_result_and_its_commitment_opened() -> None:
    world = World()
    claimed, lease = world.claim()
    end = world.runner().run(claimed, lease)
    result = world.results[claimed.slot.run_id]
    assert end.state is SlotState.DONE and end.log_index == 101
    assert end.result_json is not None and result_from_json(end.result_json) == result
    outcomes = {finding.endpoint: finding.outcome for finding in result.findings}
    assert outcomes["gateway"] is SweepOutcome.CONSISTENT
    assert outcomes["diverted"] is SweepOutcome.INCONSISTENT
    assert result.commitment == world.commitments[claimed.slot.run_id]
    assert result.opening is not None and result.commitment is not None
    check_opening(result.commitment, result.opening)
    text = world.store.read_plan(claimed.slot.run_id)
    assert text is not None
    assert plan_from_json(text).plan.digest() == result.opening.plan_digest


def test_what_is_decided_is_asked_no_further() -> None:
    world = World()
    world.runner().run(*world.claim())
    counts = {name: sum(n == name for n, _ in world.asked) for name, _ in world.asked}
    assert counts["diverted"] == counts["cheap"] == 8
    assert counts["gateway"] > 8


def test_a_run_that_was_cut_off_is_gone_on_with_and_ends_the_same() -> None:
    whole = World()
    claimed, lease = whole.claim()
    whole.runner().run(claimed, lease)

    world = World(fails_after=30)
    claimed, lease = world.claim()
    with pytest.raises(StorageError, match="gone"):
        world.runner().run(claimed, lease)
    kept = len(world.store.read_answers(claimed.slot.run_id))
    assert 0 < kept <= 30
    world.fails_after = None
    before = list(world.asked)
    world.runner().run(claimed, lease)
    assert world.charged == kept
    # what was kept is not asked again, so all that is asked twice was lost on its way
    assert len(world.asked) - len(set(world.asked)) == len(before) - kept
    ours, theirs = world.results[claimed.slot.run_id], whole.results[claimed.slot.run_id]
    assert [f.outcome for f in ours.findings] == [f.outcome for f in theirs.findings]
    assert ours.recording_digest == theirs.recording_digest


def test_a_run_that_ended_but_was_not_stored_says_the_same_again() -> None:
    world = World()
    claimed, lease = world.claim()
    first = world.runner().run(claimed, lease)
    asked = len(world.asked)
    again = replace(claimed, has_begun=True)
    assert world.runner().run(again, lease) == replace(first, log_index=101)
    assert len(world.asked) == asked


def test_a_run_under_other_rules_is_not_gone_on_with() -> None:
    world = World(fails_after=30)
    claimed, lease = world.claim()
    with pytest.raises(StorageError):
        world.runner().run(claimed, lease)
    world.version, world.fails_after = "0.2.0", None
    end = world.runner().run(claimed, lease)
    result = world.results[claimed.slot.run_id]
    assert end.state is SlotState.NOT_PERFORMED
    assert result.outcome is SweepOutcome.NOT_PERFORMED
    assert "were replaced" in result.statement
    assert result.opening is not None


def test_a_missed_slot_becomes_a_signed_record() -> None:
    world = World()
    claimed, _ = world.claim()
    end = world.runner().give_up(claimed, "Nobody could start the run in time.")
    assert end.state is SlotState.NOT_PERFORMED
    assert world.results[claimed.slot.run_id].statement == (
        "Not performed. Nobody could start the run in time."
    )
    assert not world.asked and not world.commitments


def test_a_run_that_is_told_to_stop_is_left_to_the_next() -> None:
    world = World()
    claimed, lease = world.claim()
    runner = world.runner()
    runner.stopping.set()
    with pytest.raises(StreamMoved, match="half-way"):
        runner.run(claimed, lease)
    assert not world.results
    again = world.store.claim_slot(at(601), owner="other", lease_s=60)
    assert again is not None and again.slot.run_id == claimed.slot.run_id and again.has_begun


def test_later_runs_see_what_earlier_ones_showed() -> None:
    world = World()
    for _ in range(3):
        claimed, lease = world.claim()
        end = world.runner().run(claimed, lease)
        world.store.finish(
            claimed.slot,
            state=end.state,
            result_json=end.result_json,
            log_index=end.log_index,
            now=at(700),
        )
    text = world.store.read_plan(claimed.slot.run_id)
    assert text is not None and plan_from_json(text).run_number == 3


def test_a_sweep_that_the_service_cannot_run_is_not_performed_and_says_why() -> None:
    world = World(lacks_model=True)
    claimed, lease = world.claim()
    assert world.runner().run(claimed, lease).state is SlotState.NOT_PERFORMED
    assert "start with --model" in world.results[claimed.slot.run_id].statement
    assert not world.commitments


def test_a_slot_that_was_logged_as_missed_never_runs_later() -> None:
    world = World()
    claimed, lease = world.claim()
    world.runner().give_up(claimed, "The sweep was paused before the run could start.")
    assert world.runner().run(claimed, lease).state is SlotState.NOT_PERFORMED
    assert not world.asked
