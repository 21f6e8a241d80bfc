"""The checkpoint's own tokenizer: text and messages to token ids, and back to check them.

Used only where a recorded exchange lacks token ids; inferred ids are noted in the verdict.
"""

from pathlib import Path
from typing import Any

import jinja2
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from reference_runner.errors import BadSequence, CheckpointError


class CheckpointTokenizer:
    """A thin, honest front to a Hugging Face tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def encode_prompt(self, text: str) -> tuple[int, ...]:
        """Return the ids of a completion prompt, with the tokenizer's special tokens."""
        return tuple(self._tokenizer(text)["input_ids"])

    def encode_messages(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Return the ids of a chat prompt, ready for the assistant's turn.

        Raises: BadSequence where the checkpoint has no chat template or the template refuses the
        messages.
        """
        if self._tokenizer.chat_template is None:
            raise BadSequence(
                "invalid_exchange",
                "the exchange holds chat messages, but the checkpoint has no chat template; "
                "record token ids",
            )
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
            raise BadSequence(
                "invalid_exchange", f"the chat template refused the messages: {error}"
            ) from error
        return tuple(self._tokenizer(rendered, add_special_tokens=False)["input_ids"])

    def encode_output(self, text: str) -> tuple[int, ...] | None:
        """Return the ids of an answer, or None where they do not decode to the same text again."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if self._tokenizer.decode(ids, clean_up_tokenization_spaces=False) != text:
            return None
        return tuple(ids)

    @property
    def end_token_id(self) -> int | None:
        """The token that ends a text, where the tokenizer names one."""
        found: Any = self._tokenizer.eos_token_id
        return None if found is None else int(found)

    def decode(self, token_ids: tuple[int, ...], *, keep_special: bool) -> str:
        """Return the text of token ids, with or without special tokens."""
        # transformers' own type allows lists of texts, for lists of lists
        return str(
            self._tokenizer.decode(
                list(token_ids),
                skip_special_tokens=not keep_special,
                clean_up_tokenization_spaces=False,
            )
        )


def load_tokenizer(folder: Path) -> CheckpointTokenizer:
    """Load the tokenizer of the checkpoint in `folder`. Raises: CheckpointError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        # the tokenizers library raises a bare Exception for a file that it cannot use
        raise CheckpointError(f"cannot load the tokenizer of {folder}: {error}") from error
    return CheckpointTokenizer(tokenizer)
