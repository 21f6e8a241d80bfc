"""Asks the endpoints of a run, in rounds: ask, keep what came back, look, go on or stop.

Rounds grow with what was asked before, so that the looks, each of which reads everything again,
stay few, and an endpoint is asked little more once its case is clear. Every answer is kept before
the next round begins: a run that is broken off goes on where it stood. What is concluded is not
said here: `audit.sweeps.score` reads the answers that were kept.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.sweep_records import AnswerStatus, Endpoint, Probe, RawAnswer, RecordedAnswer
from audit.sweeps.plan import EndpointPlan, RunPlan

Answers = dict[int, RawAnswer]
"""What one endpoint answered, by the probe's position in its plan."""

#: Requests of the first round after the pre-flight.
FIRST_ROUND = 8

#: A round is at most this share of what was asked before it.
ROUND_SHARE = 0.125

#: An endpoint that fails a whole round of at least so many requests is not asked again.
MIN_FAILED_ROUND = 4


class Asker(Protocol):
    """Sends probes."""

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        """Send one probe and return what became of it, whatever that was."""
        ...


class RunInterrupted(Exception):
    """The run was told to stop before its end; it can be gone on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a run's requests are sent and kept."""

    asker: Asker
    keep: Callable[[Sequence[RecordedAnswer]], None]
    """Stores answers durably; called from several threads."""
    is_decided: Callable[[EndpointPlan, Mapping[int, RawAnswer]], bool]
    """Looks at all answers so far, and says whether more would change nothing."""
    is_interrupted: Callable[[], bool]

    async def run(
        self, plan: RunPlan, known: Mapping[str, Mapping[int, RawAnswer]]
    ) -> dict[str, Answers]:
        """Return all answers by endpoint; `known` are those of a run that was broken off.

        Raises: RunInterrupted, and what `keep` raises.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    part.endpoint.name: group.create_task(
                        self._endpoint(part, dict(known.get(part.endpoint.name, {})))
                    )
                    for part in plan.endpoints
                }
        except BaseExceptionGroup as errors:
            # what went wrong first ended all others; callers wait for its own kind
            raise _first_of(errors) from errors
        return {name: task.result() for name, task in tasks.items()}

    async def _endpoint(self, plan: EndpointPlan, answers: Answers) -> Answers:
        gate = asyncio.Semaphore(plan.endpoint.max_concurrency)
        start, end = 0, plan.num_preflight or min(FIRST_ROUND, len(plan.probes))
        while start < end:
            if self.is_interrupted():
                raise RunInterrupted
            fresh = await self._round(plan, range(start, end), answers, gate)
            if _is_hopeless(fresh):
                break
            if await asyncio.to_thread(self.is_decided, plan, dict(answers)):
                break
            start, end = end, min(end + _round_size(end), len(plan.probes))
        return answers

    async def _round(
        self, plan: EndpointPlan, positions: range, answers: Answers, gate: asyncio.Semaphore
    ) -> list[RawAnswer]:
        async def ask(position: int) -> RawAnswer:
            async with gate:
                raw = await self.asker.ask(plan.endpoint, plan.probes[position])
            kept = RecordedAnswer(endpoint=plan.endpoint.name, position=position, raw=raw)
            await asyncio.to_thread(self.keep, [kept])
            return raw

        missing = [position for position in positions if position not in answers]
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(position)) for position in missing]
        fresh = [task.result() for task in asked]
        answers.update(zip(missing, fresh, strict=True))
        return fresh


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _round_size(num_asked: int) -> int:
    return max(FIRST_ROUND, int(num_asked * ROUND_SHARE))


def _is_hopeless(fresh: Sequence[RawAnswer]) -> bool:
    """Return whether the endpoint is not worth another request: spent, or down."""
    if any(raw.status is AnswerStatus.NOT_SENT for raw in fresh):
        return True
    down = {AnswerStatus.UNREACHABLE, AnswerStatus.TIMED_OUT, AnswerStatus.SERVER_ERROR}
    down |= {AnswerStatus.RATE_LIMITED}
    return len(fresh) >= MIN_FAILED_ROUND and all(raw.status in down for raw in fresh)
