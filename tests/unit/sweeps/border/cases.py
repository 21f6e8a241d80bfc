"""Border detectors on the example model, and providers that are its own forward passes."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from audit.ports import ProbeReference
from audit.sweep_records import AnswerStatus, ApiStyle, Endpoint, Probe, ProbeAnswer, Probed
from audit.sweeps.border.calibrate import BorderCalibrator
from audit.sweeps.border.greedy import GreedyBorder
from audit.sweeps.border.planning import BorderSettings
from audit.sweeps.border.seeded import SeededBorder
from audit.sweeps.detector import Section, Tools
from reference_runner.records import GenerationRequest, Sampling
from tests.support.example_model import example_reference

ROOT = Path(__file__).parents[4]
PROFILE = "vllm-cpu-splitmix64"
ENDPOINT = Endpoint(
    name="target", base_url="http://127.0.0.1:1/v1", model="example", sampler_profile=PROFILE
)
TEXT_ENDPOINT = Endpoint(
    name="text", base_url="http://127.0.0.1:1/v1", model="example", offers_token_ids=False
)
CHAT_ENDPOINT = Endpoint(
    name="chat",
    base_url="http://127.0.0.1:1/v1",
    model="example",
    api=ApiStyle.CHAT,
    offers_token_ids=False,
)
SETTINGS = BorderSettings()
NUM_MEASURED = 200
CANDIDATES = ("int4-g32", "int8-g32")


@cache
def tools() -> Tools:
    texts = [path.read_text() for path in sorted((ROOT / "audit").glob("*.py"))]
    reference = example_reference("bfloat16")
    return Tools(
        reference=reference,
        candidates={kind: rounded(kind) for kind in CANDIDATES},
        texts=tuple(texts),
    )


@cache
def rounded(kind: str) -> ProbeReference:
    return example_reference("bfloat16").rounded(kind)


def answered(
    probes: Sequence[Probe], provider: ProbeReference, *, batch_size: int = 8, ids: bool = True
) -> list[Probed]:
    """Return the probes with the answers that a provider's own decoding gives."""
    reference = tools().reference
    requests = []
    for probe in probes:
        seed = probe.sampling.seed
        requests.append(
            GenerationRequest(
                prompt_token_ids=tokens_of(probe),
                sampling=Sampling(
                    temperature=probe.sampling.temperature or 0.0, top_k=0, top_p=1.0, seed=seed
                ),
                profile_id="greedy" if seed is None else PROFILE,
                num_tokens=1,
            )
        )
    answers = provider.generate(requests, batch_size=batch_size)
    return [
        Probed(
            probe=probe,
            answer=ProbeAnswer(
                status=AnswerStatus.ANSWERED,
                token_ids=answer if ids else None,
                text=reference.decode(answer).strip(),
                finish_reason="stop" if answer[0] in reference.end_token_ids else "length",
                completion_tokens=1,
            ),
        )
        for probe, answer in zip(probes, answers, strict=True)
    ]


def tokens_of(probe: Probe) -> tuple[int, ...]:
    reference, prompt = tools().reference, probe.prompt
    if prompt.token_ids is not None:
        return prompt.token_ids
    if prompt.text is not None:
        return reference.tokenize_text(prompt.text)
    return reference.tokenize_messages(
        [{"role": m.role, "content": m.content} for m in prompt.messages or ()]
    )


def detector(name: str, section: Section | None) -> GreedyBorder | SeededBorder:
    kind = GreedyBorder if name == "greedy" else SeededBorder
    return kind(tools(), section, SETTINGS)


@cache
def measuring(name: str) -> tuple[Probe, ...]:
    return detector(name, None).plan(ENDPOINT, b"measure", NUM_MEASURED)


@cache
def section_of(name: str) -> Section:
    """Return the section from one honest variant, bounds wrong with probability 5 %."""
    honest = {"bf16-batch-8": answered(measuring(name), tools().reference)}
    return BorderCalibrator(f"border-{name}/1").fit(honest, error=0.05)


@cache
def planned(name: str) -> tuple[Probe, ...]:
    return detector(name, section_of(name)).plan(ENDPOINT, b"audit", 60)


@cache
def answers_of(name: str, variant: str) -> tuple[Probed, ...]:
    """Return a provider's answers to the planned probes."""
    providers = {
        "bf16": tools().reference,
        "fp32": example_reference("float32"),
        "int4": rounded("int4-g32"),
    }
    return tuple(answered(planned(name), providers[variant]))
