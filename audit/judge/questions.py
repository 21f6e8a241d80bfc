"""Names the question of an exchange, so that the same one asked twice counts once."""

import hashlib

import numpy as np

from reference_runner.records import ReplaySequence

#: Hex digits kept: 64 bits tell a provider's recent questions apart.
NUM_HEX_DIGITS = 16


def question_digest(sequence: ReplaySequence) -> str:
    """Return a short digest of prompt and sampling.

    A deterministic engine answers the same question with the same tokens, mistakes included.
    """
    sampling = sequence.sampling
    prompt = np.asarray(sequence.prompt_token_ids, dtype="<i8").tobytes()
    if sampling.is_greedy:
        settings = "greedy"
    else:
        settings = f"{sampling.temperature!r} {sampling.top_k} {sampling.top_p!r} {sampling.seed}"
    return hashlib.sha256(settings.encode() + b"\0" + prompt).hexdigest()[:NUM_HEX_DIGITS]
