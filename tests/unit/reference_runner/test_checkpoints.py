"""Every damaged checkpoint is refused by name; nothing of it is run and nothing else leaks out."""

from pathlib import Path

import numpy as np
import pytest

from reference_runner.errors import CheckpointError
from reference_runner.precision import normal_precision
from reference_runner.records import ReplayBatch, ReplaySequence, Sampling
from reference_runner.replay import load_reference
from tests.support.checkpoints import DEFECTS, config, copy_with, text
from tests.support.example_model import MODEL, example_reference


def load(folder: Path) -> None:
    load_reference(folder, "auto", num_threads=1)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_damaged_checkpoint_is_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = copy_with(tmp_path, DEFECTS[name])
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_a_missing_or_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(CheckpointError, match="no files in"):
            load(folder)


def test_weights_that_lack_tensors_never_become_random_ones(tmp_path: Path) -> None:
    folder = copy_with(tmp_path, DEFECTS["weights_lack_a_tensor"])
    with pytest.raises(CheckpointError, match=r"lack 1 tensors, lm_head\.weight"):
        load(folder)


def test_code_that_comes_with_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = copy_with(tmp_path, config(auto_map={"AutoModelForCausalLM": "evil.Evil"}))
    (folder / "evil.py").write_text("raise SystemExit('the checkpoint ran its code')\n")
    load(folder)


def test_attention_can_be_computed_in_another_way() -> None:
    batch = ReplayBatch(
        sequences=(
            ReplaySequence(
                prompt_token_ids=(1, 2, 3),
                output_token_ids=(4, 5, 6),
                sampling=Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None),
                profile_ids=("greedy",),
            ),
        )
    )
    eager = load_reference(MODEL, "float32", num_threads=1, attention="eager").replay(batch)[0][0]
    usual = example_reference().replay(batch)[0][0]
    np.testing.assert_allclose(eager.logprob_nats_R, usual.logprob_nats_R, atol=1e-4)


def test_an_unknown_attention_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match="'flash'; known are: sdpa, eager"):
        load_reference(MODEL, "auto", num_threads=1, attention="flash")


def test_generation_defaults_are_those_that_servers_apply(tmp_path: Path) -> None:
    stated = '{"temperature": 0.6, "top_k": 20, "repetition_penalty": null, "max_length": 5}'
    folder = copy_with(tmp_path, text("generation_config.json", stated))
    reference = load_reference(folder, "auto", num_threads=1)
    assert reference.generation_defaults == {"temperature": 0.6, "top_k": 20.0}


def test_a_checkpoint_without_generation_config_has_no_defaults(tmp_path: Path) -> None:
    folder = copy_with(tmp_path, lambda f: (f / "generation_config.json").unlink())
    assert load_reference(folder, "auto", num_threads=1).generation_defaults == {}


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("BF16", "bfloat16"),
        ("torch.float16", "float16"),
        (" fp32 ", "float32"),
        ("half", "float16"),
        ("auto", "auto"),
    ],
)
def test_precisions_have_one_spelling(spelled: str, expected: str) -> None:
    assert normal_precision(spelled) == expected


@pytest.mark.parametrize("name", ["fp8", "int4", "", "float64", "bfloat16; rm"])
def test_precisions_without_arithmetic_here_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot run at precision"):
        normal_precision(name)
