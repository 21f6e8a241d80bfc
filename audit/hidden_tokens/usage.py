"""Usage objects of nine providers, read into the same terms.

The schemas differ in field names and, worse, in what a field includes: reasoning is part of the
completion for most, beside it for Gemini and xAI. Only counts are read; other fields are ignored.
"""

from collections.abc import Callable

from audit.billing_records import BilledUsage, UsageSchema
from audit.codec.json_access import Json, get_int, get_object
from audit.errors import InvalidRequest

#: No model writes so much in one request; a larger count is a broken record, not a bill.
MAX_TOKENS = 10_000_000


def parse_usage(schema: UsageSchema | str, usage: object, *, path: str = "usage") -> BilledUsage:
    """Return a provider's usage object in our terms; fields that are no counts are ignored.

    Raises: InvalidRequest naming the field for an unknown schema, a usage object without output
    tokens, and counts that are no integers from 0 to 10,000,000 or are stated twice and differ.
    Sums that do not add up are no bad input but findings: see `identities`.
    """
    known = parse_schema(schema, f"{path}_schema")
    if usage is None:
        raise InvalidRequest.of(path, "is missing: submit the usage object as the provider sent it")
    if not isinstance(usage, dict):
        raise InvalidRequest.of(path, f"must be an object, found {type(usage).__name__}")
    return _READERS[known](known, usage, path)


def parse_schema(schema: object, path: str) -> UsageSchema:
    """Return the schema of that name. Raises: InvalidRequest listing the known ones."""
    try:
        return UsageSchema(str(schema))
    except ValueError as error:
        known = ", ".join(UsageSchema)
        raise InvalidRequest.of(
            path, f"{ascii(schema)[:60]} is no known schema of usage objects: choose one of {known}"
        ) from error


def get_count(parent: Json, key: str, path: str) -> int | None:
    """Return a count of tokens, or None where it is absent or null. Raises: InvalidRequest."""
    count = get_int(parent, key, path)
    if count is None or 0 <= count <= MAX_TOKENS:
        return count
    problem = "is negative" if count < 0 else f"is more than {MAX_TOKENS:,} in one request"
    raise InvalidRequest.of(f"{path}.{key}", f"{count} tokens cannot be: the count {problem}")


def _required(count: int | None, key: str, path: str) -> int:
    if count is None:
        raise InvalidRequest.of(
            f"{path}.{key}", "is missing: without it nothing is known of what was billed"
        )
    return count


def _agreeing(path: str, key: str, *counts: int | None) -> int | None:
    """Return the one count that all stated ones agree on."""
    stated = {count for count in counts if count is not None}
    if len(stated) > 1:
        values = " and ".join(str(count) for count in sorted(stated))
        raise InvalidRequest.of(f"{path}.{key}", f"is stated more than once and differs: {values}")
    return stated.pop() if stated else None


def _detail(usage: Json, group: str, key: str, path: str) -> int | None:
    details = get_object(usage, group, path)
    return None if details is None else get_count(details, key, f"{path}.{group}")


def _read_chat(schema: UsageSchema, usage: Json, path: str) -> BilledUsage:
    """OpenAI's chat format and all that follow it: reasoning is part of the completion."""
    completion = get_count(usage, "completion_tokens", path)
    reasoning = _agreeing(
        path,
        "reasoning_tokens",
        _detail(usage, "completion_tokens_details", "reasoning_tokens", path),
        # SGLang puts it beside the completion
        get_count(usage, "reasoning_tokens", path),
    )
    return BilledUsage(
        schema=schema,
        output_tokens=_required(completion, "completion_tokens", path),
        prompt_tokens=get_count(usage, "prompt_tokens", path),
        reasoning_tokens=reasoning,
        total_tokens=get_count(usage, "total_tokens", path),
    )


def _read_deepseek(schema: UsageSchema, usage: Json, path: str) -> BilledUsage:
    """As chat; the prompt is stated again as what the cache held and what it did not."""
    hit = get_count(usage, "prompt_cache_hit_tokens", path)
    miss = get_count(usage, "prompt_cache_miss_tokens", path)
    if hit is not None and miss is not None:
        _agreeing(path, "prompt_tokens", get_count(usage, "prompt_tokens", path), hit + miss)
    return _read_chat(schema, usage, path)


def _read_responses(schema: UsageSchema, usage: Json, path: str) -> BilledUsage:
    output = get_count(usage, "output_tokens", path)
    return BilledUsage(
        schema=schema,
        output_tokens=_required(output, "output_tokens", path),
        prompt_tokens=get_count(usage, "input_tokens", path),
        reasoning_tokens=_detail(usage, "output_tokens_details", "reasoning_tokens", path),
        total_tokens=get_count(usage, "total_tokens", path),
    )


def _read_anthropic(schema: UsageSchema, usage: Json, path: str) -> BilledUsage:
    """What the cache held or took is left out of `input_tokens` here, so it is added."""
    keys = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    parts = [get_count(usage, key, path) for key in keys]
    output = get_count(usage, "output_tokens", path)
    return BilledUsage(
        schema=schema,
        output_tokens=_required(output, "output_tokens", path),
        prompt_tokens=None if parts[0] is None else sum(part or 0 for part in parts),
        reasoning_tokens=_detail(usage, "output_tokens_details", "thinking_tokens", path),
    )


def _read_gemini(schema: UsageSchema, usage: Json, path: str) -> BilledUsage:
    """Thoughts stand beside the candidates; the Python client writes names with underscores."""

    def count(key: str) -> int | None:
        underscored = "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
        return _agreeing(
            path, key, get_count(usage, key, path), get_count(usage, underscored, path)
        )

    candidates, thoughts = count("candidatesTokenCount"), count("thoughtsTokenCount")
    if thoughts is None:
        candidates = _required(candidates, "candidatesTokenCount", path)
    # protobuf's JSON leaves zeros out: thoughts without candidates are an empty answer
    completion = candidates or 0
    prompt, tools = count("promptTokenCount"), count("toolUsePromptTokenCount")
    return BilledUsage(
        schema=schema,
        output_tokens=completion + (thoughts or 0),
        prompt_tokens=None if prompt is None else prompt + (tools or 0),
        reasoning_tokens=thoughts,
        total_tokens=count("totalTokenCount"),
        stated_completion_tokens=completion,
    )


def _read_xai(schema: UsageSchema, usage: Json, path: str) -> BilledUsage:
    """Chat's field names, but the completion leaves the reasoning out."""
    read = _read_chat(schema, usage, path)
    return BilledUsage(
        schema=schema,
        output_tokens=read.output_tokens + (read.reasoning_tokens or 0),
        prompt_tokens=read.prompt_tokens,
        reasoning_tokens=read.reasoning_tokens,
        total_tokens=read.total_tokens,
        stated_completion_tokens=read.output_tokens,
    )


_READERS: dict[UsageSchema, Callable[[UsageSchema, Json, str], BilledUsage]] = {
    UsageSchema.OPENAI_CHAT: _read_chat,
    UsageSchema.OPENAI_RESPONSES: _read_responses,
    UsageSchema.ANTHROPIC: _read_anthropic,
    UsageSchema.GEMINI: _read_gemini,
    UsageSchema.DEEPSEEK: _read_deepseek,
    UsageSchema.XAI: _read_xai,
    UsageSchema.OPENROUTER: _read_chat,
    UsageSchema.VLLM: _read_chat,
    UsageSchema.SGLANG: _read_chat,
}
