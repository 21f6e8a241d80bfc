"""Other models made from the example model."""

from pathlib import Path

import pytest
import torch

from reference_runner.errors import CheckpointError
from reference_runner.records import GenerationRequest, Sampling
from reference_runner.replay import TorchReference
from reference_runner.variants import fine_tuned, perturbed, substitutes, without_last_layers
from tests.support.example_model import example_reference

TEXT = "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n"


def logits(reference: TorchReference) -> torch.Tensor:
    """Return the logits after each token of a text but the last."""
    ids = reference.tokenize_text(TEXT)
    return reference.model.output_logits(ids, len(ids) - 1)


def divergence_nats(reference: TorchReference) -> float:
    """Return the mean KL divergence of a variant's next token from the model's."""
    log_p = logits(example_reference("bfloat16")).double().log_softmax(-1)
    log_q = logits(reference).double().log_softmax(-1)
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def test_substitutes_differ_in_the_order_of_their_cheapness() -> None:
    reference = example_reference("bfloat16")
    before = logits(reference)
    made = {name: divergence_nats(x) for name, x in substitutes(reference, seed=b"s").items()}
    assert 0.0 < made["int8-g32"] < made["int4-g32"] < made["other-checkpoint"] < made["sibling"]
    assert set(made) == {
        "int4-g32", "fp8-e4m3", "int8-g32", "kv-fp8-e4m3", "sibling", "other-checkpoint",
    }  # fmt: skip
    assert torch.equal(before, logits(reference))


def test_sibling_shares_weights_and_can_answer() -> None:
    reference = example_reference("bfloat16")
    sibling = without_last_layers(reference, 2)
    assert len(reference.model.network.model.layers) == 4
    assert reference.model.network.config.num_hidden_layers == 4
    assert len(sibling.model.network.model.layers) == 2
    shared = {tensor.data_ptr() for tensor in reference.model.network.parameters()}
    assert {tensor.data_ptr() for tensor in sibling.model.network.parameters()} <= shared
    request = GenerationRequest(
        prompt_token_ids=sibling.tokenize_text(TEXT),
        sampling=Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None),
        profile_id="greedy",
        num_tokens=6,
    )
    (cached,) = sibling.generate([request], batch_size=1)
    # a pass without the cache draws the same, so the cache fits the fewer layers
    ids = request.prompt_token_ids + cached
    greedy = sibling.model.output_logits(ids, 6).argmax(-1).tolist()
    assert sum(a == b for a, b in zip(greedy, cached, strict=True)) >= 5


def test_perturbed_weights_follow_the_seed() -> None:
    reference = example_reference("bfloat16")
    one = logits(perturbed(reference, seed=b"a", relative_size=0.05))
    assert torch.equal(one, logits(perturbed(reference, seed=b"a", relative_size=0.05)))
    assert not torch.equal(one, logits(perturbed(reference, seed=b"b", relative_size=0.05)))


def test_fine_tuning_fits_its_texts_and_leaves_the_model_alone() -> None:
    reference = example_reference("bfloat16")
    before = logits(reference)
    ids = reference.tokenize_text(Path(__file__).read_text(encoding="utf-8")[:4000])

    def loss_nats(model: TorchReference) -> float:
        scores = model.model.output_logits(ids[:256], 255)
        return float(torch.nn.functional.cross_entropy(scores, torch.tensor(ids[1:256])))

    tuned = fine_tuned(reference, [ids[:256]], num_steps=5, learning_rate=3e-4)
    assert loss_nats(tuned) < loss_nats(reference) - 0.1
    assert torch.equal(before, logits(reference))
    assert tuned.model.network.dtype == torch.bfloat16
    assert not any(weight.requires_grad for weight in tuned.model.network.parameters())


def test_what_cannot_be_made_is_told() -> None:
    reference = example_reference("bfloat16")
    for num_layers in (0, 4):
        with pytest.raises(CheckpointError, match="drop 1 to 3"):
            without_last_layers(reference, num_layers)
    with pytest.raises(CheckpointError, match="above 0"):
        perturbed(reference, seed=b"", relative_size=0.0)
    with pytest.raises(CheckpointError, match="64 or more tokens"):
        fine_tuned(reference, [(1, 2, 3)], num_steps=1)
