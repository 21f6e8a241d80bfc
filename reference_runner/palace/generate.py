"""Asks the model: greedy replies, and replies drawn at a temperature.

Legend: B questions of a batch, S tokens of a question, K replies to each.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from reference_runner.palace.data import encode_prompt

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from reference_runner.palace.adapters import AdapterSet

#: A count has eight digits at most; some tokenizers take a token for each, and one ends the reply.
MAX_REPLY_TOKENS = 12


def greedy_replies(
    model: "PeftModel | PreTrainedModel",
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    batch_size: int = 32,
) -> list[str]:
    """Return the model's best reply to each question."""
    config = _config(model, tokenizer, do_sample=False)
    return [replies[0] for replies in _replies(model, tokenizer, prompts, config, batch_size)]


def sampled_replies(
    model: "PeftModel | PreTrainedModel",
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    num_replies: int,
    temperature: float,
    seed: int,
    batch_size: int = 16,
) -> list[list[str]]:
    """Return K replies to each question, drawn at `temperature` from all tokens."""
    config = _config(
        model,
        tokenizer,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        num_return_sequences=num_replies,
    )
    device = model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _replies(model, tokenizer, prompts, config, batch_size)


def replies_by_domain(
    adapters: "AdapterSet",
    questions: Sequence[tuple[str, str]],
    ask: "Callable[[PeftModel, Sequence[str]], Sequence[Any]]",
) -> list[Any]:
    """Return what `ask` gives for each (domain, question), each with its domain's adapter."""
    replies: list[Any] = [None] * len(questions)
    for name in sorted({adapters.adapter_of(domain) for domain, _ in questions}):
        places = [i for i, (d, _) in enumerate(questions) if adapters.adapter_of(d) == name]
        answers = ask(adapters.activate(name), [questions[i][1] for i in places])
        for place, answer in zip(places, answers, strict=True):
            replies[place] = answer
    return replies


def _replies(
    model: "PeftModel | PreTrainedModel",
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: GenerationConfig,
    batch_size: int,
) -> list[list[str]]:
    model.eval()
    network: Any = model
    replies: list[list[str]] = [[] for _ in prompts]
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    for places in _batches(encoded, batch_size):
        batch = tokenizer.pad(
            {"input_ids": [encoded[i] for i in places]}, padding_side="left", return_tensors="pt"
        ).to(model.device)
        with torch.inference_mode():
            output_BS = network.generate(**batch, generation_config=config)
        texts = tokenizer.batch_decode(
            output_BS[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        num_each = len(texts) // len(places)
        for nth, place in enumerate(places):
            replies[place] = texts[nth * num_each : (nth + 1) * num_each]
    return replies


def _batches(encoded: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    # questions of like length together: little is spent on filling
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _config(
    model: "PeftModel | PreTrainedModel", tokenizer: PreTrainedTokenizerBase, **choices: Any
) -> GenerationConfig:
    # its constructor has no types
    new_config: Any = GenerationConfig
    stops = getattr(model.generation_config, "eos_token_id", None) or []
    stops = [stops] if isinstance(stops, int) else list(stops)
    made: GenerationConfig = new_config(
        max_new_tokens=MAX_REPLY_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        # a chat model's turn may end with another token than its text
        eos_token_id=sorted({*stops, tokenizer.eos_token_id}),
        **choices,
    )
    return made
