"""Other models made from a loaded one, for trying detectors: a smaller sibling, other checkpoints.

They share the tokenizer, and `info` still names the checkpoint that they were made from: a provider
that serves one of them claims it too.

Legend: B windows of a batch, T tokens of a window, V vocabulary.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reference_runner.errors import CheckpointError
from reference_runner.replay import TorchReference

#: The roundings that deployments have most often, as `rounding.ROUNDINGS` names them.
ROUNDINGS_OF_PROVIDERS = ("int4-g32", "fp8-e4m3", "int8-g32", "kv-fp8-e4m3")


#: Noise on the weights that makes another checkpoint. On the example model it moves the output by
#: 0.017 nats (KL): 20 times what 4-bit weights do, a third of what the sibling does.
_OTHER_CHECKPOINT_NOISE = 0.2


def substitutes(
    reference: TorchReference, *, seed: bytes, roundings: Sequence[str] = ROUNDINGS_OF_PROVIDERS
) -> dict[str, TorchReference]:
    """Return what a provider may run instead, by name: rounded copies and two other models.

    Raises: CheckpointError where the architecture cannot take one of them.
    """
    made = {kind: reference.rounded(kind) for kind in roundings}
    made["sibling"] = without_last_layers(reference)
    made["other-checkpoint"] = perturbed(
        reference, seed=seed, relative_size=_OTHER_CHECKPOINT_NOISE
    )
    return made


def without_last_layers(reference: TorchReference, num_layers: int = 1) -> TorchReference:
    """Return a smaller sibling: the same model without its last decoder layers.

    It shares all tensors with the reference, which stays as it is. Raises: CheckpointError where
    the architecture keeps no list of layers, or none would be left.
    """
    twin: Any = _sharing_copy(reference.model.network)
    body = twin.get_decoder()
    layers = getattr(body, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise CheckpointError(f"{type(twin).__name__} keeps no list of layers to shorten")
    num_left = len(layers) - num_layers
    if num_layers < 1 or num_left < 1:
        raise CheckpointError(
            f"cannot drop {num_layers} of {len(layers)} layers; drop 1 to {len(layers) - 1}"
        )
    body.layers = nn.ModuleList(list(layers)[:num_left])
    # caches are made with as many layers as the configuration names
    config = twin.config.get_text_config()
    config.num_hidden_layers = num_left
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types)[:num_left]
    return reference.with_network(twin)


def perturbed(reference: TorchReference, *, seed: bytes, relative_size: float) -> TorchReference:
    """Return another checkpoint: normal noise added to every weight of two or more dimensions.

    `relative_size` is the noise's standard deviation over the weight's own. The same seed gives
    the same weights on every machine with the same torch. Raises: CheckpointError for a size that
    is not above 0.
    """
    if not relative_size > 0.0:
        raise CheckpointError("the relative size of the noise must be above 0")
    twin = _own_copy(reference.model.network)
    with torch.no_grad():
        for name, weight in _weights(twin):
            generator = torch.Generator().manual_seed(_seed_of(seed, name))
            noise = torch.randn(weight.shape, generator=generator)
            spread = float(weight.float().std()) * relative_size
            weight.copy_((weight.float() + noise * spread).to(weight.dtype))
    return reference.with_network(twin)


def fine_tuned(
    reference: TorchReference,
    texts: Sequence[tuple[int, ...]],
    *,
    num_steps: int,
    learning_rate: float = 1e-3,
    batch_size: int = 4,
    window: int = 64,
) -> TorchReference:
    """Return another checkpoint: the same model trained on for some steps with token lists.

    Plain AdamW in float32 on windows in the given order; the result has the model's own dtype.
    Raises: CheckpointError where no text is as long as a window.
    """
    windows = [
        list(text[start : start + window])
        for text in texts
        for start in range(0, len(text) - window + 1, window)
    ]
    if not windows:
        raise CheckpointError(f"fine-tuning needs texts of {window} or more tokens")
    network = reference.model.network
    twin: Any = _own_copy(network)
    twin = twin.float()
    for weight in twin.parameters():
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=learning_rate, weight_decay=0.0)
    with torch.inference_mode(False), torch.enable_grad():
        for step in range(num_steps):
            first = step * batch_size
            ids_BT = torch.tensor(
                [windows[(first + row) % len(windows)] for row in range(batch_size)]
            )
            optimizer.zero_grad()
            _next_token_loss(twin, ids_BT).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    twin = twin.to(network.dtype).eval()
    for weight in twin.parameters():
        weight.requires_grad_(False)
    return reference.with_network(twin)


def _next_token_loss(network: Any, ids_BT: Tensor) -> Tensor:
    logits_BTV = network(input_ids=ids_BT, use_cache=False).logits
    return nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())


def _weights(network: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    for name, weight in network.named_parameters():
        if weight.dim() >= 2:
            yield name, weight


def _seed_of(seed: bytes, name: str) -> int:
    digest = hashlib.sha256(seed + b"perturbed" + name.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _sharing_copy(network: PreTrainedModel) -> PreTrainedModel:
    tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
    # deepcopy takes what its memo names for copied already, so tensors are shared
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def _own_copy(network: PreTrainedModel) -> PreTrainedModel:
    return copy.deepcopy(network)
