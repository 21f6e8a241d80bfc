"""Refuses token sequences that do not fit the loaded model, with the reason's code."""

from reference_runner.errors import BadSequence
from reference_runner.records import ReferenceInfo, ReplaySequence


def check_sequence(sequence: ReplaySequence, info: ReferenceInfo) -> None:
    """Refuse what the model cannot replay. Raises: BadSequence."""
    num_outputs = len(sequence.output_token_ids)
    check_lengths(len(sequence.prompt_token_ids), num_outputs, info)
    check_token_ids("prompt", sequence.prompt_token_ids, info)
    check_token_ids("output", sequence.output_token_ids, info)


def check_lengths(num_prompt_tokens: int, num_output_tokens: int, info: ReferenceInfo) -> None:
    """Refuse an empty prompt or answer, and what exceeds the context. Raises: BadSequence."""
    if num_output_tokens < 1:
        raise BadSequence(
            "output_empty",
            "the answer holds no tokens, so there is nothing to compare; audit an answer with text",
        )
    if num_prompt_tokens < 1:
        raise BadSequence(
            "invalid_exchange", "the prompt holds no tokens; record the prompt as it was sent"
        )
    num_tokens = num_prompt_tokens + num_output_tokens
    if num_tokens > info.max_positions:
        raise BadSequence(
            "context_exceeded",
            f"prompt and answer hold {num_tokens} tokens, the model's context "
            f"{info.max_positions}; is this the claimed checkpoint?",
        )


def check_token_ids(name: str, token_ids: tuple[int, ...], info: ReferenceInfo) -> None:
    """Refuse ids outside the vocabulary; `name` says whose they are. Raises: BadSequence."""
    worst = max(token_ids) if min(token_ids) >= 0 else min(token_ids)
    if not 0 <= worst < info.vocab_size:
        raise BadSequence(
            "token_out_of_vocabulary",
            f"{name} token id {worst} is not in the model's vocabulary of "
            f"{info.vocab_size}; is this the claimed checkpoint?",
        )
