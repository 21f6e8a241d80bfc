"""How many requests a second a local endpoint answers, client and server on one core.

Method: the example model behind `LocalServer`, honest, on loopback; a thread pool of plain HTTP
clients sends greedy one-token requests with prompts that are all different (nothing is cached), in
the same process, one torch thread. Rates are requests over wall-clock seconds, and over seconds of
processor time of client and server together: what one core that does nothing else would give. The
best of the rounds, since a shared machine only ever slows a round down. `--quick` sends fewer.

Run: `taskset -c 0 .venv/bin/python benchmarks/sweeps/endpoint.py [--quick]`.
The last line of the output is one JSON object.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx2

from audit.sweeps.adversaries.answering import Engine
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from reference_runner.replay import load_reference

MODEL = Path(__file__).parents[2] / "examples" / "model"
TEXT = "The quick brown fox jumps over the lazy dog and then walks home to see"

#: name: (requests a pass, requests under way, further members)
CASES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "batch 1, one client": (1, 1, {}),
    "batch 8, 8 clients": (8, 8, {}),
    "batch 8, 16 clients": (8, 16, {}),
    "batch 8, 8 clients, 5 log-probabilities": (8, 8, {"logprobs": 5}),
    "batch 8, 8 clients, 64 tokens": (8, 8, {"max_tokens": 64, "ignore_eos": True}),
}


def rates_per_s(
    client: httpx2.Client, url: str, num: int, at_once: int, extra: Any
) -> tuple[float, float]:
    """Return requests a second of wall clock and of processor time, with so many under way."""

    def ask(number: int) -> None:
        body = {"model": "m", "prompt": f"{TEXT} {number}", "max_tokens": 1, "temperature": 0}
        client.post(f"{url}/completions", json=body | extra).raise_for_status()

    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(ask, range(num)))
    return num / (time.perf_counter() - start_s), num / (time.process_time() - start_cpu_s)


def main() -> None:
    """Measure all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    num, num_rounds = (60, 1) if parser.parse_args().quick else (300, 3)
    reference = load_reference(MODEL, "bfloat16", num_threads=1)
    wall: dict[str, float] = {}
    processor: dict[str, float] = {}
    for name, (batch_size, at_once, extra) in CASES.items():
        engine = Engine(reference, seed=b"benchmark", batch_size=batch_size)
        served = Served(model="m", behaviour=engine, clock_s=time.monotonic)
        with LocalServer(served) as server, httpx2.Client(timeout=60.0) as client:
            rates_per_s(client, server.base_url, 20, at_once, extra)
            rounds = [
                rates_per_s(client, server.base_url, num, at_once, extra) for _ in range(num_rounds)
            ]
        wall[name], processor[name] = (max(column) for column in zip(*rounds, strict=True))
        print(f"{name:42} {wall[name]:7.1f} a second, {processor[name]:7.1f} a second of processor")
    rounded = {
        label: {name: round(rate, 1) for name, rate in rates.items()}
        for label, rates in (("wall", wall), ("processor", processor))
    }
    print(json.dumps({"requests_per_s": rounded}))


if __name__ == "__main__":
    main()
