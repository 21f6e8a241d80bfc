"""Rounds: every answer is kept, nothing is asked twice, and asking ends where it should."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from audit.errors import StreamMoved
from audit.sweep_records import AnswerStatus, Endpoint, Probe, RawAnswer, RecordedAnswer
from audit.sweeps.execute import Execution, RunInterrupted
from audit.sweeps.plan import EndpointPlan
from tests.unit.sweeps.small_run import answered, endpoint, stored_plan


class Letters:
    """Answers at once; remembers how many requests were open at a time."""

    def __init__(self, answer: Callable[[int], RawAnswer]) -> None:
        self.asked: list[str] = []
        self.most_open = 0
        self._answer = answer
        self._num_open = 0

    async def ask(self, endpoint: Endpoint, probe: Probe) -> RawAnswer:
        self._num_open += 1
        self.most_open = max(self.most_open, self._num_open)
        number = len(self.asked)
        self.asked.append(probe.probe_id)
        await asyncio.sleep(0.001)
        self._num_open -= 1
        return self._answer(number)


def never(plan: EndpointPlan, answers: Mapping[int, RawAnswer]) -> bool:
    return False


def run(
    asker: Letters,
    *,
    is_decided: Callable[[EndpointPlan, Mapping[int, RawAnswer]], bool] = never,
    known: dict[str, dict[int, RawAnswer]] | None = None,
    kept: list[RecordedAnswer] | None = None,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, dict[int, RawAnswer]]:
    store: list[RecordedAnswer] = [] if kept is None else kept
    execution = Execution(
        asker=asker, keep=store.extend, is_decided=is_decided, is_interrupted=is_interrupted
    )
    return asyncio.run(execution.run(stored_plan([endpoint()]).plan, known or {}))


def test_all_is_asked_and_kept_within_the_endpoints_concurrency() -> None:
    asker, kept = Letters(lambda n: answered("A")), list[RecordedAnswer]()
    answers = run(asker, kept=kept)
    assert sorted(answers["gateway"]) == list(range(40))
    assert sorted(answer.position for answer in kept) == list(range(40))
    assert len(set(asker.asked)) == 40
    assert 1 < asker.most_open <= endpoint().max_concurrency


def test_an_endpoint_that_is_decided_is_asked_no_further() -> None:
    asker = Letters(lambda n: answered("B"))
    run(asker, is_decided=lambda plan, answers: len(answers) >= 8)
    assert len(asker.asked) == 8


def test_a_run_that_was_broken_off_asks_only_what_is_missing() -> None:
    known = {"gateway": {position: answered("A") for position in range(0, 40, 2)}}
    asker, kept = Letters(lambda n: answered("A")), list[RecordedAnswer]()
    answers = run(asker, known=known, kept=kept)
    assert len(asker.asked) == 20
    assert {answer.position % 2 for answer in kept} == {1}
    assert sorted(answers["gateway"]) == list(range(40))


@pytest.mark.parametrize(
    "status",
    [
        AnswerStatus.UNREACHABLE,
        AnswerStatus.TIMED_OUT,
        AnswerStatus.SERVER_ERROR,
        AnswerStatus.RATE_LIMITED,
    ],
)
def test_an_endpoint_that_is_down_is_given_up_after_a_round(status: AnswerStatus) -> None:
    asker = Letters(lambda n: RawAnswer(status=status))
    run(asker)
    assert len(asker.asked) == 8


def test_an_endpoint_that_answers_now_and_then_is_asked_on() -> None:
    asker = Letters(
        lambda n: answered("A") if n % 4 == 0 else RawAnswer(status=AnswerStatus.SERVER_ERROR)
    )
    run(asker)
    assert len(asker.asked) == 40


def test_a_spent_budget_ends_the_asking() -> None:
    asker = Letters(lambda n: answered("A") if n < 10 else RawAnswer(status=AnswerStatus.NOT_SENT))
    run(asker)
    assert len(asker.asked) == 16


def test_a_run_that_is_told_to_stop_says_so() -> None:
    with pytest.raises(RunInterrupted):
        run(Letters(lambda n: answered("A")), is_interrupted=lambda: True)


def test_what_the_store_raises_comes_out_as_it_is() -> None:
    def moved(answers: Sequence[RecordedAnswer]) -> None:
        raise StreamMoved("somebody else holds the run")

    execution = Execution(
        asker=Letters(lambda n: answered("A")),
        keep=moved,
        is_decided=never,
        is_interrupted=lambda: False,
    )
    with pytest.raises(StreamMoved, match="somebody else"):
        asyncio.run(execution.run(stored_plan([endpoint()]).plan, {}))
