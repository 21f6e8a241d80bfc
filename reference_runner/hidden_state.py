"""What a model holds in mind at the end of a prompt: the hidden state before its first token.

Reasoning models plan the length of their chain before they begin it, and a linear head can read the
plan there. Source: "LRMs plan their reasoning strength" (arXiv 2506.08390).

Legend: P prompts, T tokens of one prompt, F width of the hidden state.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from reference_runner.checks import check_lengths, check_token_ids
from reference_runner.errors import BadSequence
from reference_runner.replay import TorchReference

Float32Array = NDArray[np.float32]


@torch.inference_mode()
def prompt_states(
    reference: TorchReference, prompts: Sequence[tuple[int, ...]], *, layer: int = -1
) -> Float32Array:
    """Return the hidden state of each prompt's last token behind one layer, [P, F].

    Layer 0 is the embedding, -1 what the LM head reads. One pass for each prompt and no batches, so
    that a state does not depend on its neighbours.
    Raises: BadSequence for a prompt that does not fit, a layer that the model lacks, and states
    that are not finite.
    """
    states = [_state(reference, prompt, layer) for prompt in prompts]
    width = int(reference.model.network.config.get_text_config().hidden_size)
    states_PF = np.asarray(states, dtype=np.float32).reshape(len(states), width)
    if not np.isfinite(states_PF).all():
        raise BadSequence(
            "replay_failed",
            f"hidden states are not finite at precision {reference.info.precision}; use the "
            "checkpoint's own",
        )
    return states_PF


def _state(reference: TorchReference, prompt: tuple[int, ...], layer: int) -> Float32Array:
    # room for one token behind the prompt: the one whose plan is read
    check_lengths(len(prompt), 1, reference.info)
    check_token_ids("prompt", prompt, reference.info)
    network = reference.model.network
    ids_1T = torch.tensor([prompt], dtype=torch.long, device=network.device)
    output = network(input_ids=ids_1T, output_hidden_states=True, use_cache=False, logits_to_keep=1)
    layers = output.hidden_states
    if not -len(layers) <= layer < len(layers):
        raise BadSequence(
            "invalid_exchange",
            f"the model has no layer {layer}; name one from {-len(layers)} to {len(layers) - 1}",
        )
    state_F: Float32Array = layers[layer][0, -1].float().cpu().numpy()
    return state_F
