"""Start and stop the real vLLM OpenAI server, as a process group on the loopback interface.

The server module is started directly: the `vllm` command does not work in the CPU build, whose
distribution bears another name. Everything that could change the sampler without notice is pinned
in `_environment` and `_command`.

Not run by itself; `record.py` uses `running_engine` as a context manager.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 15.0
MAX_MODEL_LENGTH = 1024
MAX_NUM_SEQUENCES = 16


class EngineFailedError(RuntimeError):
    """The server ended, or did not come up in time; the message ends with the tail of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running server."""

    base_url: str
    version: str


def _environment() -> dict[str, str]:
    """Return the server's environment: offline, one thread, a fixed model runner."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_V2_MODEL_RUNNER": "0",
    }


def _command(
    python: Path,
    checkpoint: Path,
    dtype: str,
    port: int,
    fingerprint: str | None,
    kv_cache_dtype: str,
) -> list[str]:
    """Return the command line of the server."""
    options = {
        "--model": str(checkpoint),
        "--served-model-name": "example",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": dtype,
        "--max-model-len": str(MAX_MODEL_LENGTH),
        "--max-num-seqs": str(MAX_NUM_SEQUENCES),
        "--generation-config": "vllm",
        "--kv-cache-dtype": kv_cache_dtype,
    }
    if fingerprint is not None:
        options |= {"--fingerprint-mode": "custom", "--fingerprint-value": fingerprint}
    flat = [word for pair in options.items() for word in pair]
    return [str(python), "-m", "vllm.entrypoints.openai.api_server", *flat, "--enforce-eager"]


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], base_url: str, log: Path) -> None:
    """Return once the server answers its health check."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{base_url}/health", timeout=2.0).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
    raise EngineFailedError(f"the server did not come up, exit status {process.poll()}:\n{tail}")


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group, gently first."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def running_engine(
    *,
    python: Path,
    checkpoint: Path,
    dtype: str,
    log: Path,
    fingerprint: str | None = None,
    kv_cache_dtype: str = "auto",
) -> Iterator[Engine]:
    """Serve `checkpoint` as model "example" for as long as the `with` block lasts.

    With `fingerprint` the answers bear that `system_fingerprint` instead of the server's own.

    Raises:
        EngineFailedError: if the server does not come up.
    """
    base_url = f"http://127.0.0.1:{(port := free_port())}"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            _command(python, checkpoint, dtype, port, fingerprint, kv_cache_dtype),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(process, base_url, log)
        version = httpx.get(f"{base_url}/version", timeout=10.0).json()["version"]
        yield Engine(base_url=base_url, version=str(version))
    finally:
        stop_group(process)
