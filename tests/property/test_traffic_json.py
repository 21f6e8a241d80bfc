"""No JSON value whatever, at any place of a traffic line, raises anything but InvalidRequest."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.codec.limits import check_request
from audit.codec.recorded import parse_exchange
from audit.codec.sampling_fields import HARMLESS, MODELLED, NEUTRAL_VALUES
from audit.errors import InvalidRequest

RESPONSE_KEYS = (
    "choices",
    "chunks",
    "error",
    "object",
    "usage",
    "model",
    "system_fingerprint",
    "prompt_token_ids",
    "tokens",
    "meta_info",
    "sglext",
    "__verbose",
)
CHOICE_KEYS = (
    "text",
    "message",
    "delta",
    "token_ids",
    "output_ids",
    "logprobs",
    "finish_reason",
    "sglext",
    "prompt_token_ids",
)
INNER_KEYS = ("content", "tokens", "token", "role", "type", "text", "reasoning", "output_ids")
META_KEYS = ("engine", "engine_version", "device", "dtype", "elapsed_s", "started_at", "api_base")
CLAIM_KEYS = ("model", "weights_digest", "precision", "sampler_profile")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["token_id:5", "[DONE]", "\ud800"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(INNER_KEYS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def objects(
    keys: tuple[str, ...], inner: st.SearchStrategy[Any] = values
) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(keys), inner, max_size=5)


choices = st.lists(objects(CHOICE_KEYS) | values, max_size=2)
bodies = st.fixed_dictionaries({"choices": choices | values}).flatmap(
    lambda fixed: objects(RESPONSE_KEYS[2:]).map(lambda extra: extra | fixed)
)
responses = bodies | st.fixed_dictionaries({"chunks": st.lists(bodies | values, max_size=3)})
requests = objects((*sorted(MODELLED), *sorted(NEUTRAL_VALUES), *sorted(HARMLESS), "other"))
lines = st.fixed_dictionaries(
    {
        "request": requests | values,
        "response": responses | values,
        "meta": objects(META_KEYS) | values,
        "claim": objects(CLAIM_KEYS) | values,
    }
)


@settings(max_examples=400, deadline=None)
@given(lines)
def test_any_line_is_an_exchange_or_an_invalid_request(line: dict[str, Any]) -> None:
    try:
        check_request(parse_exchange(line, "id"))
    except InvalidRequest as error:
        assert error.violations


@settings(max_examples=150, deadline=None)
@given(objects(("prompt_token_ids", "output_token_ids", "temperature", "seed", "model", "meta")))
def test_any_difr_line_is_an_exchange_or_an_invalid_request(line: dict[str, Any]) -> None:
    both = {"prompt_token_ids": [1], "output_token_ids": [2]} | line
    try:
        check_request(parse_exchange(both, "id"))
    except InvalidRequest as error:
        assert error.violations
