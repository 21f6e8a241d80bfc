"""Play a provider that decodes greedily but now and then emits another likely token.

The answer is generated in segments. Each segment ends where a token is to be flipped; that token is
replaced by another one of the five most likely, and the server continues from the changed text.
Temperature 0 only: a seeded sampler's noise would start anew with each segment. Not run by itself;
`client.py` imports it.
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase

Body = dict[str, Any]

FLIP_PROBABILITY = 0.01
NUM_CANDIDATES = 5


def _segment_lengths(num_tokens: int, rng: random.Random) -> list[int]:
    """Return lengths that add up to `num_tokens`; all but the last end in a flipped token."""
    flipped = [i for i in range(num_tokens) if rng.random() < FLIP_PROBABILITY]
    bounds = [0, *(i + 1 for i in flipped), num_tokens]
    return [b - a for a, b in itertools.pairwise(bounds)]


def _other_candidate(choice: Body, rng: random.Random) -> int:
    """Return one of the most likely tokens of the last position that was not chosen there."""
    candidates = choice["logprobs"]["top_logprobs"][-1]
    ids = sorted(int(key.removeprefix("token_id:")) for key in candidates)
    return rng.choice([i for i in ids if i != choice["token_ids"][-1]])


def _joined(first: Body, prompt_ids: list[int], output_ids: list[int], text: str) -> Body:
    """Return one ordinary answer made of the first segment's envelope and all tokens."""
    usage = first["usage"] | {
        "prompt_tokens": len(prompt_ids),
        "completion_tokens": len(output_ids),
        "total_tokens": len(prompt_ids) + len(output_ids),
    }
    choice = first["choices"][0] | {
        "text": text,
        "logprobs": None,
        "finish_reason": "length",
        "token_ids": output_ids,
        "prompt_token_ids": prompt_ids,
    }
    return first | {"choices": [choice], "usage": usage}


def complete_with_flips(
    send: Callable[[Body], Body],
    body: Body,
    tokenizer: PreTrainedTokenizerBase,
    rng: random.Random,
) -> Body:
    """Return the answer to a greedy request, with about 1 % of the tokens flipped."""
    prompt: str | list[int] = body["prompt"]
    prompt_ids: list[int] = []
    output_ids: list[int] = []
    first: Body = {}
    lengths = _segment_lengths(body["max_tokens"], rng)
    for index, num_tokens in enumerate(n for n in lengths if n > 0):
        extra = {"logprobs": NUM_CANDIDATES, "return_tokens_as_token_ids": True}
        answer = send(body | {"prompt": prompt, "max_tokens": num_tokens} | extra)
        choice = answer["choices"][0]
        if not first:
            first, prompt_ids = answer, choice["prompt_token_ids"]
        output_ids += choice["token_ids"]
        if index < len(lengths) - 1:
            output_ids[-1] = _other_candidate(choice, rng)
        prompt = prompt_ids + output_ids
    text = str(tokenizer.decode(output_ids, skip_special_tokens=True))
    return _joined(first, prompt_ids, output_ids, text)
