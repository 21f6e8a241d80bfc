"""Exchanges and claims, from records to messages and back.

Stands at the edge of service and client. It maps fields and checks nothing: `audit.codec.limits`
does that, before a record is sent and after a message has become one.
"""

from inference_audit.v1 import exchange_pb2 as pb

from audit.records import (
    Claim,
    Exchange,
    Message,
    Output,
    Prompt,
    ProviderClaims,
    SamplingRequest,
    Timing,
    Usage,
)


def exchange_to_wire(exchange: Exchange) -> pb.Exchange:
    """Return the message for a checked exchange."""
    usage, timing, provider = exchange.usage, exchange.timing, exchange.provider
    return pb.Exchange(
        prompt=_prompt_to_wire(exchange.prompt),
        output=pb.Output(
            token_ids=_ids_to_wire(exchange.output.token_ids),
            text=exchange.output.text,
            finish_reason=exchange.output.finish_reason,
        ),
        sampling=_sampling_to_wire(exchange.sampling),
        usage=pb.Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
        ),
        timing=pb.Timing(started_at=timing.started_at, elapsed_s=timing.elapsed_s),
        provider=pb.ProviderClaims(
            provider=provider.provider,
            endpoint=provider.endpoint,
            engine=provider.engine,
            engine_version=provider.engine_version,
            device=provider.device,
            system_fingerprint=provider.system_fingerprint,
        ),
    )


def exchange_from_wire(message: pb.Exchange) -> Exchange:
    """Return the unchecked record of a message; absent parts become records that state nothing."""
    usage, timing = message.usage, message.timing
    return Exchange(
        prompt=_prompt_from_wire(message.prompt),
        output=_output_from_wire(message.output),
        sampling=_sampling_from_wire(message.sampling),
        usage=Usage(
            prompt_tokens=usage.prompt_tokens if usage.HasField("prompt_tokens") else None,
            completion_tokens=(
                usage.completion_tokens if usage.HasField("completion_tokens") else None
            ),
            reasoning_tokens=usage.reasoning_tokens if usage.HasField("reasoning_tokens") else None,
        ),
        timing=Timing(
            started_at=timing.started_at if timing.HasField("started_at") else None,
            elapsed_s=timing.elapsed_s if timing.HasField("elapsed_s") else None,
        ),
        provider=_provider_from_wire(message.provider),
    )


def claim_to_wire(claim: Claim) -> pb.Claim:
    """Return the message for a checked claim."""
    return pb.Claim(
        model=claim.model,
        weights_digest=claim.weights_digest,
        precision=claim.precision,
        sampler_profile=claim.sampler_profile,
    )


def claim_from_wire(message: pb.Claim) -> Claim:
    """Return the unchecked record of a message."""
    return Claim(
        model=message.model if message.HasField("model") else None,
        weights_digest=message.weights_digest if message.HasField("weights_digest") else None,
        precision=message.precision if message.HasField("precision") else None,
        sampler_profile=message.sampler_profile if message.HasField("sampler_profile") else None,
    )


def _ids_to_wire(ids: tuple[int, ...] | None) -> pb.TokenIds | None:
    return None if ids is None else pb.TokenIds(ids=ids)


def _prompt_to_wire(prompt: Prompt) -> pb.Prompt:
    messages = None
    if prompt.messages is not None:
        messages = pb.ChatMessages(
            messages=(pb.ChatMessage(role=m.role, content=m.content) for m in prompt.messages)
        )
    message = pb.Prompt(
        token_ids=_ids_to_wire(prompt.token_ids),
        messages=messages,
        echoed_token_ids=_ids_to_wire(prompt.echoed_token_ids),
    )
    if prompt.text is not None:
        message.text = prompt.text
    return message


def _prompt_from_wire(message: pb.Prompt) -> Prompt:
    messages = None
    if message.HasField("messages"):
        messages = tuple(Message(role=m.role, content=m.content) for m in message.messages.messages)
    echoed = message.echoed_token_ids if message.HasField("echoed_token_ids") else None
    return Prompt(
        token_ids=tuple(message.token_ids.ids) if message.HasField("token_ids") else None,
        text=message.text if message.HasField("text") else None,
        messages=messages,
        echoed_token_ids=None if echoed is None else tuple(echoed.ids),
    )


def _output_from_wire(message: pb.Output) -> Output:
    return Output(
        token_ids=tuple(message.token_ids.ids) if message.HasField("token_ids") else None,
        text=message.text if message.HasField("text") else None,
        finish_reason=message.finish_reason if message.HasField("finish_reason") else None,
    )


def _sampling_to_wire(sampling: SamplingRequest) -> pb.SamplingParameters:
    return pb.SamplingParameters(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=sampling.seed,
        max_tokens=sampling.max_tokens,
        unsupported=sampling.unsupported,
        stated_neutral=sampling.stated_neutral,
    )


def _sampling_from_wire(message: pb.SamplingParameters) -> SamplingRequest:
    return SamplingRequest(
        temperature=message.temperature if message.HasField("temperature") else None,
        top_k=message.top_k if message.HasField("top_k") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        seed=message.seed if message.HasField("seed") else None,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
        unsupported=tuple(message.unsupported),
        stated_neutral=tuple(message.stated_neutral),
    )


def _provider_from_wire(message: pb.ProviderClaims) -> ProviderClaims:
    has = message.HasField
    return ProviderClaims(
        provider=message.provider if has("provider") else None,
        endpoint=message.endpoint if has("endpoint") else None,
        engine=message.engine if has("engine") else None,
        engine_version=message.engine_version if has("engine_version") else None,
        device=message.device if has("device") else None,
        system_fingerprint=message.system_fingerprint if has("system_fingerprint") else None,
    )
