"""Turn a plan into the request bodies that its client sends, every sampling field written out.

The bodies depend only on the plan and on the tokenizer. Not run by itself; `record.py` imports it.
"""

import random
from collections.abc import Iterator
from typing import Any

from plans import Plan, Source
from prompts import Prompt, cut_endings, cut_other_prompts, cut_prompts
from transformers import PreTrainedTokenizerBase

Body = dict[str, Any]

MAX_SEED = 2**31 - 1
SERVE_FIELDS = frozenset(
    "model messages max_tokens temperature top_p seed presence_penalty frequency_penalty".split()
)
STOP_STRINGS = (["\n\n"], ["return"], ["\nclass ", "\n\n\n"])
NUM_STREAMED_TOKENS_RANGE = (120, 150)  # a streamed answer takes about 300 bytes per token


def is_chat(body: Body) -> bool:
    """Tell whether a request goes to the chat endpoint."""
    return "messages" in body


def endpoint(body: Body) -> str:
    """Return the path that a request is sent to."""
    return "/v1/chat/completions" if is_chat(body) else "/v1/completions"


def _prompt_fields(prompt: Prompt, plan: Plan, rng: random.Random) -> Body:
    """Return the prompt as text, as token ids or as a chat message."""
    draw = rng.random()
    if draw < plan.shapes.chat:
        return {"messages": [{"role": "user", "content": prompt.text}]}
    if draw < plan.shapes.chat + plan.shapes.token_ids:
        return {"prompt": prompt.token_ids}
    return {"prompt": prompt.text}


def _stream_fields(plan: Plan, rng: random.Random) -> Body:
    """Return the streaming fields, empty for most requests."""
    if rng.random() >= plan.shapes.streamed:
        return {}
    if rng.random() < 0.5:
        return {"stream": True}
    return {"stream": True, "stream_options": {"include_usage": True}}


def _seed(rng: random.Random, used: set[int]) -> int:
    """Return a positive 31-bit seed that no other request of the file has."""
    while (seed := rng.randint(1, MAX_SEED)) in used:
        pass
    used.add(seed)
    return seed


def _sampling_fields(plan: Plan, index: int) -> Body:
    """Return the sampling fields of request number `index`; the mix goes round."""
    cell = index % (len(plan.temperatures) * len(plan.filters))
    top_k, top_p = plan.filters[cell % len(plan.filters)]
    return {
        "temperature": plan.temperatures[cell // len(plan.filters)],
        "top_p": top_p,
        "top_k": top_k,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n": 1,
    }


def _for_transformers_serve(body: Body) -> Body:
    """Return the part of a request that `transformers serve` takes; it rejects unknown fields."""
    return {k: v for k, v in body.items() if k in SERVE_FIELDS}


def _with_stops(
    bodies: list[Body], plan: Plan, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Body]:
    """Yield the bodies, some with stop strings, some about the end of a file instead."""
    rng = random.Random(f"{plan.drawn_as or plan.name} stops")
    endings = cut_endings(tokenizer, plan.bucket)
    for body in bodies:
        draw = rng.random()
        if draw < plan.shapes.stop_strings:
            yield body | {"stop": rng.choice(STOP_STRINGS)}
        elif draw < plan.shapes.stop_strings + plan.shapes.file_endings:
            sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
            rest = {key: body[key] for key in body if key not in ("messages", "prompt")}
            prompt = {"prompt": next(endings).text}
            yield {**prompt, **rest, **sampling, "max_tokens": 300, "ignore_eos": False}
        else:
            yield body


def build_bodies(plan: Plan, tokenizer: PreTrainedTokenizerBase) -> list[Body]:
    """Return the request bodies of a plan, as its client sends them."""
    rng = random.Random(plan.drawn_as or plan.name)
    serve = plan.source is Source.TRANSFORMERS_SERVE
    used: set[int] = set()
    bodies: list[Body] = []
    cut = cut_other_prompts if plan.is_other_text else cut_prompts
    prompts = cut(tokenizer, plan.bucket, plan.num_exchanges, plan.num_prompts_skipped)
    for index, prompt in enumerate(prompts):
        prompt_fields, stream = _prompt_fields(prompt, plan, rng), _stream_fields(plan, rng)
        low, high = NUM_STREAMED_TOKENS_RANGE if stream else plan.num_tokens_range
        body = {
            "model": "example",
            **prompt_fields,
            "max_tokens": rng.randint(low, high),
            **_sampling_fields(plan, index),
            "seed": _seed(rng, used),
            "ignore_eos": rng.random() >= plan.shapes.may_stop_early,
            "return_token_ids": True,
            **stream,
        }
        bodies.append(_for_transformers_serve(body) if serve else body)
    return list(_with_stops(bodies, plan, tokenizer))
