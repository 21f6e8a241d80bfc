"""Noise and evidence are what they were: a change must be meant, and regenerated."""

import numpy as np
import pytest

from tests.golden.noise.vectors import SEEDS, evidence_json, load, noise_values, replayed
from tests.support.example_model import example_reference

#: Other processors sum in other orders; float32 logits of the example model agree to this.
TOLERANCE_LOGITS = 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_every_profiles_noise_equals_the_golden_values(seed: int) -> None:
    golden, found = load("noise.json"), noise_values()
    assert golden.keys() == found.keys()
    for profile, by_seed in found.items():
        expected = golden[profile][str(seed)]
        np.testing.assert_allclose(by_seed[str(seed)], expected, rtol=0, atol=1e-12)


def test_the_transcript_is_of_the_bundled_model() -> None:
    digest = example_reference().info.model_digest
    assert load("transcript.json")["model_digest"] == digest, "run `make golden`"


def test_the_evidence_of_a_recorded_exchange_equals_the_golden_transcript() -> None:
    golden = load("transcript.json")
    found, expected = evidence_json(replayed(golden["sequence"])), golden["evidence"]
    for name in ("signed_margin", "top_two_gap", "logprob"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=TOLERANCE_LOGITS)
    clear = np.abs(np.asarray(expected["signed_margin"])) > TOLERANCE_LOGITS
    for name in ("matched", "excluded"):
        np.testing.assert_array_equal(
            np.asarray(found[name])[clear], np.asarray(expected[name])[clear]
        )
    assert np.abs(np.subtract(found["rank"], expected["rank"])).max() <= 1


def test_the_recorded_exchange_is_honest() -> None:
    matched = load("transcript.json")["evidence"]["matched"]
    assert len(matched) > 100
    assert np.mean(matched) > 0.95
