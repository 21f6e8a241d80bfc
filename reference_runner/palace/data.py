"""What the model is trained on: questions with the reply that is wanted.

A checkpoint with a chat template is trained and asked in its own chat form, any other in plain
text; both stages and the later use go through the same functions here, so that they agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from reference_runner.errors import RunnerError

if TYPE_CHECKING:
    from datasets import Dataset

_LIBRARIES = ("accelerate", "datasets", "peft", "trl")

Messages = list[dict[str, str]]


class PalaceError(RunnerError):
    """Adapters cannot be trained or used; the text says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountExample:
    """One request whose hidden count is known."""

    prompt: str
    """The whole question, as the model is asked it."""
    reply: str
    """What it should answer."""
    num_tokens: int
    """The count, for the reward."""
    domain: str


def require_libraries() -> None:
    """Raise PalaceError where a library of the extra `palace` is missing."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise PalaceError(
            f"the estimating model needs {', '.join(missing)}: "
            "pip install 'inference-audit[palace]'"
        )


def prompt_of(tokenizer: PreTrainedTokenizerBase, text: str) -> str | Messages:
    """Return a question in the form that the checkpoint reads: chat messages, or plain text."""
    if tokenizer.chat_template is None:
        return f"{text}\n"
    return [{"role": "user", "content": text}]


def reply_of(tokenizer: PreTrainedTokenizerBase, text: str) -> str | Messages:
    """Return a reply in the form that the checkpoint writes."""
    if tokenizer.chat_template is None:
        return text
    return [{"role": "assistant", "content": text}]


def text_of(completion: str | Messages) -> str:
    """Return the text of a reply in either form."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of a question, ready for the reply."""
    prompt = prompt_of(tokenizer, text)
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    rendered = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def sft_dataset(tokenizer: PreTrainedTokenizerBase, examples: Sequence[CountExample]) -> "Dataset":
    """Return the examples as the first stage takes them: prompt and completion."""
    rows = [
        {"prompt": prompt_of(tokenizer, e.prompt), "completion": reply_of(tokenizer, e.reply)}
        for e in examples
    ]
    return _dataset(rows)


def grpo_dataset(tokenizer: PreTrainedTokenizerBase, examples: Sequence[CountExample]) -> "Dataset":
    """Return the examples as the second stage takes them: prompt and true count."""
    rows = [
        {"prompt": prompt_of(tokenizer, e.prompt), "num_tokens": e.num_tokens} for e in examples
    ]
    return _dataset(rows)


def check_examples(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[CountExample], max_tokens: int
) -> None:
    """Refuse examples that would be cut, which would train the model on half a question.

    `max_tokens` counts prompt and reply together. Raises: PalaceError.
    """
    if not examples:
        raise PalaceError("there are no examples to train on")
    for index, example in enumerate(examples):
        # one token more ends the reply
        num = len(encode_prompt(tokenizer, example.prompt)) + 1
        num += len(tokenizer(example.reply, add_special_tokens=False)["input_ids"])
        if num > max_tokens:
            raise PalaceError(
                f"example {index} has {num} tokens with its reply, more than {max_tokens}: show "
                "fewer characters of question and answer, or raise max_tokens"
            )


def _dataset(rows: Sequence[Mapping[str, Any]]) -> "Dataset":
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])
