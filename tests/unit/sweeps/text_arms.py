"""Local arms for the text detectors: the example model answers probes as an endpoint would."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from audit.sweep_records import AnswerStatus, ApiStyle, Endpoint, Probe, ProbeAnswer, Probed
from audit.sweeps.detector import Tools
from audit.sweeps.text.samples import answer_locally
from reference_runner.replay import TorchReference
from reference_runner.variants import without_last_layers
from tests.support.example_model import TRAFFIC, example_reference

ENDPOINT = Endpoint(name="arm", base_url="http://127.0.0.1/v1", model="example")
CHAT_ENDPOINT = replace(ENDPOINT, api=ApiStyle.CHAT)


@cache
def texts() -> tuple[str, ...]:
    """Return ordinary text: the prompts of the bundled traffic."""
    lines = (TRAFFIC / "honest-vllm-bf16-2.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["request"].get("prompt") for line in lines]
    prompts = [prompt for prompt in asked if isinstance(prompt, str)]
    joined = "\n".join(prompts)
    # a passage is no longer than its text, and short prompts make fast tests
    return tuple(joined[start : start + 70] for start in range(0, len(joined), 70))


@cache
def sibling() -> TorchReference:
    """Return the example model without its last layer."""
    return without_last_layers(example_reference())


@cache
def tools() -> Tools:
    """Return the tools of all text tests."""
    return Tools(reference=example_reference(), candidates={"sibling": sibling()}, texts=texts())


def honest_answers(probes: Sequence[Probe], seed: bytes = b"honest") -> list[Probed]:
    """Return probes as an honest bf16 endpoint answers them, in batches of 8."""
    return answer_locally(example_reference("bfloat16"), probes, seed, batch_size=8)


def retuned_answers(
    probes: Sequence[Probe], temperature: float, seed: bytes = b"retuned"
) -> list[Probed]:
    """Return answers of the reference at another temperature than the one asked for."""
    asked = [
        replace(probe, sampling=replace(probe.sampling, temperature=temperature))
        for probe in probes
    ]
    answered = answer_locally(example_reference(), asked, seed)
    return [
        Probed(probe=probe, answer=item.answer)
        for probe, item in zip(probes, answered, strict=True)
    ]


def failed(probe: Probe, status: AnswerStatus) -> Probed:
    """Return a probe that got no answer."""
    return Probed(probe=probe, answer=ProbeAnswer(status=status, error="no answer"))
