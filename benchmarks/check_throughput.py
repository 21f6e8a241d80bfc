"""How many output tokens a second does `check` audit on a CPU, and how near is that to the floor?

Method: read the bundled honest and cheating traffic, then time, in turn within one process and one
thread, three things over the same exchanges: the whole path from traffic line to verdict (`check`
without printing), the forward passes alone, and matrix products with the FLOPs of those passes. The
last is the floor. Each is run `--rounds` times and the median is reported; ratios hold on a noisy
machine, absolute times do not. The wall time of the command itself is measured too: it includes
start-up, the samplers' self-test and loading the model.

    python benchmarks/check_throughput.py [--rounds 3] [--per-file 12]
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from audit.app import build_examiner
from audit.codec.traffic import read_traffic
from audit.config import ModelSource, ReplaySettings
from audit.examine import Examiner
from audit.planning import plan_replay
from audit.records import AuditRequest
from reference_runner.model import ReferenceModel, load_model

EXAMPLES = Path(__file__).parents[1] / "examples"
CALIBRATION = EXAMPLES / "calibration" / "example.json"
Sequence = tuple[tuple[int, ...], int]


def traffic_files() -> list[Path]:
    """Return the bundled bf16 recordings that hold token ids, calibration traffic left out."""
    files = sorted((EXAMPLES / "traffic").glob("*.jsonl"))
    return [f for f in files if not any(w in f.name for w in ("calibration", "fp32", "serve"))]


def read_requests(per_file: int) -> list[AuditRequest]:
    """Return the first exchanges of each recording."""
    lines = [line for f in traffic_files() for line in islice(read_traffic([f]), per_file)]
    return [line.request for line in lines if line.request is not None]


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Return the median wall time of `work` in seconds, after one run that is not counted."""
    work()
    times_s = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - started)
    return statistics.median(times_s)


def forward_all(model: ReferenceModel, sequences: list[Sequence]) -> None:
    """Run every forward pass, scoring nothing."""
    for token_ids, num_outputs in sequences:
        model.output_logits(token_ids, num_outputs)


def matmul_floor(config: dict[str, int], sequences: list[Sequence]) -> Callable[[], object]:
    """Return the matrix products of all passes, with the same shapes, as one callable."""
    width, inner, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    kv_width = config["num_key_value_heads"] * config["head_dim"]
    shapes = [(width, width), (width, kv_width), (width, kv_width), (width, width)]
    shapes += [(width, inner), (width, inner), (inner, width)]
    weights = [torch.randn(s, dtype=torch.bfloat16) for s in shapes]
    head = torch.randn(width, vocab, dtype=torch.bfloat16)

    @torch.inference_mode()
    def work() -> None:
        for token_ids, num_outputs in sequences:
            inputs = {
                n: torch.ones(len(token_ids), n, dtype=torch.bfloat16) for n in (width, inner)
            }
            for _ in range(config["num_hidden_layers"]):
                for weight in weights:
                    _ = inputs[weight.shape[0]] @ weight
            _ = inputs[width][:num_outputs] @ head

    return work


def plan_all(examiner: Examiner, requests: list[AuditRequest]) -> list[Sequence]:
    """Return tokens and number of outputs of every exchange."""
    found = []
    for request in requests:
        reference = examiner.replay.library.open(request.claim)
        sequence = plan_replay(request, reference, None).sequence
        token_ids = sequence.prompt_token_ids + sequence.output_token_ids
        found.append((token_ids, len(sequence.output_token_ids)))
    return found


def time_command() -> tuple[float, int]:
    """Return wall seconds and output tokens of the command over one whole recording."""
    file = EXAMPLES / "traffic" / "honest-vllm-bf16-2.jsonl"
    command = [sys.executable, "-m", "audit.cli", "check", "--json", "--traffic", str(file)]
    command += ["--model", str(EXAMPLES / "model"), "--calibration", str(CALIBRATION)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - started
    return wall_s, sum(json.loads(line)["num_tokens"] for line in done.stdout.splitlines())


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-file", type=int, default=12)
    args = parser.parse_args()
    settings = ReplaySettings(
        models=(ModelSource(folder=EXAMPLES / "model"),), calibration=CALIBRATION
    )
    examiner = build_examiner(settings)
    requests = read_requests(args.per_file)
    sequences = plan_all(examiner, requests)
    model = load_model(EXAMPLES / "model", "bfloat16", num_threads=settings.num_threads)
    config = json.loads((EXAMPLES / "model" / "config.json").read_text())
    check_s = median_s(lambda: [examiner(r) for r in requests], args.rounds)
    forward_s = median_s(lambda: forward_all(model, sequences), args.rounds)
    floor_s = median_s(matmul_floor(config, sequences), args.rounds)
    command_s, command_tokens = time_command()
    num_outputs = sum(n for _, n in sequences)
    result = {
        "benchmark": "check_throughput",
        "num_exchanges": len(requests),
        "num_output_tokens": num_outputs,
        "check_output_tokens_per_s": round(num_outputs / check_s),
        "forward_only_output_tokens_per_s": round(num_outputs / forward_s),
        "floor_output_tokens_per_s": round(num_outputs / floor_s),
        "check_over_floor": round(check_s / floor_s, 2),
        "scoring_share": round(1.0 - forward_s / check_s, 3),
        "command_output_tokens_per_s": round(command_tokens / command_s),
        "command_num_output_tokens": command_tokens,
        "num_threads": settings.num_threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
