"""The sampler profiles that this build knows, and their self-test.

A profile is used only after its known answers were reproduced on this machine: a torch or numpy
that draws other noise must be an error at start, never a wave of false accusations.
"""

from functools import cache

import numpy as np

from reference_runner.errors import UnsupportedProfile
from reference_runner.samplers.base import KnownAnswer, SamplerProfile
from reference_runner.samplers.murmur import VLLM_V2_MURMUR32
from reference_runner.samplers.splitmix import VLLM_CPU_SPLITMIX64
from reference_runner.samplers.torch_cpu import TORCH_CPU_EXPONENTIAL

GREEDY = SamplerProfile(
    id="greedy",
    summary="The most likely token at temperature 0; the lowest token id wins exact ties",
    engines="any engine at temperature 0",
    open_stream=None,
)

PROFILES: dict[str, SamplerProfile] = {
    profile.id: profile
    for profile in (GREEDY, TORCH_CPU_EXPONENTIAL, VLLM_V2_MURMUR32, VLLM_CPU_SPLITMIX64)
}


@cache
def get_profile(profile_id: str) -> SamplerProfile:
    """Return a profile whose known answers hold here.

    Raises: UnsupportedProfile for an unknown id, or where this machine does not reproduce the known
    answers.
    """
    profile = PROFILES.get(profile_id)
    if profile is None:
        raise UnsupportedProfile(
            f"no sampler profile is called {profile_id!r}; known are: {', '.join(sorted(PROFILES))}"
        )
    for answer in profile.known_answers:
        _check_known_answer(profile, answer)
    return profile


def _check_known_answer(profile: SamplerProfile, answer: KnownAnswer) -> None:
    if profile.open_stream is None:
        return
    noise_RV = profile.open_stream(answer.request).take(answer.row + 1)
    found = noise_RV[answer.row, list(answer.columns)]
    error = float(np.max(np.abs(found - np.asarray(answer.gumbel))))
    if not error <= answer.tolerance:
        raise UnsupportedProfile(
            f"profile {profile.id} failed its self-test here: seed {answer.request.seed}, row "
            f"{answer.row} is off "
            f"by {error:.3g} (allowed {answer.tolerance:.1g}). This build of torch or numpy "
            "draws other noise; "
            "install the versions of constraints.txt"
        )


def self_test() -> None:
    """Check every profile once. Raises: UnsupportedProfile naming the first that fails."""
    for profile_id in PROFILES:
        get_profile(profile_id)
