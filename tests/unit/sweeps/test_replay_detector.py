"""Natural tokens of the example model: planned, asked over HTTP, replayed, judged, added up."""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest

from audit.judge.calibration import Calibration
from audit.judge.calibration_file import load_calibration
from audit.records import Claim, Message, Prompt
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Budget,
    Endpoint,
    Probe,
    ProbeAnswer,
    Probed,
    ReadingStatus,
)
from audit.sweeps.detector import Tools
from audit.sweeps.provider.answers import parse_answer
from audit.sweeps.provider.client import ClientSettings, ProviderClient
from audit.sweeps.provider.secrets import Keyring
from audit.sweeps.replay.detector import ReplayDetector
from audit.sweeps.replay.plan import MAX_OUTPUT_TOKENS, MIN_OUTPUT_TOKENS, plan_replays
from reference_runner.generate import generate
from reference_runner.records import GenerationRequest, Sampling
from tests.support.example_model import EXAMPLES, TRAFFIC, example_reference
from tests.support.measurements import default_policy
from tests.unit.sweeps.loopback import Seen, answering, serving

PROFILE = "torch-cpu-exponential"
NUM_PROBES = 6
ENDPOINT = Endpoint(name="e", base_url="http://x/v1", model="example", sampler_profile=PROFILE)


@cache
def texts() -> tuple[str, ...]:
    lines = (TRAFFIC / "honest-transformers-bf16.jsonl").read_text().splitlines()
    return tuple(json.loads(line)["response"]["choices"][0]["text"] for line in lines[:20])


@cache
def calibration() -> Calibration:
    return load_calibration(EXAMPLES / "calibration" / "example.json")


def detector_of(calibrated: Calibration | None = None, **candidates: str) -> ReplayDetector:
    reference = example_reference("bfloat16")
    tools = Tools(
        reference=reference,
        candidates={name: reference.rounded(kind) for name, kind in candidates.items()},
        texts=texts(),
    )
    return ReplayDetector(tools, Claim(model="example"), default_policy(), calibrated, version="0")


@cache
def plan() -> tuple[Probe, ...]:
    return detector_of().plan(ENDPOINT, b"seed", NUM_PROBES)


@cache
def answers(seed_shift: int = 0) -> tuple[Probed, ...]:
    """Return the example model's answers; shifted seeds are those of who ignores the request's."""
    reference = example_reference("bfloat16")
    requests = [request_of(probe, seed_shift) for probe in plan()]
    drawn = generate(reference, requests, batch_size=len(requests))
    return tuple(
        Probed(
            probe=probe,
            answer=ProbeAnswer(
                status=AnswerStatus.ANSWERED, text=reference.decode(ids), token_ids=ids
            ),
        )
        for probe, ids in zip(plan(), drawn, strict=True)
    )


def request_of(probe: Probe, seed_shift: int = 0) -> GenerationRequest:
    reference, sampling = example_reference("bfloat16"), probe.sampling
    return GenerationRequest(
        prompt_token_ids=reference.tokenize_text(probe.prompt.text or ""),
        sampling=Sampling(
            temperature=sampling.temperature or 0.0,
            top_k=sampling.top_k or 0,
            top_p=sampling.top_p or 1.0,
            seed=None if sampling.seed is None else sampling.seed + seed_shift,
        ),
        profile_id=PROFILE,
        num_tokens=sampling.max_tokens or 1,
        stops_at=reference.end_token_ids,
    )


def unlike(probed: Sequence[Probed], **changes: object) -> list[Probed]:
    return [replace(p, answer=replace(p.answer, **changes)) for p in probed]  # type: ignore[arg-type]


def test_plans_are_user_like_reproducible_and_never_repeat_themselves() -> None:
    probes = plan()
    assert probes == detector_of().plan(ENDPOINT, b"seed", NUM_PROBES)
    assert not set(probes) & set(detector_of().plan(ENDPOINT, b"other", NUM_PROBES))
    assert len({probe.prompt for probe in probes}) == NUM_PROBES
    assert [probe.group for probe in probes] == ["seeded"] * 3 + ["greedy"] + ["seeded"] * 2
    for probe in probes:
        text, num_tokens = probe.prompt.text or "", probe.sampling.max_tokens or 0
        assert any(text in whole for whole in texts())
        assert MIN_OUTPUT_TOKENS <= num_tokens <= MAX_OUTPUT_TOKENS
        assert (probe.sampling.seed is None) is (probe.group == "greedy")


def test_an_unknown_sampler_is_asked_greedily_and_chat_by_messages() -> None:
    detector = detector_of()
    unknown = replace(ENDPOINT, sampler_profile=None)
    assert {probe.group for probe in detector.plan(unknown, b"s", 4)} == {"greedy"}
    known = replace(unknown, engine="transformers", device="cpu")
    assert {probe.group for probe in detector.plan(known, b"s", 4)} == {"seeded", "greedy"}
    (chat,) = detector.plan(replace(ENDPOINT, api=ApiStyle.CHAT), b"s", 1)
    (message,) = chat.prompt.messages or ()
    assert message.role == "user" and len(message.content) >= 60


def test_texts_that_are_too_short_give_no_probe() -> None:
    reference = example_reference("bfloat16")
    assert plan_replays("replay/1", reference, ["short"], ENDPOINT, b"s", 3) == ()
    # one text of one piece gives no second request like the first
    few = plan_replays("replay/1", reference, ["word " * 30], ENDPOINT, b"s", 50)
    assert 0 < len(few) == len({probe.prompt for probe in few})


def test_honest_answers_are_consistent_and_read_the_same_again() -> None:
    detector = detector_of(calibration())
    reading = detector.read(ENDPOINT, answers())
    assert (reading.status, reading.num_used, reading.num_sent) == (ReadingStatus.READ, 6, 6)
    assert max(reading.log_e_nats_N) < 1.0 and len(reading.log_e_nats_N) == 6
    assert (reading.tells, reading.honest_tell_rate) == ("000000", default_policy().tell_rate)
    assert reading.candidates == () and reading.notes == ()
    start_s = time.perf_counter()
    assert detector.read(ENDPOINT, answers()) == reading
    assert time.perf_counter() - start_s < 5.0
    assert detector_of(calibration()).read(ENDPOINT, answers()) == reading


def test_each_look_is_the_beginning_of_the_next() -> None:
    detector = detector_of(calibration())
    whole = detector.read(ENDPOINT, answers()).log_e_nats_N
    for num in (1, 3, 5):
        assert detector.read(ENDPOINT, answers()[:num]).log_e_nats_N == whole[:num]


def test_another_seed_is_found_with_the_first_answer_and_told_apart() -> None:
    reading = detector_of(calibration(), coarse="int4-g32").read(ENDPOINT, answers(1))
    assert reading.log_e_nats_N[0] > math.log(100)
    # greedy answers do not depend on the seed
    assert reading.tells == "111011"
    assert {candidate.name for candidate in reading.candidates} == {"honest", "coarse"}


def test_what_could_have_been_seen_is_said() -> None:
    visible = detector_of(calibration(), coarse="int4-g32").read(ENDPOINT, answers()).visible
    assert visible is not None
    needed = dict(visible.needed)
    assert needed["unrelated-model"] == 1 and needed.get("coarse", 513) > 1
    assert visible.smallest_share is not None and 0.1 <= visible.smallest_share < 1.0
    assert "6 answers would have shown unrelated-model behind" in visible.statement


def test_without_a_calibration_nothing_is_said() -> None:
    reading = detector_of().read(ENDPOINT, answers())
    assert (reading.status, reading.num_sent) == (ReadingStatus.UNCALIBRATED, 6)
    assert "no calibration" in reading.reason and reading.log_e_nats_N == ()


def test_kinds_that_were_never_calibrated_are_not_judged() -> None:
    other = replace(calibration(), strata=())
    reading = detector_of(other).read(ENDPOINT, answers())
    assert reading.status is ReadingStatus.UNCALIBRATED
    assert reading.reason.startswith("6 not used: no honest traffic of this kind was calibrated")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token_ids": (4096,)}, "token"),
        ({"token_ids": (), "text": ""}, "the answer holds no token"),
        ({"prompt_token_ids": (1, 2)}, "the provider says it answered a prompt of 2 tokens"),
        ({"token_ids": None, "completion_tokens": 1}, "token"),
    ],
)
def test_answers_that_cannot_be_judged_add_nothing(changes: dict[str, object], told: str) -> None:
    spoilt = unlike(answers()[:1], **changes)
    failed = unlike(answers()[1:2], status=AnswerStatus.GARBAGE)
    reading = detector_of(calibration()).read(ENDPOINT, [*spoilt, *failed, *answers()[2:]])
    assert (reading.num_sent, reading.num_used, len(reading.log_e_nats_N)) == (6, 4, 4)
    assert len(reading.notes) == 1 and told in reading.notes[0]
    nothing = detector_of(calibration()).read(ENDPOINT, failed)
    assert (nothing.status, nothing.reason) == (ReadingStatus.TOO_LITTLE, "no answer came back")


def test_a_question_counts_once_and_foreign_token_ids_are_told() -> None:
    twice = [answers()[0], answers()[0], *unlike(answers()[1:2], text="something else")]
    reading = detector_of(calibration()).read(ENDPOINT, twice)
    assert reading.num_used == 2
    assert reading.notes == (
        "1 not used: a question was asked twice, and counts once",
        "1 answers hold token ids that spell another text than theirs",
    )


def test_over_http_the_recorded_answers_give_the_same_reading() -> None:
    by_text = {p.probe.prompt.text: p.answer for p in answers()}

    def body(seen: Seen) -> bytes:
        answer = by_text[json.loads(seen.body)["prompt"]]
        choice = {"index": 0, "text": answer.text, "token_ids": answer.token_ids}
        return json.dumps({"choices": [choice]}).encode()

    async def ask(endpoint: Endpoint) -> list[Probed]:
        settings = ClientSettings(
            clock=lambda: "2026-01-01T00:00:00Z", monotonic=time.monotonic, uniform=lambda: 0.0
        )
        budget = Budget(max_requests=6, max_tokens=10**5)
        async with ProviderClient([endpoint], budget, Keyring({}), settings) as client:
            raws = [await client.ask(endpoint, probe) for probe in plan()]
        return [
            Probed(probe=p, answer=parse_answer(p, raw))
            for p, raw in zip(plan(), raws, strict=True)
        ]

    detector = detector_of(calibration())
    with serving(answering(body)) as server:
        endpoint = replace(ENDPOINT, base_url=server.base_url)
        probed = asyncio.run(ask(endpoint))
    assert detector.read(endpoint, probed) == detector.read(ENDPOINT, answers())


def test_chat_prompts_go_through_the_template() -> None:
    message = Prompt(messages=(Message(role="user", content="def main():"),))
    probe = replace(plan()[3], prompt=message, api=ApiStyle.CHAT)
    reference = example_reference("bfloat16")
    request = replace(
        request_of(plan()[3]),
        prompt_token_ids=reference.tokenize_messages([{"role": "user", "content": "def main():"}]),
    )
    (ids,) = generate(reference, [request], batch_size=1)
    answer = ProbeAnswer(status=AnswerStatus.ANSWERED, token_ids=ids, text=reference.decode(ids))
    reading = detector_of(calibration()).read(ENDPOINT, [Probed(probe=probe, answer=answer)])
    assert reading.num_used == 1 and dict(reading.statistics)["matched_share"] > 0.9
