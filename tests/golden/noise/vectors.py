"""What the golden files hold: first noise values, and one exchange's evidence."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from audit.codec.traffic import read_traffic
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling
from reference_runner.samplers.base import NoiseRequest
from reference_runner.samplers.registry import PROFILES
from tests.support.example_model import TRAFFIC, example_reference

FOLDER = Path(__file__).parent
SEEDS = (0, 1234, -7, 2**40 + 5)
ROWS = (0, 1, 7)
COLUMNS = (0, 1, 2, 63, 4095)
PROFILE = "vllm-cpu-splitmix64"

Json = dict[str, Any]


def noise_values() -> Json:
    """Return chosen noise values of every profile and seed."""
    return {
        name: {str(seed): _noise(name, seed) for seed in SEEDS}
        for name, profile in PROFILES.items()
        if profile.open_stream is not None
    }


def _noise(name: str, seed: int) -> list[list[float]]:
    open_stream = PROFILES[name].open_stream
    assert open_stream is not None
    request = NoiseRequest(seed=seed, num_prompt_tokens=42, vocab_size=4096)
    noise_RV = open_stream(request).take(max(ROWS) + 1)
    chosen: list[list[float]] = noise_RV[np.ix_(ROWS, COLUMNS)].tolist()
    return chosen


def transcript() -> Json:
    """Return the first sampled exchange of the bundled vLLM traffic, with its evidence."""
    (path, *_) = sorted(TRAFFIC.glob("honest-vllm-bf16-[0-9]*.jsonl"))
    for line in read_traffic([path]):
        assert line.request is not None
        exchange = line.request.exchange
        stated, ids = exchange.sampling, exchange.output.token_ids
        if stated.temperature and ids and exchange.prompt.text is not None:
            prompt = example_reference().tokenize_text(exchange.prompt.text)
            sequence: Json = {
                "prompt_token_ids": list(prompt),
                "output_token_ids": list(ids),
                "temperature": stated.temperature,
                "top_k": stated.top_k,
                "top_p": stated.top_p,
                "seed": stated.seed,
            }
            return {
                "model_digest": example_reference().info.model_digest,
                "sequence": sequence,
                "evidence": evidence_json(replayed(sequence)),
            }
    raise LookupError(f"no sampled exchange in {path}")


def replayed(sequence: Json) -> Evidence:
    """Replay a stored sequence in float32, whose arithmetic differs least between machines."""
    replay = ReplaySequence(
        prompt_token_ids=tuple(sequence["prompt_token_ids"]),
        output_token_ids=tuple(sequence["output_token_ids"]),
        sampling=Sampling(
            **{name: sequence[name] for name in ("temperature", "top_k", "top_p", "seed")}
        ),
        profile_ids=(PROFILE,),
    )
    ((evidence,),) = example_reference().replay(ReplayBatch(sequences=(replay,)))
    return evidence


def evidence_json(evidence: Evidence) -> Json:
    """Return evidence as lists."""
    return {
        "signed_margin": [round(float(x), 6) for x in evidence.signed_margin_logits_R],
        "top_two_gap": [round(float(x), 6) for x in evidence.top_two_gap_logits_R],
        "logprob": [round(float(x), 6) for x in evidence.logprob_nats_R],
        "matched": evidence.matched_R.tolist(),
        "rank": evidence.rank_R.tolist(),
        "excluded": evidence.excluded_R.tolist(),
    }


def golden_files() -> dict[str, Json]:
    """Return every golden file's content by name."""
    return {"noise.json": noise_values(), "transcript.json": transcript()}


def load(name: str) -> Json:
    """Return a stored golden file."""
    content: Json = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content
