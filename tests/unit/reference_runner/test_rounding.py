"""Rounded copies hold the twin's numbers, and the model that they come from stays as it is."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference_runner.errors import CheckpointError
from reference_runner.records import ReplayBatch, ReplaySequence, Sampling
from reference_runner.replay import TorchReference
from reference_runner.rounding import (
    ROUNDINGS,
    _cut_to_fp8,
    round_fp8,
    round_integer,
    rounded_copy,
)
from tests.support.example_model import example_reference

GROUPS = {"int4-g32": (32, 4), "int4-g128": (128, 4), "int8-g32": (32, 8), "int8-channel": (0, 8)}


def twin_integer(weights: np.ndarray, group_size: int, bits: int) -> np.ndarray:
    """Round value by value, group by group."""
    rounded = np.zeros_like(weights)
    width = group_size or weights.shape[1]
    for row, values in enumerate(weights):
        for start in range(0, len(values), width):
            group = values[start : start + width]
            divisor = 7.5 if bits == 4 else 127.0
            scale = np.abs(group).max() / np.float32(divisor)
            if bits == 4:
                scale = np.float32(torch.tensor(scale).bfloat16().float().item())
            low, high = (-8, 7) if bits == 4 else (-127, 127)
            for column, value in enumerate(group):
                step = 0.0 if scale == 0 else min(max(round(float(value / scale)), low), high)
                rounded[row, start + column] = np.float32(step) * scale
    return rounded


def twin_fp8(weights: np.ndarray) -> np.ndarray:
    """Take the nearest of all finite e4m3 numbers."""
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    grid = np.unique(codes[np.isfinite(codes)])
    rounded = np.zeros_like(weights)
    for row, values in enumerate(weights):
        scale = np.abs(values).max() / np.float32(448.0)
        for column, value in enumerate(values):
            if scale > 0:
                rounded[row, column] = grid[np.abs(grid - value / scale).argmin()] * scale
    return rounded


def weights_of(num_in: int) -> np.ndarray:
    weights = np.random.default_rng(num_in).normal(0, 0.05, (5, num_in)).astype(np.float32)
    weights[2] = 0.0
    return weights


@pytest.mark.parametrize("num_in", [1, 32, 40, 256])
@pytest.mark.parametrize("kind", GROUPS)
def test_integer_weights_equal_the_slow_twins(kind: str, num_in: int) -> None:
    group_size, bits = GROUPS[kind]
    weights = weights_of(num_in)
    found = round_integer(torch.from_numpy(weights), group_size=group_size, bits=bits)
    np.testing.assert_array_equal(found.numpy(), twin_integer(weights, group_size, bits))


@pytest.mark.parametrize("num_in", [1, 33])
def test_fp8_weights_equal_the_slow_twins(num_in: int) -> None:
    weights = weights_of(num_in)
    np.testing.assert_array_equal(round_fp8(torch.from_numpy(weights)).numpy(), twin_fp8(weights))


def tensors_of(reference: TorchReference) -> dict[str, Tensor]:
    return dict(reference.model.network.state_dict())


def logprobs(reference: TorchReference) -> np.ndarray:
    sequence = ReplaySequence(
        prompt_token_ids=(5, 6, 7),
        output_token_ids=tuple(range(100, 130)),
        sampling=Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None),
        profile_ids=("greedy",),
    )
    ((evidence,),) = reference.replay(ReplayBatch(sequences=(sequence,)))
    return evidence.logprob_nats_R


@pytest.mark.parametrize("kind", ROUNDINGS)
def test_a_copy_answers_otherwise_and_the_original_stays_bit_for_bit(kind: str) -> None:
    reference = example_reference("bfloat16")
    before = copy.deepcopy(tensors_of(reference))
    expected = logprobs(reference)
    rounded = reference.rounded(kind)
    assert (logprobs(rounded) != expected).any()
    np.testing.assert_allclose(logprobs(rounded), expected, atol=3.0)
    np.testing.assert_array_equal(logprobs(reference), expected)
    assert all(torch.equal(before[name], now) for name, now in tensors_of(reference).items())
    assert rounded.info == reference.info


@pytest.mark.parametrize("kind", GROUPS)
def test_linear_layers_are_rounded_and_nothing_else(kind: str) -> None:
    reference = example_reference("bfloat16")
    old, new = tensors_of(reference), tensors_of(reference.rounded(kind))
    group_size, bits = GROUPS[kind]
    assert old.keys() == new.keys()
    for name, tensor in new.items():
        if name.endswith("_proj.weight"):
            expected = round_integer(old[name], group_size=group_size, bits=bits).bfloat16()
            assert torch.equal(tensor, expected)
        else:
            assert tensor.data_ptr() == old[name].data_ptr(), "memory is shared"


def test_keys_and_values_are_what_fp8_can_hold() -> None:
    rounded = example_reference("bfloat16").rounded("kv-fp8-e4m3").model.network
    projection = rounded.get_submodule("model.layers.0.self_attn.k_proj")
    given = projection(torch.full((1, 256), 1000.0, dtype=torch.bfloat16))
    assert bool(given.isfinite().all())
    assert torch.equal(given, given.to(torch.float8_e4m3fn).to(given.dtype))


def test_an_unknown_kind_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(CheckpointError) as caught:
        example_reference("bfloat16").rounded("int3")
    assert all(name in str(caught.value) for name in (*ROUNDINGS, "'int3'"))
    assert all(name == rounding.id for name, rounding in ROUNDINGS.items())


@pytest.mark.parametrize(
    ("kind", "missing"), [("int4-g32", "no linear layers"), ("kv-fp8-e4m3", "k_proj and v_proj")]
)
def test_a_model_without_the_layers_is_refused(kind: str, missing: str) -> None:
    class Other(nn.Module):
        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(CheckpointError, match=missing):
        rounded_copy(Other(), kind)  # type: ignore[arg-type]


def test_cut_keys_and_values_lie_on_the_grid_next_towards_zero() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    grid = np.unique(np.abs(codes[np.isfinite(codes)]))
    values = np.random.default_rng(4).normal(0, 3, 500).astype(np.float32)
    values[:6] = [0.0, 1e-9, 448.0, 1e6, -0.0019, 2.0**-6]
    cut = _cut_to_fp8(torch.from_numpy(values)).numpy()
    for value, found in zip(values, cut, strict=True):
        below = grid[grid <= min(abs(float(value)), 448.0)].max()
        assert found == np.float32(np.copysign(below, value) if below else 0.0)


def test_grid_points_are_not_moved() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    finite = codes[codes.isfinite()]
    assert torch.equal(_cut_to_fp8(finite), finite)
