"""Checkpoint folders to load: the example model, and copies of it with one named defect."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.example_model import MODEL

Defect = Callable[[Path], None]


def copy_with(folder: Path, defect: Defect) -> Path:
    """Copy the example model into `folder` and damage the copy."""
    copy = folder / "model"
    shutil.copytree(MODEL, copy)
    defect(copy)
    return copy


def config(**changes: object) -> Defect:
    """Change fields of config.json."""
    return lambda folder: _change(folder / "config.json", changes)


def text(name: str, content: str) -> Defect:
    """Replace a file's content."""

    def write(folder: Path) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    return write


def truncated_weights(folder: Path) -> None:
    """Cut the weights in half, as a broken download does."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled_weights(folder: Path) -> None:
    """Leave weights that only unpickling could read."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04]\x94.")


def without_head(folder: Path) -> None:
    """Drop one tensor from the weights."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def unusable_tokenizer(folder: Path) -> None:
    """Name a tokenizer model that no library knows."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["type"] = "NoSuchModel"
    path.write_text(json.dumps(content), encoding="utf-8")


def _change(path: Path, changes: dict[str, object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")


DEFECTS: dict[str, Defect] = {
    "weights_truncated": truncated_weights,
    "weights_empty": text("model.safetensors", ""),
    "weights_pickled": pickled_weights,
    "weights_lack_a_tensor": without_head,
    "weights_of_another_width": config(hidden_size=128),
    "weights_of_fewer_layers": config(num_hidden_layers=5),
    "config_missing": lambda folder: (folder / "config.json").unlink(),
    "config_not_json": text("config.json", "not json"),
    "config_no_object": text("config.json", "[]"),
    "config_of_wrong_type": config(hidden_size="wide"),
    "config_divides_by_zero": config(num_attention_heads=0),
    "architecture_unknown": config(model_type="no_such", architectures=["NoSuchForCausalLM"]),
    "tokenizer_missing": lambda folder: (folder / "tokenizer.json").unlink(),
    "tokenizer_not_json": text("tokenizer.json", "{"),
    "tokenizer_unusable": unusable_tokenizer,
    "tokenizer_config_no_object": text("tokenizer_config.json", "[]"),
    "generation_config_not_json": text("generation_config.json", "{"),
    "generation_config_no_object": text("generation_config.json", "[]"),
    "generation_config_of_wrong_type": text("generation_config.json", '{"top_k": "many"}'),
}
