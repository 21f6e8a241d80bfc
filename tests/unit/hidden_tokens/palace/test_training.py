"""Both stages of training for real, on the example model: a small task with a known answer.

Requests of one domain have about 1,100 tokens, of the other about 5,500.
"""

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the extra palace")

from huggingface_hub.utils import _telemetry

from audit.billing_records import BilledRequest, BilledUsage, Reading, UsageSchema
from audit.hidden_tokens.estimator.router import train_router
from audit.hidden_tokens.palace.channel import CountObservation, PalaceChannel, calibrate_palace
from audit.hidden_tokens.palace.metrics import score_estimates
from audit.hidden_tokens.palace.prompts import PalaceQuestion, format_count, parse_count
from audit.hidden_tokens.palace.reward import reward
from reference_runner.palace.adapters import (
    GENERAL,
    AdapterSet,
    LoraSettings,
    PalaceBase,
    load_adapters,
    load_base,
    new_adapter,
    open_adapter,
    release,
)
from reference_runner.palace.data import CountExample, PalaceError, check_examples
from reference_runner.palace.fine_tune import FineTuneSettings, fine_tune
from reference_runner.palace.generate import greedy_replies, replies_by_domain, sampled_replies
from reference_runner.palace.grpo import GrpoSettings, grpo
from reference_runner.palace.train import TrainingLog, TrainingSettings, train_adapters
from tests.support.example_model import MODEL

# so narrow that any of its counts is within 33 % of any other
RANGES = {"math": (1_050, 1_250), "trick": (5_100, 5_900)}
WORDS = {"math": "sum of", "trick": "riddle"}

SETTINGS = TrainingSettings(
    lora=LoraSettings(rank=16, alpha=32),
    fine_tune=FineTuneSettings(num_epochs=20, learning_rate=5e-3, max_tokens=64),
    grpo=GrpoSettings(
        num_steps=10, questions_per_step=4, num_replies=8, learning_rate=3e-4, max_tokens=64
    ),
    seed=1,
)


def prompt_of(domain: str, number: int) -> str:
    return f"{WORDS[domain]} {number}"


def examples(num: int, seed: int) -> list[CountExample]:
    draw = random.Random(seed)  # noqa: S311 (made-up requests, no secret)
    made = []
    for nth in range(num):
        domain = ("math", "trick")[nth % 2]
        count = draw.randint(*RANGES[domain])
        made.append(
            CountExample(
                prompt=prompt_of(domain, draw.randint(0, 99)),
                reply=format_count(count),
                num_tokens=count,
                domain=domain,
            )
        )
    return made


HELD_OUT = examples(32, seed=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    base: PalaceBase
    adapters: AdapterSet
    log: TrainingLog
    folder: Path
    untrained: list[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    base = load_base(MODEL, num_threads=1)
    untrained = asked(base, base.network, HELD_OUT)
    folder = tmp_path_factory.mktemp("palace") / "adapters"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_telemetry, "_start_telemetry_thread", refuse_to_tell)
        log = train_adapters(base, examples(64, seed=1), reward, SETTINGS, folder)
    assert asked(base, base.network, HELD_OUT) == untrained, "training leaves the base as it was"
    yield Trained(
        base=base,
        adapters=load_adapters(base, folder),
        log=log,
        folder=folder,
        untrained=untrained,
    )


def refuse_to_tell() -> None:
    raise AssertionError("training must not report its use over the network")


def asked(base: PalaceBase, model: Any, questions: Sequence[CountExample]) -> list[str]:
    return greedy_replies(model, base.tokenizer, [e.prompt for e in questions])


def share_right(replies: Sequence[str]) -> float:
    predicted = [parse_count(reply) for reply in replies]
    return score_estimates(predicted, [e.num_tokens for e in HELD_OUT]).pass_at_1


def by_domain(trained: Trained, domains: Sequence[str]) -> list[str]:
    questions = list(zip(domains, [e.prompt for e in HELD_OUT], strict=True))
    return replies_by_domain(
        trained.adapters,
        questions,
        lambda model, prompts: greedy_replies(model, trained.base.tokenizer, prompts),
    )


def test_training_beats_the_untrained_base(trained: Trained) -> None:
    assert share_right(trained.untrained) == 0.0
    assert share_right(by_domain(trained, [e.domain for e in HELD_OUT])) >= 0.9
    losses = trained.log.losses_nats
    assert losses[-1] < losses[0] / 2


def test_the_estimates_have_not_collapsed_to_a_constant(trained: Trained) -> None:
    replies = by_domain(trained, [e.domain for e in HELD_OUT])
    counts = [e.num_tokens for e in HELD_OUT]
    scores = score_estimates([parse_count(reply) for reply in replies], counts)
    assert scores.num_distinct >= len(RANGES)
    # the counts themselves, nearly all of whose spread lies between the domains
    spread = statistics.stdev(math.log(count) for count in counts)
    assert scores.log_deviation == pytest.approx(spread, rel=0.2)


def test_the_second_stage_changes_each_domains_adapter_and_keeps_what_was_learnt(
    trained: Trained,
) -> None:
    assert set(trained.log.rewards) == set(RANGES)
    weights = {
        name: (trained.folder / name / "adapter_model.safetensors").read_bytes()
        for name in (*RANGES, GENERAL)
    }
    assert len(set(weights.values())) == 3
    for domain in RANGES:
        # ten steps are too few to earn measurably more
        assert earned(trained, domain, domain) > earned(trained, GENERAL, domain) - 0.05


def earned(trained: Trained, adapter: str, domain: str) -> float:
    questions = [e for e in HELD_OUT if e.domain == domain]
    drawn = sampled_replies(
        trained.adapters.activate(adapter),
        trained.base.tokenizer,
        [e.prompt for e in questions],
        num_replies=8,
        temperature=1.0,
        seed=3,
    )
    return statistics.fmean(
        reward(reply, e.num_tokens)
        for replies, e in zip(drawn, questions, strict=True)
        for reply in replies
    )


def test_a_routed_request_is_read_with_its_domains_adapter(trained: Trained) -> None:
    train = examples(200, seed=1)
    router = train_router([e.prompt for e in train], [e.domain for e in train])
    asked_of: list[str] = []

    def predict(questions: Sequence[PalaceQuestion]) -> list[int | None]:
        asked_of.extend(trained.adapters.adapter_of(q.domain) for q in questions)
        replies = replies_by_domain(
            trained.adapters,
            [(q.domain, q.prompt) for q in questions],
            lambda model, prompts: greedy_replies(model, trained.base.tokenizer, prompts),
        )
        return [parse_count(reply) for reply in replies]

    channel = PalaceChannel(calibration=calibration(trained, predict), predict=predict)
    for domain in RANGES:
        asked_of.clear()
        request = billed(prompt_of(domain, 41), RANGES[domain][1] * 2)
        routed = router.route(request.prompt or "").domain
        assert routed == domain
        reading = channel.read(request, routed)
        assert asked_of == [domain]
        assert isinstance(reading, Reading)
        # a few replies name no count, and their rows are left out
        assert 56 <= reading.num_calibration <= 64
        # twice the highest honest bill
        assert reading.p_over == pytest.approx(1 / (reading.num_calibration + 1))


def calibration(trained: Trained, predict: Any) -> Any:
    rows = examples(128, seed=4)
    predicted = predict(
        [PalaceQuestion(prompt=e.prompt, answer="", model="m", domain=e.domain) for e in rows]
    )
    return calibrate_palace(
        [
            CountObservation(
                model="m",
                domain=e.domain,
                effort="",
                billed_tokens=e.num_tokens,
                predicted_tokens=p,
            )
            for e, p in zip(rows, predicted, strict=True)
        ],
        adapters_digest=trained.adapters.digest,
    )


def billed(prompt: str, count: int) -> BilledRequest:
    return BilledRequest(
        request_id="r",
        account="a",
        provider="p",
        model="m",
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_CHAT, output_tokens=count + 9, reasoning_tokens=count
        ),
        observed_at="2026-01-01T00:00:00Z",
        prompt=prompt,
        answer="",
    )


def test_a_domain_without_adapter_is_read_with_the_general_one(trained: Trained) -> None:
    assert trained.adapters.adapter_of("medicine") == GENERAL
    general = trained.adapters.activate(GENERAL)
    assert by_domain(trained, ["medicine"] * len(HELD_OUT)) == asked(
        trained.base, general, HELD_OUT
    )


def test_replies_are_drawn_again_from_the_same_seed(trained: Trained) -> None:
    def drawn(seed: int) -> list[list[str]]:
        return sampled_replies(
            trained.adapters.activate("math"),
            trained.base.tokenizer,
            ["sum of 5", "sum of 17 and more"],
            num_replies=5,
            temperature=0.8,
            seed=seed,
        )

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert [len(replies) for replies in drawn(1)] == [5, 5]


def test_the_same_seed_trains_the_same_adapters(tmp_path: Path) -> None:
    short = replace(
        SETTINGS,
        fine_tune=replace(SETTINGS.fine_tune, num_epochs=1),
        grpo=replace(SETTINGS.grpo, num_steps=1, num_replies=2),
    )
    base = load_base(MODEL, num_threads=1)
    digests = []
    for name in ("a", "b"):
        folder = tmp_path / name
        train_adapters(base, examples(16, seed=1)[::2], reward, short, folder)
        adapters = load_adapters(base, folder)
        digests.append(adapters.digest)
        release(adapters.model)
    assert digests[0] == digests[1]


def test_adapters_of_another_base_are_refused(trained: Trained) -> None:
    other = replace(trained.base, digest="sha256:11")
    with pytest.raises(PalaceError, match="not to sha256:11"):
        load_adapters(other, trained.folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "train the adapters again"),
        ("{", "train the adapters again"),
        ('{"format": 2}', "is not of this version's form"),
    ],
)
def test_a_folder_without_a_manifest_is_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "palace.json").write_text(text)
    base = load_base(MODEL, num_threads=1)
    with pytest.raises(PalaceError, match=message):
        load_adapters(base, tmp_path)
    with pytest.raises(PalaceError, match="cannot load the adapter"):
        open_adapter(base, tmp_path, trainable=False)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("here")
    base = load_base(MODEL, num_threads=1)
    with pytest.raises(PalaceError, match="is not empty: name another folder"):
        train_adapters(base, HELD_OUT, reward, SETTINGS, tmp_path)


@pytest.mark.parametrize("domain", [GENERAL, "a.b", "../up", ""])
def test_a_domain_that_cannot_name_an_adapter_is_refused(domain: str, tmp_path: Path) -> None:
    base = load_base(MODEL, num_threads=1)
    wrong = [replace(HELD_OUT[0], domain=domain)]
    with pytest.raises(PalaceError, match="no adapter can be named"):
        train_adapters(base, wrong, reward, SETTINGS, tmp_path / "new")


def test_examples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    base = load_base(MODEL, num_threads=1)
    with pytest.raises(PalaceError, match="there are no examples"):
        check_examples(base.tokenizer, [], 64)
    long = [HELD_OUT[0], replace(HELD_OUT[0], prompt="x = 1\n" * 99)]
    model = new_adapter(base, LoraSettings(), seed=1)
    with pytest.raises(PalaceError, match=r"example 1 has \d+ tokens with its reply, more than 64"):
        fine_tune(model, base, long, SETTINGS.fine_tune, seed=1, scratch=tmp_path)
    alone = replace(SETTINGS.grpo, num_replies=1)
    with pytest.raises(PalaceError, match="num_replies must be 2 at least"):
        grpo(model, base, HELD_OUT, reward, alone, seed=1, scratch=tmp_path)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = load_base(MODEL, num_threads=1)
    monkeypatch.setattr("reference_runner.palace.data.find_spec", lambda name: None)
    with pytest.raises(
        PalaceError, match=r"datasets, peft, trl: pip install 'inference-audit\[pal"
    ):
        train_adapters(base, HELD_OUT, reward, SETTINGS, tmp_path / "new")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(PalaceError, match="cannot use the device 'nowhere'"):
        load_base(MODEL, device="nowhere", num_threads=1)
