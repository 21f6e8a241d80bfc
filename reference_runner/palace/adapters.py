"""One base model and its LoRA adapters: made, stored, loaded, and chosen by domain.

A folder of adapters holds `palace.json` and one folder an adapter: `general`, from the first stage,
and one for each domain of the second. A domain without its own adapter is read with `general`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from reference_runner.digest import checkpoint_digest
from reference_runner.errors import CheckpointError
from reference_runner.model import load_model
from reference_runner.palace.data import PalaceError, require_libraries

if TYPE_CHECKING:
    from peft import PeftModel

GENERAL = "general"

MANIFEST = "palace.json"

# peft keeps adapters in a module dictionary, which takes no dots; the name is a folder's, too
_ADAPTER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """The size of an adapter."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceBase:
    """The checkpoint that all adapters belong to."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    device: str


def load_base(
    folder: Path, *, precision: str = "float32", device: str = "cpu", num_threads: int
) -> PalaceBase:
    """Load the checkpoint in `folder` onto `device` (as torch names it).

    Raises: CheckpointError where it is no causal language model; PalaceError for a device that is
    not there.
    """
    loaded = load_model(folder, precision, num_threads=num_threads)
    try:
        network: Any = loaded.network.to(torch.device(device))  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        raise PalaceError(f"cannot use the device {device!r}: {error}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot load the tokenizer of {folder}: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return PalaceBase(
        network=network, tokenizer=tokenizer, digest=loaded.info.model_digest, device=device
    )


def new_adapter(base: PalaceBase, settings: LoraSettings, *, seed: int) -> "PeftModel":
    """Return the base with a fresh adapter on all its linear layers; it changes nothing yet.

    The base itself is altered until `release` takes the adapter off again.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(_forked_devices(base)):
        torch.manual_seed(seed)
        return get_peft_model(base.network, config)


def open_adapter(base: PalaceBase, folder: Path, *, trainable: bool) -> "PeftModel":
    """Return the base with the adapter stored in `folder`. Raises: PalaceError."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(base.network, str(folder), is_trainable=trainable)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise PalaceError(f"cannot load the adapter {folder}: {error}") from error


def release(model: "PeftModel") -> None:
    """Take all adapters off the base, which is then as it was loaded."""
    model.unload()
    # peft leaves its settings on the network, and warns of them at the next adapter
    if hasattr(model.base_model.model, "peft_config"):
        del model.base_model.model.peft_config


def save_adapter(model: "PeftModel", folder: Path, base: PalaceBase) -> None:
    """Store the model's one adapter in `folder`, in the same bytes for the same weights."""
    for config in model.peft_config.values():
        # a path would change the adapter's digest from machine to machine
        config.base_model_name_or_path = base.digest
    # left to itself peft would look for the base's vocabulary under that name, on the network too
    model.save_pretrained(str(folder), save_embedding_layers=False)
    # an empty form with the base's local path in it
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # a set's order, which changes from run to run
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(f"{json.dumps(settings, indent=1, sort_keys=True)}\n", encoding="utf-8")


def write_manifest(folder: Path, base: PalaceBase, domains: Sequence[str]) -> None:
    """Write what `load_adapters` reads, once all adapters are in `folder`."""
    document = {"base_model_digest": base.digest, "domains": sorted(domains), "format": 1}
    text = json.dumps(document, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def check_domain(domain: str) -> str:
    """Return `domain` if an adapter can bear its name. Raises: PalaceError."""
    if _ADAPTER_NAME.fullmatch(domain) is None or domain == GENERAL:
        raise PalaceError(
            f"no adapter can be named {domain!r}: use small letters, digits, - and _, and not "
            f"{GENERAL!r}"
        )
    return domain


class AdapterSet:
    """A base with all its adapters loaded, one of them active at a time."""

    def __init__(
        self, model: "PeftModel", base: PalaceBase, domains: frozenset[str], digest: str
    ) -> None:
        self.model = model
        self.base = base
        self.domains = domains
        self.digest = digest
        """`sha256:<hex>` of the folder: names the adapters whose estimates are calibrated."""

    def adapter_of(self, domain: str) -> str:
        """Return the adapter that reads requests of `domain`, as stated or as the router says."""
        return domain if domain in self.domains else GENERAL

    def activate(self, domain: str) -> "PeftModel":
        """Return the model with the domain's adapter switched on."""
        self.model.set_adapter(self.adapter_of(domain))
        self.model.eval()
        return self.model


def load_adapters(base: PalaceBase, folder: Path) -> AdapterSet:
    """Load all adapters in `folder` onto the base they were trained on. Raises: PalaceError."""
    require_libraries()
    from peft import PeftModel

    domains = _read_manifest(base, folder)
    try:
        model = PeftModel.from_pretrained(base.network, str(folder / GENERAL), GENERAL)
        for domain in domains:
            model.load_adapter(str(folder / domain), domain)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise PalaceError(f"cannot load the adapters in {folder}: {error}") from error
    return AdapterSet(model, base, frozenset(domains), checkpoint_digest(folder))


def _read_manifest(base: PalaceBase, folder: Path) -> list[str]:
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PalaceError(f"cannot read {path}: {error}; train the adapters again") from error
    expected = {"base_model_digest", "domains", "format"}
    if not isinstance(document, dict) or set(document) != expected or document["format"] != 1:
        raise PalaceError(f"{path} is not of this version's form: train the adapters again")
    if document["base_model_digest"] != base.digest:
        raise PalaceError(
            f"the adapters in {folder} belong to the base {document['base_model_digest']}, not to "
            f"{base.digest}: load that base, or train them again"
        )
    domains = document["domains"]
    if not isinstance(domains, list) or not all(isinstance(d, str) for d in domains):
        raise PalaceError(f"{path} must list domains by name: train the adapters again")
    return [check_domain(domain) for domain in domains]


def _forked_devices(base: PalaceBase) -> list[torch.device]:
    return [] if base.device == "cpu" else [torch.device(base.device)]
