"""The checkpoint's tokenizer, and the cases in which it must refuse to guess."""

from pathlib import Path
from typing import Any

import pytest

from reference_runner.errors import BadSequence
from reference_runner.tokens import CheckpointTokenizer, load_tokenizer
from tests.support.checkpoints import copy_with, text
from tests.support.example_model import MODEL, example_reference

TEXT = "def f(x):\n    return x + 1  # naïve\n"


def test_a_text_round_trips_through_its_ids() -> None:
    tokenizer = load_tokenizer(MODEL)
    assert tokenizer.encode_output(TEXT) == tokenizer.encode_prompt(TEXT)


def test_a_text_that_does_not_decode_to_itself_has_no_ids() -> None:
    class Lossy:
        def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [1]}

        def decode(self, ids: list[int], *, clean_up_tokenization_spaces: bool) -> str:
            return "other"

    lossy: Any = Lossy()
    assert CheckpointTokenizer(lossy).encode_output(TEXT) is None


def test_chat_messages_go_through_the_checkpoints_template() -> None:
    ids = example_reference().tokenize_messages([{"role": "user", "content": "hello"}])
    assert len(ids) > len(example_reference().tokenize_text("hello"))


def test_chat_messages_without_a_template_are_refused(tmp_path: Path) -> None:
    folder = copy_with(tmp_path, lambda f: (f / "chat_template.jinja").unlink())
    with pytest.raises(BadSequence, match="no chat template") as caught:
        load_tokenizer(folder).encode_messages([{"role": "user", "content": "x"}])
    assert caught.value.code == "invalid_exchange"


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{{ messages[0].no.such }}", "{% if %}"]
)
def test_a_template_that_refuses_the_messages_is_no_crash(template: str, tmp_path: Path) -> None:
    folder = copy_with(tmp_path, text("chat_template.jinja", template))
    with pytest.raises(BadSequence, match="template refused") as caught:
        load_tokenizer(folder).encode_messages([{"role": "user", "content": "x"}])
    assert caught.value.code == "invalid_exchange"
