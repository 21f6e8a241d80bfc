"""Profiles are used only under a known name, and only where their known answers hold."""

import subprocess
import sys
from dataclasses import replace

import pytest

from reference_runner.errors import UnsupportedProfile
from reference_runner.samplers.murmur import VLLM_V2_MURMUR32
from reference_runner.samplers.registry import (
    GREEDY,
    PROFILES,
    _check_known_answer,
    get_profile,
    self_test,
)


def test_every_profile_reproduces_its_known_answers_here() -> None:
    self_test()


def test_every_profile_with_noise_has_known_answers() -> None:
    assert all(p.known_answers for p in PROFILES.values() if p.open_stream is not None)
    assert all(name == profile.id for name, profile in PROFILES.items())


def test_an_unknown_profile_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(UnsupportedProfile) as caught:
        get_profile("vllm-v9")
    assert "'vllm-v9'" in str(caught.value)
    assert all(name in str(caught.value) for name in PROFILES)


def test_a_profile_whose_known_answer_is_wrong_is_refused() -> None:
    right = VLLM_V2_MURMUR32.known_answers[0]
    _check_known_answer(VLLM_V2_MURMUR32, right)
    wrong = replace(right, gumbel=(right.gumbel[0] + 1e-3, *right.gumbel[1:]))
    with pytest.raises(UnsupportedProfile, match=r"vllm-v2-murmur32 failed its self-test.*seed 1"):
        _check_known_answer(VLLM_V2_MURMUR32, wrong)


def test_a_known_answer_that_is_not_a_number_is_refused() -> None:
    right = VLLM_V2_MURMUR32.known_answers[0]
    nan = replace(right, gumbel=(float("nan"), *right.gumbel[1:]))
    with pytest.raises(UnsupportedProfile):
        _check_known_answer(VLLM_V2_MURMUR32, nan)


def test_the_greedy_profile_needs_no_known_answer() -> None:
    _check_known_answer(GREEDY, VLLM_V2_MURMUR32.known_answers[0])


@pytest.mark.parametrize("module", ["audit.cli", "reference_runner.samplers.registry"])
def test_importing_it_does_not_import_torch(module: str) -> None:
    code = f"import {module}, sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
