"""One run of a sweep, from its slot to its signed result.

    plan -> keep -> commit (log) -> ask, keep each answer -> score -> sign (log) -> end of the slot

Every step may be repeated: the plan is kept before it is committed to, the log takes commitment and
result of a run once, and answers that are kept are not asked for again. A run that was cut off is
therefore gone on with as if nothing had happened. One whose rules were replaced meanwhile cannot
be: it ends as not performed, for it would not be what it committed itself to.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from audit.codec.sweep_json import result_from_json, result_to_json, spec_digest
from audit.errors import CalibrationError, CannotJudge, ConfigurationError, StreamMoved
from audit.log_records import Receipt
from audit.ports import Clock
from audit.sweep_ports import ClaimedSlot, SweepStore
from audit.sweep_records import (
    Budget,
    Endpoint,
    Opening,
    Probe,
    RawAnswer,
    RecordedAnswer,
    SlotState,
    SweepOutcome,
    SweepResult,
    SweepSpec,
)
from audit.sweeps.commitment import commitment_of
from audit.sweeps.drift.history import trim_history
from audit.sweeps.execute import Execution, RunInterrupted
from audit.sweeps.plan import plan_run
from audit.sweeps.plan_file import StoredPlan, plan_from_json, plan_to_json
from audit.sweeps.policy import SweepPolicy
from audit.sweeps.record import History, has_history, history_of, recording_of
from audit.sweeps.schedule.lease import Lease
from audit.sweeps.schedule.scheduler import RunEnd
from audit.sweeps.score import Scorer, Watcher, by_endpoint

_log = logging.getLogger(__name__)

#: Changes are told from so many runs at most: an hourly sweep remembers three weeks.
MAX_EARLIER_RUNS = 500

_NUM_SEED_BYTES = 32
_NUM_SALT_BYTES = 16


class Client(Protocol):
    """Asks endpoints within a budget that earlier answers count against."""

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        """Send one probe and return what became of it."""
        ...

    def charge(self, endpoint: str, probe: Probe, raw: RawAnswer) -> None:
        """Count an answer that was recorded before this client began."""
        ...


OpenClient = Callable[[Sequence[Endpoint], Budget], AbstractAsyncContextManager[Client]]

#: Starts the endpoints of known behaviour; what is planned has no address yet.
Controls = Callable[[Sequence[Endpoint]], AbstractContextManager[Mapping[str, Endpoint]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepKit:
    """What belongs to one sweep: its model's detectors, and its endpoints of known behaviour."""

    scorer: Scorer
    bundle_id: str
    controls: tuple[Endpoint, ...]
    """Asked beside the sweep's own endpoints; without their addresses."""
    start_controls: Controls


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTools:
    """What a run needs from outside."""

    store: SweepStore
    kit_of: Callable[[SweepSpec], SweepKit]
    """Raises: ConfigurationError, CalibrationError, CannotJudge for a claim of another model."""
    version: str
    open_client: OpenClient
    log_commitment: Callable[[str, str, str], Receipt]
    """Takes the run's id, the commitment and the tenant."""
    log_result: Callable[[SweepResult], Receipt]
    is_logged: Callable[[str], bool]
    """Whether a result of the run is in the log already."""
    new_secret: Callable[[int], bytes]
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRunner:
    """Performs runs, one at a time; the scheduler's `run` and `give_up`."""

    tools: RunTools
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set to leave a run to whoever claims it next."""

    def run(self, claimed: ClaimedSlot, lease: Lease) -> RunEnd:
        """Perform a run, or go on with it. Raises: StreamMoved, StorageError, LogForked."""
        if not claimed.has_begun and self.tools.is_logged(claimed.slot.run_id):
            return self.give_up(claimed, "It was recorded so before the slot's end was stored.")
        try:
            kit = self.tools.kit_of(claimed.sweep.spec)
        except (ConfigurationError, CalibrationError, CannotJudge) as error:
            return self.give_up(claimed, f"This service cannot run the sweep: {error}")
        earlier = self._earlier(claimed)
        stored = self._plan(claimed, kit, earlier)
        if not self._is_current(kit, stored.opening):
            return self.give_up(
                claimed, "Policy, bundle or program were replaced while the run was under way."
            )
        self.tools.log_commitment(stored.run_id, stored.commitment, stored.tenant)
        try:
            asyncio.run(self._ask(stored, kit, lease))
        except RunInterrupted:
            self._leave(lease)
        seen = [result for result in earlier if result.run_id in set(stored.earlier_runs)]
        return self._conclude(claimed, stored, kit.scorer, history_of(seen))

    def give_up(self, claimed: ClaimedSlot, reason: str) -> RunEnd:
        """Sign and log that a run was not performed, and why. Raises: StorageError, LogForked."""
        slot, sweep = claimed.slot, claimed.sweep
        text = self.tools.store.read_plan(slot.run_id)
        begun = None if text is None else plan_from_json(text)
        result = SweepResult(
            run_id=slot.run_id,
            sweep_id=slot.sweep_id,
            tenant=slot.tenant,
            slot_at=slot.slot_at,
            outcome=SweepOutcome.NOT_PERFORMED,
            statement=f"Not performed. {reason}",
            started_at=None if begun is None else begun.started_at,
            commitment=None if begun is None else begun.commitment,
            opening=None if begun is None else begun.opening,
            policy_id="" if begun is None else begun.opening.policy_id,
            bundle_id="" if begun is None else begun.opening.bundle_id,
            spec_digest=spec_digest(sweep.spec),
        )
        return self._end(result, SlotState.NOT_PERFORMED)

    def _earlier(self, claimed: ClaimedSlot) -> list[SweepResult]:
        slots = self.tools.store.results(claimed.slot.sweep_id)
        texts = [slot.result_json for slot in slots if slot.run_id != claimed.slot.run_id]
        return [result_from_json(text) for text in texts if text is not None]

    def _plan(
        self, claimed: ClaimedSlot, kit: SweepKit, earlier: Sequence[SweepResult]
    ) -> StoredPlan:
        tools, slot = self.tools, claimed.slot
        text = tools.store.read_plan(slot.run_id)
        if text is not None:
            return plan_from_json(text)
        spec, policy = claimed.sweep.spec, kit.scorer.policy
        seed = tools.new_secret(_NUM_SEED_BYTES)
        plan = plan_run(
            (*spec.endpoints, *kit.controls),
            kit.scorer.detectors,
            kit.scorer.num_probes,
            seed,
            spec.budget,
        )
        opening = Opening(
            seed=seed.hex(),
            salt=tools.new_secret(_NUM_SALT_BYTES).hex(),
            plan_digest=plan.digest(),
            policy_id=policy.policy_id,
            bundle_id=kit.bundle_id,
            code_version=tools.version,
        )
        stored = StoredPlan(
            run_id=slot.run_id,
            sweep_id=slot.sweep_id,
            tenant=slot.tenant,
            slot_at=slot.slot_at,
            run_number=1 + sum(r.outcome is not SweepOutcome.NOT_PERFORMED for r in earlier),
            spec_digest=spec_digest(spec),
            claim=spec.claim,
            detectors=spec.detectors,
            budget=spec.budget,
            opening=opening,
            commitment=commitment_of(opening),
            started_at=tools.clock(),
            earlier_runs=_remembered(earlier, policy),
            plan=plan,
        )
        tools.store.save_plan(slot, plan_to_json(stored))
        return stored

    def _is_current(self, kit: SweepKit, opening: Opening) -> bool:
        now = (kit.scorer.policy.policy_id, kit.bundle_id, self.tools.version)
        return (opening.policy_id, opening.bundle_id, opening.code_version) == now

    async def _ask(self, stored: StoredPlan, kit: SweepKit, lease: Lease) -> None:
        tools, parts = self.tools, stored.plan.endpoints
        known = by_endpoint(tools.store.read_answers(stored.run_id))
        endpoints = [part.endpoint for part in parts]
        num_targets = sum(endpoint.role.value == "target" for endpoint in endpoints)
        watcher = Watcher(scorer=kit.scorer, run_number=stored.run_number, num_targets=num_targets)

        def keep(answers: Sequence[RecordedAnswer]) -> None:
            tools.store.append_answers(lease.slot, answers)

        with kit.start_controls(endpoints) as addresses:
            reached = [addresses.get(endpoint.name, endpoint) for endpoint in endpoints]
            async with tools.open_client(reached, stored.budget) as client:
                for part in parts:
                    for position, raw in known.get(part.endpoint.name, {}).items():
                        client.charge(part.endpoint.name, part.probes[position], raw)
                await Execution(
                    asker=_Addressed(client=client, addresses=addresses),
                    keep=keep,
                    is_decided=watcher.is_decided,
                    is_interrupted=lambda: self.stopping.is_set() or not lease.is_held,
                ).run(stored.plan, known)

    def _leave(self, lease: Lease) -> None:
        lease.check()
        self.tools.store.release(lease.slot, self.tools.clock())
        raise StreamMoved(f"the run {lease.slot.run_id} was left half-way, to be gone on with")

    def _conclude(
        self, claimed: ClaimedSlot, stored: StoredPlan, scorer: Scorer, history: History
    ) -> RunEnd:
        answers = self.tools.store.read_answers(stored.run_id)
        recording = recording_of(stored, history, answers)
        result = scorer.score(
            stored, by_endpoint(answers), history, recording_digest=recording.digest
        )
        _log.info("run %s of %s: %s", stored.run_id, claimed.sweep.spec.name, result.outcome.value)
        return self._end(result, SlotState.DONE)

    def _end(self, result: SweepResult, state: SlotState) -> RunEnd:
        receipt = self.tools.log_result(result)
        return RunEnd(state=state, result_json=result_to_json(result), log_index=receipt.log_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Addressed:
    """Asks control endpoints at the address that they have in this process."""

    client: Client
    addresses: Mapping[str, Endpoint]

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        return await self.client.ask(self.addresses.get(endpoint.name, endpoint), probe)


def _remembered(earlier: Sequence[SweepResult], policy: SweepPolicy) -> tuple[str, ...]:
    """Return the ids of the runs that changes are told from: a frozen baseline, and the latest."""
    told = [result for result in earlier if has_history(result)]
    kept = {
        run.run_id
        for runs in history_of(told).values()
        for run in trim_history(runs, policy, MAX_EARLIER_RUNS)
    }
    return tuple(result.run_id for result in told if result.run_id in kept)


def without_address(endpoint: Endpoint) -> Endpoint:
    """Return a control endpoint as plans name it: its port changes, what it is does not."""
    return replace(endpoint, base_url=f"http://localhost/{endpoint.name}")
