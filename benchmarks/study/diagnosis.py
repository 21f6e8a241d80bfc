"""Does a diagnosis name the true cause?

Method: the example model answers recorded prompts itself, in one simulated deviation at a time,
four answers of 250 tokens each, or of 600 for rounded copies. The answers are audited as if nothing
had been done, with the bundled calibration; those that fail are diagnosed together, and the first
explanation is compared with the truth. A repetition of which no answer failed counts as not failed:
there was nothing to diagnose. Honest answers are generated too.

    python benchmarks/study/diagnosis.py [--repeats N] [--calibration FILE]
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from audit.cases import Case
from audit.codec.traffic import read_traffic
from audit.diagnose import Diagnoser, build_diagnoser
from audit.findings import Explanation
from audit.judge.calibration_file import load_calibration
from audit.judge.policy import ROUNDED_COPIES, load_policy
from audit.judge.verdict import ConditionalJudge, evidence_laws
from audit.planning import plan_replay
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Measurement,
    Message,
    Outcome,
    Output,
    Prompt,
    ProviderClaims,
    SamplingRequest,
)
from audit.rivals import SYSTEM_PROMPTS
from reference_runner.generate import generate
from reference_runner.records import GenerationRequest, ReplayBatch, Sampling
from reference_runner.replay import TorchReference, load_reference

EXAMPLES = Path(__file__).parents[2] / "examples"
CALIBRATION = EXAMPLES / "calibration" / "example.json"
PROMPTS = EXAMPLES / "traffic" / "honest-vllm-bf16-2.jsonl"

PROFILE, OTHER_PROFILE = "vllm-cpu-splitmix64", "vllm-v2-murmur32"
PROVIDER = ProviderClaims(engine="vllm", engine_version="0.32.0", device="cpu")
STATED = SamplingRequest(temperature=0.7, top_k=0, top_p=1.0)
FILTERED = SamplingRequest(temperature=0.7, top_k=50, top_p=0.9)

NUM_EXCHANGES = 4
NUM_TOKENS = 250
#: Rounding shows less, so its answers are longer.
NUM_COPY_TOKENS = 600
NUM_BURST_TOKENS = 40
BATCH_SIZE = 48
MAX_PROMPT_CHARS = 400

Change = Callable[[GenerationRequest], GenerationRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """What a simulated provider does, and how a diagnosis should call it."""

    label: str
    truth: str | None
    """The right explanation; None for honest answers."""
    change: Change = lambda request: request
    stated: SamplingRequest = STATED
    is_chat: bool = False
    copy: str | None = None
    num_tokens: int = NUM_TOKENS
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request and what was really generated for it."""

    deviation: Deviation
    repeat: int
    request: AuditRequest
    really: GenerationRequest


def sampled(**changes: float) -> Change:
    """Return a change of sampling parameters."""
    return lambda r: replace(r, sampling=replace(r.sampling, **changes))  # type: ignore[arg-type]


def heated(ratio: float) -> Deviation:
    """Return a deviation in temperature."""
    temperature = 0.7 * ratio
    change = sampled(temperature=temperature)
    return Deviation(
        label=f"temperature x{ratio:g}",
        truth="temperature",
        change=change,
        temperature=temperature,
    )


def rounded(kind: str) -> Deviation:
    """Return the deviation of answering with a rounded copy."""
    return Deviation(label=kind, truth=kind, copy=kind, num_tokens=NUM_COPY_TOKENS)


def seeded_by(new_seed: Callable[[int], int]) -> Change:
    """Return a change of seed."""

    def change(request: GenerationRequest) -> GenerationRequest:
        seed = new_seed(request.sampling.seed or 0)
        return replace(request, sampling=replace(request.sampling, seed=seed))

    return change


def hidden_prompt(reference: TorchReference, text: str) -> Change:
    """Return a change that puts a system message before a chat: after the template's first turn."""
    system_ids = reference.tokenize_messages([{"role": "system", "content": text}])[:-1]
    return lambda r: replace(r, prompt_token_ids=system_ids + r.prompt_token_ids)


def deviations(reference: TorchReference) -> list[Deviation]:
    """Return all that is simulated."""
    return [
        Deviation(label="honest", truth=None),
        heated(0.85),
        heated(1.1),
        heated(1.2),
        Deviation(
            label="filters off",
            truth="filters_off",
            change=sampled(top_k=0, top_p=1.0),
            stated=FILTERED,
        ),
        Deviation(
            label="seed plus one", truth="other_seed", change=seeded_by(lambda seed: seed + 1)
        ),
        Deviation(
            label="seed ignored",
            truth="unseeded",
            change=seeded_by(lambda seed: seed * 48271 % (2**31 - 1) + 17),
        ),
        Deviation(
            label="other sampler",
            truth="other_profile",
            change=lambda r: replace(r, profile_id=OTHER_PROFILE),
        ),
        Deviation(
            label="hidden system prompt",
            truth="system_prompt",
            change=hidden_prompt(reference, SYSTEM_PROMPTS[0]),
            is_chat=True,
        ),
        Deviation(
            label="begin token added",
            truth="template",
            change=lambda r: replace(r, prompt_token_ids=(0, *r.prompt_token_ids)),
        ),
        Deviation(label="burst at the end", truth="burst"),
        *(rounded(kind) for kind in ROUNDED_COPIES),
    ]


def ask(
    deviation: Deviation, repeat: int, text: str, seed: int, reference: TorchReference
) -> Answer:
    """Return one request, and what its provider makes of it."""
    stated = replace(deviation.stated, seed=seed, max_tokens=deviation.num_tokens)
    message = Message(role="user", content=text)
    prompt = Prompt(messages=(message,)) if deviation.is_chat else Prompt(text=text)
    ids = (
        reference.tokenize_messages([{"role": "user", "content": text}])
        if deviation.is_chat
        else reference.tokenize_text(text)
    )
    honest = GenerationRequest(
        prompt_token_ids=ids,
        sampling=Sampling(
            temperature=stated.temperature or 0.0,
            top_k=stated.top_k or 0,
            top_p=stated.top_p or 1.0,
            seed=seed,
        ),
        profile_id=PROFILE,
        num_tokens=deviation.num_tokens,
    )
    exchange = Exchange(prompt=prompt, output=Output(), sampling=stated, provider=PROVIDER)
    request = AuditRequest(request_id=f"{deviation.label}-{seed}", exchange=exchange, claim=Claim())
    return Answer(
        deviation=deviation, repeat=repeat, request=request, really=deviation.change(honest)
    )


def questions(reference: TorchReference, num_repeats: int) -> list[Answer]:
    """Return all requests; no prompt or seed is used twice within a deviation."""
    draw = random.Random(20260121)  # noqa: S311  not for secrets
    lines = [line.request for line in islice(read_traffic([PROMPTS]), 200)]
    texts = [r.exchange.prompt.text or "" for r in lines if r is not None]
    texts = [text[:MAX_PROMPT_CHARS] for text in texts if text]
    return [
        ask(deviation, repeat, text, draw.randrange(2**31), reference)
        for deviation in deviations(reference)
        for repeat in range(num_repeats)
        for text in draw.sample(texts, NUM_EXCHANGES)
    ]


def answered(reference: TorchReference, answers: Sequence[Answer]) -> list[AuditRequest]:
    """Return the requests with their answers, in order."""
    outputs: dict[int, tuple[int, ...]] = {}
    for copy in dict.fromkeys(answer.deviation.copy for answer in answers):
        model = reference if copy is None else reference.rounded(copy)
        mine = [i for i, answer in enumerate(answers) if answer.deviation.copy == copy]
        drawn = generate(model, [answers[i].really for i in mine], batch_size=BATCH_SIZE)
        outputs.update(zip(mine, drawn, strict=True))
        print(f"generated {len(outputs)} of {len(answers)}", file=sys.stderr, flush=True)
    return [with_output(answer, outputs[i]) for i, answer in enumerate(answers)]


def with_output(answer: Answer, ids: tuple[int, ...]) -> AuditRequest:
    """Return a request with its answer; a burst ends in a piece of its own prompt."""
    if answer.deviation.truth == "burst":
        piece = answer.really.prompt_token_ids * (1 + NUM_BURST_TOKENS)
        ids = ids[:-NUM_BURST_TOKENS] + piece[:NUM_BURST_TOKENS]
    exchange = replace(answer.request.exchange, output=Output(token_ids=ids))
    return replace(answer.request, exchange=exchange)


def failed_case(
    request: AuditRequest, reference: TorchReference, judge: ConditionalJudge
) -> Case | None:
    """Audit one answer; return it where it failed."""
    plan = plan_replay(request, reference, None)
    (evidences,) = reference.replay(ReplayBatch(sequences=(plan.sequence,)))
    examination = judge(Measurement(plan=plan, evidences=evidences, info=reference.info))
    if examination.evidence is None or examination.verdict.outcome is not Outcome.FAIL:
        return None
    return Case(request=request, plan=plan, evidence=examination.evidence, reference=reference)


def summarise(
    deviation: Deviation, found: Sequence[tuple[Explanation, ...]], num_repeats: int
) -> dict[str, Any]:
    """Return one row: how often the first explanation was the truth."""
    first = [explanations[0] for explanations in found]
    right = [e for e in first if e.name == deviation.truth]
    errors = [
        round(abs(e.estimate - deviation.temperature), 4)
        for e in right
        if e.estimate is not None and deviation.temperature is not None
    ]
    return {
        "deviation": deviation.label,
        "truth": deviation.truth,
        "num_repeats": num_repeats,
        "num_not_failed": num_repeats - len(found),
        "num_right": len(right),
        "first_names": dict(Counter(e.name for e in first)),
        "first_probability_least": round(min((e.probability for e in first), default=0.0), 4),
        "temperature_error_largest": max(errors, default=None),
    }


def diagnosed(
    deviation: Deviation, cases: Sequence[list[Case]], diagnose: Diagnoser
) -> dict[str, Any]:
    """Diagnose every repetition of one deviation that failed."""
    found = [diagnose(failed) for failed in cases if failed]
    for explanations in found:
        best = [f"{e.name} {e.probability:.3f} {e.log_likelihood_nats:.1f}" for e in explanations]
        print(f"{deviation.label}: {'; '.join(best[:4])}", file=sys.stderr, flush=True)
    return summarise(deviation, found, len(cases))


def run(num_repeats: int, calibration_path: Path = CALIBRATION) -> dict[str, Any]:
    """Return one row for each simulated deviation. Raises: CalibrationError."""
    reference = load_reference(EXAMPLES / "model", "bfloat16", num_threads=1)
    policy, calibration = load_policy(), load_calibration(calibration_path)
    judge = ConditionalJudge(calibration, policy, version="study")
    diagnose = build_diagnoser(calibration, policy, evidence_laws(calibration, policy))
    answers = questions(reference, num_repeats)
    cases: dict[tuple[str, int], list[Case]] = {}
    for answer, request in zip(answers, answered(reference, answers), strict=True):
        failed = cases.setdefault((answer.deviation.label, answer.repeat), [])
        case = failed_case(request, reference, judge)
        failed += [] if case is None else [case]
    rows = [
        diagnosed(d, [cases[d.label, repeat] for repeat in range(num_repeats)], diagnose)
        for d in dict((answer.deviation.label, answer.deviation) for answer in answers).values()
    ]
    cheating = [row for row in rows if row["truth"] is not None]
    num_diagnosed = sum(row["num_repeats"] - row["num_not_failed"] for row in cheating)
    return {
        "benchmark": "diagnosis",
        "num_diagnosed": num_diagnosed,
        "share_right": round(sum(r["num_right"] for r in cheating) / max(1, num_diagnosed), 4),
        "deviations": rows,
    }


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows for people."""
    print(f"{'deviation':<22}{'not failed':>11}{'right':>7}  first explanations")
    for row in rows:
        diagnosed = row["num_repeats"] - row["num_not_failed"]
        names = ", ".join(f"{name} {count}" for name, count in row["first_names"].items())
        right = f"{row['num_right']}/{diagnosed}"
        print(f"{row['deviation']:<22}{row['num_not_failed']:>11}{right:>7}  {names or '-'}")


def main() -> None:
    """Run the study; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--calibration", type=Path, default=CALIBRATION)
    args = parser.parse_args()
    result = run(args.repeats, args.calibration)
    print_table(result["deviations"])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
