"""Write the checkpoints that cheating providers load: int4, int8, fp8, or another training run.

All linear layers except `lm_head` are changed. `int4` is a compressed-tensors "pack-quantized"
checkpoint, which vLLM runs with real W4A16 kernels. `fp8` and `int8` hold the rounded values as
bfloat16: vLLM's fp8 does not run on CPUs, its int8 would round the activations too. Not run by
itself; `record.py` imports it.

Legend: O output channels, I input channels, G groups of input channels, P packed words of eight
input channels.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

INT8_GROUP_SIZE = 32
VALUES_PER_WORD = 8
INT4_MAX = 7.5
INT8_MAX = 127.0
FP8_MAX = torch.finfo(torch.float8_e4m3fn).max
TRAINING_MINUTES = 2
TRAINING_SEED = 2

Tensors = dict[str, torch.Tensor]


def _is_linear(name: str) -> bool:
    """Tell whether a tensor is the weight of a linear layer that gets rounded."""
    return name.endswith("_proj.weight")


def _int4(group_size: int, name: str, weight_OI: torch.Tensor) -> Tensors:
    """Return the packed form of one weight: eight 4-bit values per word, lowest bits first."""
    num_out, num_in = weight_OI.shape
    groups_OGI = weight_OI.float().view(num_out, num_in // group_size, group_size)
    scale_OG = (groups_OGI.abs().amax(dim=-1) / INT4_MAX).bfloat16()
    steps_OGI = groups_OGI / scale_OG.float().unsqueeze(-1)
    values_OI = steps_OGI.round().clamp(-8, 7).long().view(num_out, num_in) + 8
    shifts = torch.arange(VALUES_PER_WORD) * 4
    words_OP = (values_OI.view(num_out, -1, VALUES_PER_WORD) << shifts).sum(dim=-1)
    stem = name.removesuffix("weight")
    return {
        f"{stem}weight_packed": words_OP.to(torch.int32),
        f"{stem}weight_scale": scale_OG,
        f"{stem}weight_shape": torch.tensor([num_out, num_in]),
    }


def _fp8(name: str, weight_OI: torch.Tensor) -> Tensors:
    """Return one weight rounded to e4m3 with one scale per output channel, stored as bfloat16."""
    scale_O1 = weight_OI.float().abs().amax(dim=-1, keepdim=True) / FP8_MAX
    rounded_OI = (weight_OI.float() / scale_O1).to(torch.float8_e4m3fn).float() * scale_O1
    return {name: rounded_OI.bfloat16()}


def _int8(name: str, weight_OI: torch.Tensor) -> Tensors:
    """Return one weight rounded to 8 bits in groups of 32 inputs, stored as bfloat16."""
    groups_OGI = weight_OI.float().unflatten(1, (-1, INT8_GROUP_SIZE))
    scale_OG1 = groups_OGI.abs().amax(dim=-1, keepdim=True) / INT8_MAX
    rounded_OGI = (groups_OGI / scale_OG1).round() * scale_OG1
    return {name: rounded_OGI.flatten(1).bfloat16()}


def _int4_config(group_size: int) -> dict[str, object]:
    """Return the compressed-tensors entry of the model's configuration."""
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": group_size,
        "dynamic": False,
    }
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": None,
        "output_activations": None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
    }


def _rewrite(
    model: Path,
    out: Path,
    change: Callable[[str, torch.Tensor], Tensors],
    config: dict[str, object],
) -> None:
    """Copy a checkpoint with its linear weights changed and `config` added to its configuration."""
    shutil.copytree(model, out, dirs_exist_ok=True)
    tensors: Tensors = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        tensors |= change(name, tensor) if _is_linear(name) else {name: tensor}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    merged = json.loads((model / "config.json").read_text()) | config
    (out / "config.json").write_text(json.dumps(merged, indent=2) + "\n")


def write_int4(model: Path, out: Path, group_size: int) -> None:
    """Write the W4A16 checkpoint of `model`."""
    config: dict[str, object] = {"quantization_config": _int4_config(group_size)}
    _rewrite(model, out, partial(_int4, group_size), config)


def write_int8(model: Path, out: Path) -> None:
    """Write the checkpoint of `model` with weights rounded to 8 bits."""
    _rewrite(model, out, _int8, {})


def write_fp8(model: Path, out: Path) -> None:
    """Write the checkpoint of `model` with fp8-rounded weights."""
    _rewrite(model, out, _fp8, {})


def train_other(model: Path, out: Path) -> None:
    """Train another checkpoint of the same shape with the tokenizer of `model`."""
    if (out / "model.safetensors").exists():
        return
    script = Path(__file__).parents[1] / "training" / "train.py"
    subprocess.run(
        [
            sys.executable,
            script,
            *("--seed", str(TRAINING_SEED)),
            *("--minutes", str(TRAINING_MINUTES)),
            *("--tokenizer", model),
            *("--out", out),
        ],
        check=True,
    )
