"""Loads a local Hugging Face checkpoint and runs it: one teacher-forced pass, or step by step.

Knows no samplers and no verdicts.

Only safetensors weights are read, no code from the checkpoint is run, and nothing is fetched from a
network.

Legend: T tokens of prompt and output together, R scored rows, V vocabulary; in decoding B sequences
of a batch, T new tokens, S tokens so far.
"""

import inspect
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from reference_runner.digest import checkpoint_digest
from reference_runner.errors import CheckpointError
from reference_runner.precision import CHECKPOINT_PRECISION, normal_precision
from reference_runner.records import ReferenceInfo

#: What transformers raises for a config.json or weights that make no model; it maps them nowhere.
_LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)

#: How attention may be computed; the results differ in the last bits, as engines do.
ATTENTIONS = ("sdpa", "eager")

#: Lengths are filled up to multiples of this: few shapes, and little wasted work.
SHAPE_STEP = 64


class ReferenceModel:
    """A causal language model in evaluation mode, with the facts that name it."""

    def __init__(self, model: PreTrainedModel, info: ReferenceInfo) -> None:
        self.network = model
        self.info = info

    @torch.inference_mode()
    def output_logits(self, token_ids: tuple[int, ...], num_outputs: int) -> Tensor:
        """Return the logits that predict the last `num_outputs` tokens, shape [R, V] float32.

        One pass without a cache. Logits are rounded to the model's dtype first, as engines do, then
        widened. Tokens and rows are filled up to a few fixed shapes: the kernels keep buffers for
        each shape that they ever saw, so memory would grow with the variety of lengths. What is
        filled up comes last, and a causal model cannot see it from the rows before.
        """
        last = len(token_ids) - 1
        num_filled = min(_rounded_up(len(token_ids)), self.info.max_positions)
        ids = token_ids + token_ids[-1:] * (num_filled - len(token_ids))
        rows = [*range(last - num_outputs, last)]
        rows += rows[-1:] * (_rounded_up(num_outputs) - num_outputs)
        ids_1T = torch.tensor([ids], dtype=torch.long, device=self.network.device)
        rows_R = torch.tensor(rows, device=self.network.device)
        logits: Tensor = self.network(
            input_ids=ids_1T, logits_to_keep=rows_R, use_cache=False
        ).logits
        return logits[0, :num_outputs].float()

    @torch.inference_mode()
    def next_logits(
        self, ids_BT: Tensor, mask_BS: Tensor, positions_BT: Tensor, cache: Any
    ) -> tuple[Tensor, Any]:
        """Return the logits that predict each row's next token, [B, V] float32, and the cache.

        `ids_BT` are the tokens that the cache (None at first) does not hold yet; `mask_BS` is 0 on
        the filling of left-padded rows.
        """
        device = self.network.device
        output = self.network(
            input_ids=ids_BT.to(device),
            attention_mask=mask_BS.to(device),
            position_ids=positions_BT.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float().cpu(), output.past_key_values


def _rounded_up(length: int) -> int:
    return -(-length // SHAPE_STEP) * SHAPE_STEP


def load_model(
    folder: Path, precision: str, *, num_threads: int, attention: str = "sdpa"
) -> ReferenceModel:
    """Load the checkpoint in `folder` on the CPU at `precision` (`auto`: as stored).

    `attention` is one of `ATTENTIONS`. Raises: CheckpointError where the folder cannot be read as a
    causal language model.
    """
    if attention not in ATTENTIONS:
        raise CheckpointError(
            f"cannot compute attention as {attention!r}; known are: {', '.join(ATTENTIONS)}"
        )
    digest = checkpoint_digest(folder)
    torch.set_num_threads(num_threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    precision = normal_precision(precision)
    dtype = precision if precision == CHECKPOINT_PRECISION else getattr(torch, precision)
    try:
        # transformers' own types know only the form without loading info
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation=attention,
        )
    except _LOAD_ERRORS as error:
        raise CheckpointError(
            f"cannot load {folder} as a causal language model: {_first_line(error)}. It must "
            "hold config.json and "
            "safetensors weights of an architecture that this transformers version knows"
        ) from error
    model: PreTrainedModel = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:
        # transformers would fill them with random numbers, and every honest answer would look false
        raise CheckpointError(
            f"the weights in {folder} lack {len(missing)} tensors, {missing[0]} among them; "
            "download the checkpoint again"
        )
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise CheckpointError(
            f"{type(model).__name__} cannot score chosen rows only; use a decoder-only text model"
        )
    model.eval().requires_grad_(False)
    return ReferenceModel(model, _describe(model, digest, num_threads))


def _describe(model: PreTrainedModel, digest: str, num_threads: int) -> ReferenceInfo:
    config = model.config.get_text_config()
    libraries = {name: version(name) for name in ("torch", "transformers", "numpy")}
    libraries["python"] = platform.python_version()
    return ReferenceInfo(
        model_digest=digest,
        precision=str(model.dtype).removeprefix("torch."),
        vocab_size=int(config.vocab_size),
        max_positions=int(config.max_position_embeddings),
        device=f"cpu {platform.machine()}",
        libraries=tuple(sorted(libraries.items())),
        num_threads=num_threads,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
