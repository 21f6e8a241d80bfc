"""From an audit request to a replay plan: which tokens, which sampler, which parameters.

Stands between the service (or `check`) and the reference runner. Whatever it cannot settle without
guessing ends as `CannotJudge`. It measures nothing and judges nothing.
"""

from audit.errors import CannotJudge
from audit.ports import Reference
from audit.records import AuditRequest, Exchange, Reason, ReplayPlan
from reference_runner.records import ReplaySequence, Sampling
from reference_runner.samplers.choose import choose_profiles
from reference_runner.samplers.registry import PROFILES

#: vLLM raises lower temperatures to this (0.32.0 `vllm/sampling_params.py`, `_MAX_TEMP`).
VLLM_MIN_TEMPERATURE = 0.01

#: What transformers applies where neither request nor checkpoint says otherwise (5.19.0
#: `GenerationConfig`).
TRANSFORMERS_DEFAULTS = {"temperature": 1.0, "top_k": 50.0, "top_p": 1.0}
NEUTRAL_DEFAULTS = {"temperature": 1.0, "top_k": 0.0, "top_p": 1.0}


def plan_replay(request: AuditRequest, reference: Reference, profile: str | None) -> ReplayPlan:
    """Return the plan for one exchange; `profile` overrides what claim and engine say.

    Raises: CannotJudge with the reason that the verdict will carry; BadSequence from the tokenizer.
    """
    exchange = request.exchange
    if exchange.sampling.unsupported:
        raise CannotJudge(
            Reason.PARAMETER_UNSUPPORTED,
            f"the request sets {', '.join(exchange.sampling.unsupported)}, which no sampler "
            "profile here models; "
            "send audit requests without it",
        )
    profile_ids, notes = _choose(request, profile)
    _check_server_defaults(exchange, reference)
    sampling, default_notes, assumed = _resolve_sampling(exchange, reference, profile_ids)
    _check_sampling(sampling, profile_ids)
    prompt_ids, prompt_notes = _prompt_ids(exchange, reference)
    output_ids, inferred = _output_ids(exchange, reference)
    notes += default_notes + prompt_notes
    if inferred:
        notes += ("output token ids were inferred from the text with the checkpoint's tokenizer",)
    return ReplayPlan(
        sequence=ReplaySequence(
            prompt_token_ids=prompt_ids,
            output_token_ids=output_ids,
            sampling=sampling,
            # without noise all candidates predict the same token
            profile_ids=profile_ids[:1] if sampling.is_greedy else profile_ids,
        ),
        ids_inferred=inferred,
        assumed_parameters=assumed,
        notes=notes,
        claimed_precision=request.claim.precision,
    )


def _choose(request: AuditRequest, profile: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    named = profile or request.claim.sampler_profile
    if named is not None:
        if named not in PROFILES:
            raise CannotJudge(
                Reason.PROFILE_UNKNOWN,
                f"no sampler profile is called {named!r}; known are: {', '.join(sorted(PROFILES))}",
            )
        return (named,), ()
    provider = request.exchange.provider
    choice = choose_profiles(
        engine=provider.engine,
        version=provider.engine_version,
        device=provider.device,
        system_fingerprint=provider.system_fingerprint,
    )
    if not choice.profile_ids:
        raise CannotJudge(Reason.PROFILE_UNKNOWN, choice.explanation)
    return choice.profile_ids, (f"sampler chosen from the provider's claims: {choice.explanation}",)


def _check_server_defaults(exchange: Exchange, reference: Reference) -> None:
    """Refuse requests to which a server adds what no profile models.

    vLLM merges generation_config.json into requests (0.32.0 `--generation-config auto`).
    """
    for name, neutral in (("min_p", 0.0), ("repetition_penalty", 1.0)):
        default = reference.generation_defaults.get(name, neutral)
        if default != neutral and name not in exchange.sampling.stated_neutral:
            raise CannotJudge(
                Reason.PARAMETER_UNSUPPORTED,
                f"the checkpoint's generation_config.json sets {name} to {default:g}, which "
                "servers apply unless the "
                f"request says otherwise; send {name}: {neutral:g}",
            )


def _resolve_sampling(
    exchange: Exchange, reference: Reference, profile_ids: tuple[str, ...]
) -> tuple[Sampling, tuple[str, ...], tuple[str, ...]]:
    """Return complete parameters, a note on defaults, and those that rest on an uncertain one."""
    stated = exchange.sampling
    is_transformers = "torch-cpu-exponential" in profile_ids
    defaults = TRANSFORMERS_DEFAULTS if is_transformers else NEUTRAL_DEFAULTS
    defaults = defaults | reference.generation_defaults
    if profile_ids == ("greedy",):
        defaults["temperature"] = 0.0
    temperature = defaults["temperature"] if stated.temperature is None else stated.temperature
    if not is_transformers and 1e-5 <= temperature < VLLM_MIN_TEMPERATURE:
        temperature = VLLM_MIN_TEMPERATURE
    sampling = Sampling(
        temperature=temperature,
        top_k=max(0, int(defaults["top_k"]) if stated.top_k is None else stated.top_k),
        top_p=defaults["top_p"] if stated.top_p is None else stated.top_p,
        # vLLM takes -1 for "no seed" (0.32.0 `vllm/sampling_params.py`)
        seed=None if stated.seed == -1 and not is_transformers else stated.seed,
    )
    # at temperature 0 the filters cannot change the token
    names = ("temperature",) if sampling.is_greedy else ("temperature", "top_k", "top_p")
    taken = [name for name in names if getattr(stated, name) is None]
    notes = tuple(
        f"{n} was not stated: the server's default {defaults[n]:g} applies" for n in taken
    )
    # a server may be told to ignore the checkpoint's or library's defaults, not the neutral ones
    uncertain = tuple(name for name in taken if defaults[name] != NEUTRAL_DEFAULTS[name])
    return sampling, notes, () if profile_ids == ("greedy",) else uncertain


def _check_sampling(sampling: Sampling, profile_ids: tuple[str, ...]) -> None:
    if sampling.is_greedy:
        return
    if profile_ids == ("greedy",):
        raise CannotJudge(
            Reason.PROFILE_UNKNOWN,
            f"profile greedy cannot explain a request at temperature {sampling.temperature:g}; "
            "name the sampler",
        )
    if sampling.seed is None:
        raise CannotJudge(
            Reason.SEED_MISSING,
            f"the request samples at temperature {sampling.temperature:g} without a seed, so "
            "its noise cannot be "
            "replayed; send a seed, or temperature 0",
        )


def _prompt_ids(
    exchange: Exchange, reference: Reference
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    prompt = exchange.prompt
    notes: tuple[str, ...] = ()
    if prompt.token_ids is not None:
        ids = prompt.token_ids
    elif prompt.messages is not None:
        ids = reference.tokenize_messages(
            [{"role": m.role, "content": m.content} for m in prompt.messages]
        )
        notes = ("prompt token ids come from the checkpoint's chat template",)
    else:
        ids = reference.tokenize_text(prompt.text or "")
        notes = ("prompt token ids come from the checkpoint's tokenizer",)
    if prompt.echoed_token_ids is not None and prompt.echoed_token_ids != ids:
        raise CannotJudge(
            Reason.PROMPT_TOKENS_DIFFER,
            f"the provider says it answered a prompt of {len(prompt.echoed_token_ids)} tokens; "
            "what was sent makes "
            f"{len(ids)} other tokens here. A changed template, tokenizer or injected text; "
            "send token ids",
        )
    return ids, notes


def _output_ids(exchange: Exchange, reference: Reference) -> tuple[tuple[int, ...], bool]:
    output = exchange.output
    if output.token_ids is not None:
        return output.token_ids, False
    if not output.text:
        return (), False
    ids = reference.tokenize_output(output.text)
    billed = exchange.usage.completion_tokens
    if ids is None:
        raise CannotJudge(
            Reason.TOKENS_AMBIGUOUS,
            "the answer's text does not survive a round trip through the tokenizer; record "
            "token ids",
        )
    # the end-of-text token is billed, but leaves no text
    if billed is not None and billed - len(ids) not in (0, 1):
        raise CannotJudge(
            Reason.TOKENS_AMBIGUOUS,
            f"the answer's text makes {len(ids)} tokens here, but {billed} were billed: other "
            "tokens spell the same "
            "text; record token ids",
        )
    return ids, True
