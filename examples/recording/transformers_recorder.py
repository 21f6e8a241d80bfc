"""Record answers of transformers: `generate` in this process, or the `transformers serve` server.

In process, the global generator is seeded right before each call, one request at a time, and the
answer is written in the shape of a completions body with token ids. The server needs a model whose
generation configuration says `do_sample`, knows no `top_k` and returns no token ids. Not run by
itself; `record.py` imports it.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
import torch
import transformers
from bodies import Body
from client import Claim, meta_of
from engine import Engine, EngineFailedError, free_port, stop_group
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

SERVE_START_TIMEOUT_S = 120.0


class Generator(Protocol):
    """The one method of a transformers model that is used here."""

    def generate(self, inputs: torch.Tensor, **options: Any) -> Any:
        """Return prompt and generated ids, one row per prompt."""
        ...


def _generation_config(body: Body) -> GenerationConfig:
    """Return the settings of one call; an end token does not stop it when `ignore_eos` is set."""
    shared = {"max_new_tokens": body["max_tokens"], "pad_token_id": 0, "bos_token_id": 0}
    shared["eos_token_id"] = None if body["ignore_eos"] else 0
    if body["temperature"] == 0:
        return GenerationConfig.from_dict({"do_sample": False, **shared})
    filters = {name: body[name] for name in ("temperature", "top_k", "top_p")}
    return GenerationConfig.from_dict({"do_sample": True, **filters, **shared})


def _generate(model: Generator, prompt_ids: list[int], body: Body) -> list[int]:
    """Return the generated token ids of one request."""
    input_ids = torch.tensor([prompt_ids])
    torch.manual_seed(body["seed"])
    output = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        generation_config=_generation_config(body),
    )
    ids: list[int] = output[0, len(prompt_ids) :].tolist()
    return ids


def _answer(
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: list[int],
    ids: list[int],
    body: Body,
    index: int,
) -> Body:
    """Return a completions body for generated token ids."""
    choice = {
        "index": 0,
        "text": tokenizer.decode(ids, skip_special_tokens=True),
        "logprobs": None,
        "finish_reason": "length" if len(ids) == body["max_tokens"] else "stop",
        "token_ids": ids,
        "prompt_token_ids": prompt_ids,
    }
    usage = {
        "prompt_tokens": len(prompt_ids),
        "completion_tokens": len(ids),
        "total_tokens": len(prompt_ids) + len(ids),
    }
    return {
        "id": f"cmpl-{index}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": "example",
        "choices": [choice],
        "usage": usage,
    }


def record_in_process(
    checkpoint: Path, dtype: str, bodies: list[Body], tokenizer: PreTrainedTokenizerBase
) -> list[Body]:
    """Answer all requests with `generate`, one at a time, and return the traffic lines."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, dtype))
    model.generation_config.eos_token_id = None  # else it replaces the None of a request
    claim = Claim(
        engine="transformers",
        engine_version=transformers.__version__,
        dtype=dtype,
        api_base="in-process",
    )
    lines: list[Body] = []
    for index, body in enumerate(bodies):
        started_at, started = datetime.now(UTC), time.monotonic()
        prompt_ids: list[int] = tokenizer.encode(body["prompt"], add_special_tokens=False)
        ids = _generate(model, prompt_ids, body)
        meta = meta_of(claim, started_at, time.monotonic() - started)
        answer = _answer(tokenizer, prompt_ids, ids, body, index)
        lines.append({"request": body, "response": answer, "meta": meta})
    return lines


def write_sampling_copy(model: Path, out: Path) -> None:
    """Copy a checkpoint and let its generation configuration say that answers are sampled."""
    shutil.copytree(model, out, dirs_exist_ok=True)
    path = out / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True}, indent=2) + "\n")


def _installed_version(python: Path) -> str:
    """Return the version of transformers that another Python has; the server does not tell it."""
    program = "import importlib.metadata as m; print(m.version('transformers'))"
    command = [str(python), "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _wait_until_up(process: subprocess.Popen[bytes], base_url: str, log: Path) -> None:
    """Return once the server answers at all."""
    deadline = time.monotonic() + SERVE_START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{base_url}/health", timeout=2.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise EngineFailedError(f"`transformers serve` did not come up: {log.read_text()[-2000:]}")


@contextmanager
def running_serve(*, python: Path, checkpoint: Path, dtype: str, log: Path) -> Iterator[Engine]:
    """Run `transformers serve` on `checkpoint` for as long as the `with` block lasts.

    The server knows the model by the path it was given, so it is started beside the folder.
    """
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    command = [
        str(python.absolute().parent / "transformers"),
        "serve",
        checkpoint.name,
        "--host",
        "127.0.0.1",
    ]
    command += ["--port", str(port), "--device", "cpu", "--dtype", dtype]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=checkpoint.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_up(process, base_url, log)
        yield Engine(base_url=base_url, version=_installed_version(python))
    finally:
        stop_group(process)
