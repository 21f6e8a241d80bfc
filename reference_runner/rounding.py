"""Copies of a loaded model whose numbers are rounded, as quantised deployments have them.

The table of kinds is versioned data: an id stands for one arithmetic for ever, so a change of it
gets a new id. Weights are rounded on the fly and put back in the model's dtype; activations stay
as they are. Experts that an architecture keeps in one stacked tensor are no linear layers and stay
unrounded.

Legend: O output channels, I input channels, G groups of input channels, W inputs in one group.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from reference_runner.errors import CheckpointError

INT4_MAX = 7.5
INT8_MAX = 127.0
FP8_MAX = torch.finfo(torch.float8_e4m3fn).max

#: As `torch.frexp` counts: mantissas in [1/2, 1), three bits behind the leading one.
_MIN_FP8_EXPONENT = -5
_FP8_MANTISSA_BITS = 4

_CUT_KV = "sdpa-over-cut-fp8-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """One kind of rounding; `apply` changes a copy of a model in place."""

    id: str
    label: str
    apply: Callable[[PreTrainedModel], None]


def rounded_copy(model: PreTrainedModel, kind: str) -> PreTrainedModel:
    """Return a copy of the model with numbers rounded as `kind` says; the model stays untouched.

    Memory: the copy shares every tensor but the rounded weights, which are held once more in the
    model's dtype; float32 working space is that of one layer.
    Raises: CheckpointError for an unknown kind, or where the model lacks the layers that it rounds.
    """
    rounding = ROUNDINGS.get(kind)
    if rounding is None:
        raise CheckpointError(
            f"no rounding is called {kind!r}; known are: {', '.join(sorted(ROUNDINGS))}"
        )
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    # deepcopy takes what its memo names for copied already, so tensors are shared
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    rounding.apply(twin)
    return twin


def round_integer(weight_OI: Tensor, *, group_size: int, bits: int) -> Tensor:
    """Return float32 weights on a symmetric integer grid, one scale per group of inputs, [O, I].

    Four bits: scale amax / 7.5, itself rounded to bfloat16, steps -8 to 7. Eight bits: scale
    amax / 127, steps -127 to 127. `group_size` 0 means one group per output channel; the last group
    may be shorter.
    """
    num_in = weight_OI.shape[-1]
    width = group_size or num_in
    # zeros change no group's largest value
    filled_OI = nn.functional.pad(weight_OI.float(), (0, -num_in % width))
    groups_OGW = filled_OI.view(len(filled_OI), -1, width)
    amax_OG1 = groups_OGW.abs().amax(dim=-1, keepdim=True)
    if bits == 4:
        scale_OG1, lowest, highest = (amax_OG1 / INT4_MAX).bfloat16().float(), -8.0, 7.0
    else:
        scale_OG1, lowest, highest = amax_OG1 / INT8_MAX, -INT8_MAX, INT8_MAX
    steps_OGW = (groups_OGW / _no_zero(scale_OG1)).round().clamp(lowest, highest)
    return (steps_OGW * scale_OG1).flatten(-2)[:, :num_in]


def round_fp8(weight_OI: Tensor) -> Tensor:
    """Return float32 weights on the e4m3 grid, one scale amax / 448 per output channel, [O, I]."""
    wide_OI = weight_OI.float()
    scale_O1 = wide_OI.abs().amax(dim=-1, keepdim=True) / FP8_MAX
    return _through_fp8(wide_OI / _no_zero(scale_O1)) * scale_O1


def _no_zero(scale: Tensor) -> Tensor:
    return torch.where(scale == 0.0, 1.0, scale)


def _through_fp8(values: Tensor) -> Tensor:
    # torch turns what is too large into NaN, engines take the largest number
    return values.clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).to(values.dtype)


def _round_weights(round_weight: Callable[[Tensor], Tensor], model: PreTrainedModel) -> None:
    """Replace the weights of all linear layers but the output head."""
    layers = list(_inner_linears(model))
    if not layers:
        raise CheckpointError(f"{type(model).__name__} has no linear layers to round")
    for layer in layers:
        weight = round_weight(layer.weight.detach()).to(layer.weight.dtype)
        layer.weight = nn.Parameter(weight, requires_grad=False)


def _inner_linears(model: PreTrainedModel) -> Iterator[nn.Linear]:
    untyped: Any = model
    head = untyped.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not head:
            yield module


def _round_keys_and_values(model: PreTrainedModel) -> None:
    """Round what every k_proj and v_proj gives to e4m3 with scale 1.0, vLLM's default scale.

    An approximation: engines round keys after the rotary embedding, here they are rounded before
    it, and a teacher-forced pass has no cache whose older entries alone are rounded.
    """
    names = ("k_proj", "v_proj")
    found = [m for name, m in model.named_modules() if name.rpartition(".")[2] in names]
    if not found:
        raise CheckpointError(
            f"{type(model).__name__} has no modules k_proj and v_proj, whose output this kind "
            "rounds; choose one that rounds weights"
        )
    for module in found:
        module.register_forward_hook(_hook_through_fp8)


def _cut_keys_and_values(model: PreTrainedModel) -> None:
    """Keep keys and values as vLLM 0.32 does on CPUs: e4m3 with scale 1, cut off towards zero.

    Keys are rounded after the rotary embedding, where the cache stands. A teacher-forced pass
    rounds those of the newest token as well, as that engine does.
    """
    # transformers' own registries, by name; registering the same again changes nothing
    attentions: Any = ALL_ATTENTION_FUNCTIONS
    masks: Any = ALL_MASK_ATTENTION_FUNCTIONS
    attentions.register(_CUT_KV, _attend_to_cut)
    masks.register(_CUT_KV, masks["sdpa"])
    untyped: Any = model
    untyped.set_attn_implementation(_CUT_KV)


def _attend_to_cut(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any
) -> Any:
    attention: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]
    return attention(module, query, _cut_to_fp8(key), _cut_to_fp8(value), mask, **more)


def _cut_to_fp8(values: Tensor) -> Tensor:
    """Return values on the e4m3 grid, each the next one towards zero."""
    size = values.float().abs().clamp(max=FP8_MAX)
    exponent = torch.frexp(size).exponent.clamp(min=_MIN_FP8_EXPONENT)
    step = torch.ldexp(torch.ones_like(size), exponent - _FP8_MANTISSA_BITS)
    return ((size / step).floor() * step * values.sign()).to(values.dtype)


def _hook_through_fp8(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return _through_fp8(output)


def _weights(kind: str, label: str, round_weight: Callable[[Tensor], Tensor]) -> Rounding:
    return Rounding(id=kind, label=label, apply=partial(_round_weights, round_weight))


def _integers(kind: str, label: str, *, group_size: int, bits: int) -> Rounding:
    return _weights(kind, label, partial(round_integer, group_size=group_size, bits=bits))


ROUNDINGS: dict[str, Rounding] = {
    rounding.id: rounding
    for rounding in (
        _integers("int4-g32", "4-bit weights, groups of 32", group_size=32, bits=4),
        _integers("int4-g128", "4-bit weights, groups of 128", group_size=128, bits=4),
        _integers("int8-g32", "8-bit weights, groups of 32", group_size=32, bits=8),
        _integers("int8-channel", "8-bit weights, one scale per channel", group_size=0, bits=8),
        _weights("fp8-e4m3", "fp8 (e4m3) weights, one scale per channel", round_fp8),
        Rounding(
            id="kv-fp8-e4m3", label="fp8 (e4m3) key-value cache", apply=_round_keys_and_values
        ),
        Rounding(
            id="kv-fp8-e4m3-cpu",
            label="fp8 (e4m3) key-value cache of vLLM on CPUs",
            apply=_cut_keys_and_values,
        ),
    )
}
