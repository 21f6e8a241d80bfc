"""Which sampler profile applies to an engine, as far as it was named.

Engine, version and device are claims. Where they leave two profiles open, both are returned and
both are tried; where they name an engine that no profile here covers, nothing is returned: a guess
would accuse honest providers.
"""

import re
from dataclasses import dataclass

_FINGERPRINT = re.compile(r"vllm-(\d+\.\d+(?:\.\d+)?)")
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The candidate profiles for an engine (none where unknown), and why."""

    profile_ids: tuple[str, ...]
    explanation: str


def choose_profiles(
    *, engine: str | None, version: str | None, device: str | None, system_fingerprint: str | None
) -> Choice:
    """Return the candidate profiles for the named engine; the order does not matter."""
    found = _FINGERPRINT.match(system_fingerprint) if system_fingerprint is not None else None
    if found is not None and engine is None:
        engine, version = "vllm", found[1]
    elif found is not None and version is None and engine is not None and "vllm" in engine.lower():
        version = found[1]
    if engine is None:
        return Choice(
            profile_ids=(),
            explanation="neither claim, meta nor system_fingerprint names the engine; pass "
            "--profile, or record "
            "meta.engine, meta.engine_version and meta.device",
        )
    name = engine.strip().lower()
    is_cpu = name.endswith("-cpu") or (device or "").lower().startswith("cpu")
    family = name.removesuffix("-cpu")
    if family == "vllm":
        return _choose_vllm(version, is_cpu=is_cpu, device=device)
    if family in {"transformers", "hf", "huggingface"}:
        return _choose_transformers(is_cpu=is_cpu)
    return Choice(
        profile_ids=(),
        explanation=f"no sampler profile covers the engine {engine!r}; see `inference-audit "
        "profiles`",
    )


def _choose_vllm(version: str | None, *, is_cpu: bool, device: str | None) -> Choice:
    parsed = _VERSION.match(version.strip()) if version is not None else None
    if parsed is None:
        return Choice(
            profile_ids=(),
            explanation="vLLM draws tokens differently from release to release; record "
            "meta.engine_version",
        )
    release = (int(parsed[1]), int(parsed[2]))
    on_cpu: tuple[str, ...] = ("vllm-cpu-splitmix64",) if release == (0, 32) else ()
    on_gpu: tuple[str, ...] = ("vllm-v2-murmur32",) if (0, 31) <= release <= (0, 33) else ()
    if is_cpu:
        candidates = on_cpu
    elif device:
        candidates = on_gpu
    else:
        candidates = on_gpu + on_cpu
    where = "CPU" if is_cpu else device or "an unnamed device"
    return Choice(
        profile_ids=candidates,
        explanation=f"vLLM {version} on {where}: "
        + (", ".join(candidates) if candidates else "no profile here covers this release"),
    )


def _choose_transformers(*, is_cpu: bool) -> Choice:
    if not is_cpu:
        return Choice(
            profile_ids=(),
            explanation="transformers draws other noise on a GPU than on a CPU, and only the "
            "CPU is covered; "
            "record meta.device if it was one",
        )
    return Choice(
        profile_ids=("torch-cpu-exponential",),
        explanation="transformers on CPU draws from torch's own CPU generator",
    )
