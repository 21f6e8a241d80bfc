"""Exchanges with a made-up hidden part, cut from answers that a real engine gave."""

from functools import cache

from audit.codec.traffic import read_traffic
from audit.hidden_tokens.recount_records import HiddenExchange, RecountRules
from audit.planning import plan_replay
from audit.records import AuditRequest
from reference_runner.records import ReplaySequence, Sampling
from reference_runner.regenerate import ChainRunner
from tests.support.example_model import TRAFFIC, example_reference

#: Rounding at float32 moves no token of the recordings at all.
FLOAT32 = RecountRules(tolerance_logits=1e-3, num_chains=1)

PROMPT = example_reference().tokenize_text("def read(path):\n    with open(path) as file:\n")
SAMPLED = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=77)
GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None)


@cache
def runner() -> ChainRunner:
    """Return what regenerates on the example model."""
    return ChainRunner(example_reference(), batch_size=16)


@cache
def recorded(name: str, num_exchanges: int) -> tuple[ReplaySequence, ...]:
    """Return recorded answers with their prompts and sampling, evenly spread over a file."""
    lines = list(read_traffic([TRAFFIC / f"{name}.jsonl"]))
    step = len(lines) // num_exchanges
    requests = [line.request for line in lines[: step * num_exchanges : step]]
    assert all(isinstance(request, AuditRequest) for request in requests)
    reference = example_reference()
    return tuple(plan_replay(r, reference, None).sequence for r in requests if r is not None)


def cut(sequence: ReplaySequence, num_tokens: int) -> tuple[HiddenExchange, tuple[int, ...]]:
    """Return the first tokens of an answer with some of them hidden, and those.

    The hidden part ends with the token that is new nearest to the middle: its end mark. A shorter
    part of a drawn answer is what a lower limit would have drawn. Text that only repeats has no
    such token: there the limit cuts it off.
    """
    output = sequence.output_token_ids[:num_tokens]
    firsts = {token: output.index(token) for token in output}
    places = [place for place in firsts.values() if 19 <= place < len(output) - 8]
    if not places:
        num_hidden = len(output) * 6 // 10
        prompt = sequence.prompt_token_ids
        whole = hide(output, num_hidden, sequence.sampling, prompt=prompt, is_cut_off=True)
        return whole, output[:num_hidden]
    end = min(places, key=lambda place: abs(place - len(output) // 2))
    hidden = output[: end + 1]
    exchange = hide(output, len(hidden), sequence.sampling, prompt=sequence.prompt_token_ids)
    return with_marks(exchange, (output[end],)), hidden


def hide(
    output: tuple[int, ...],
    num_hidden: int,
    sampling: Sampling,
    *,
    prompt: tuple[int, ...] = PROMPT,
    is_cut_off: bool = False,
) -> HiddenExchange:
    """Return an exchange that hides the first tokens of an output and bills them."""
    return HiddenExchange(
        prompt_token_ids=prompt,
        visible_token_ids=output[num_hidden:],
        sampling=sampling,
        profile_id="vllm-cpu-splitmix64",
        billed_tokens=num_hidden,
        max_output_tokens=len(output) if is_cut_off else None,
        was_cut_off=is_cut_off,
    )


def with_marks(exchange: HiddenExchange, marks: tuple[int, ...]) -> HiddenExchange:
    """Return the exchange with the tokens that end its hidden part."""
    parts = {name: getattr(exchange, name) for name in HiddenExchange.__dataclass_fields__}
    return HiddenExchange(**{**parts, "end_mark_ids": marks})


def drawn(sampling: Sampling, num_tokens: int, *, start: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return what the example model draws after `start`, which is part of it."""
    sequence = ReplaySequence(
        prompt_token_ids=PROMPT,
        output_token_ids=(),
        sampling=sampling,
        profile_ids=("vllm-cpu-splitmix64",),
    )
    (chain,) = runner().regenerate(sequence, [start], num_tokens=num_tokens)
    return chain
