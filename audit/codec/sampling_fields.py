"""Which fields of a request decide the sampling, which do not, and which nobody models.

A field that is not known to be harmless is treated as one that may change the sampling: the
exchange then ends INCONCLUSIVE(parameter_unsupported) instead of being judged by the wrong rule.
"""

from typing import Any

from audit.codec.json_access import Json, get_int, get_number
from audit.records import SamplingRequest

#: Read into `SamplingRequest`.
MODELLED = frozenset(
    {"temperature", "top_k", "top_p", "seed", "max_tokens", "max_completion_tokens"}
)

#: Other names of modelled fields: llama.cpp's and Ollama's `n_predict`, SGLang's `max_new_tokens`.
MAX_TOKENS_NAMES = ("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict")

#: Change the sampling unless they hold the neutral value given here.
NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "best_of": (1,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "mirostat": (0,),
    "n": (1,),
    "num_beams": (1,),
    "presence_penalty": (0,),
    "repeat_penalty": (1,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_n_sigma": (0, -1),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "xtc_probability": (0,),
}

#: Known to leave the drawn tokens alone (they shape the answer's body, its end, or its
#: bookkeeping).
HARMLESS = frozenset(
    {
        "add_generation_prompt",
        "add_special_tokens",
        "cache_prompt",
        "cache_salt",
        "detokenize",
        "generation_config",
        "ignore_eos",
        "include_stop_str_in_output",
        "include_usage",
        "logprobs",
        "messages",
        "metadata",
        "model",
        "priority",
        "prompt",
        "prompt_logprobs",
        "provider",
        "request_id",
        "return_meta_info",
        "return_prompt_token_ids",
        "return_token_ids",
        "return_tokens",
        "return_tokens_as_token_ids",
        "routing",
        "safety_identifier",
        "service_tier",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop",
        "stop_token_ids",
        "store",
        "stream",
        "stream_options",
        "timings_per_token",
        "top_logprobs",
        "user",
        "verbose",
    }
)


def read_sampling(request: Json) -> SamplingRequest:
    """Return the sampling parameters of an OpenAI-compatible request body.

    Raises: InvalidRequest.
    """
    max_tokens = None
    for name in MAX_TOKENS_NAMES:
        max_tokens = get_int(request, name, "request") if max_tokens is None else max_tokens
    return SamplingRequest(
        temperature=get_number(request, "temperature", "request"),
        top_k=get_int(request, "top_k", "request"),
        top_p=get_number(request, "top_p", "request"),
        seed=get_int(request, "seed", "request"),
        max_tokens=max_tokens,
        unsupported=tuple(sorted(name for name in request if _is_unsupported(name, request[name]))),
        stated_neutral=tuple(sorted(n for n in request if _is_neutral(n, request[n]))),
    )


def _is_unsupported(name: str, value: object) -> bool:
    if value is None or name in MODELLED or name in HARMLESS or name in MAX_TOKENS_NAMES:
        return False
    return not _is_neutral(name, value)


def _is_neutral(name: str, value: object) -> bool:
    # true is no number here, though Python takes it for 1
    neutral = NEUTRAL_VALUES.get(name, ())
    return any(value == n and isinstance(value, bool) is isinstance(n, bool) for n in neutral)
