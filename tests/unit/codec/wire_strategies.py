"""Hypothesis strategies for checked requests, for verdicts and for provider evidence."""

from typing import TypeVar

from hypothesis import strategies as st

from audit.findings import (
    AttackPower,
    Disposition,
    Explanation,
    NoiseEstimate,
    ProviderFinding,
    StreamKey,
)
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Message,
    Outcome,
    Output,
    Prompt,
    ProviderClaims,
    Reason,
    RunnerBuild,
    SamplingRequest,
    Sensitivity,
    Statistic,
    StoredStream,
    Timing,
    Usage,
    Verdict,
)

T = TypeVar("T")

INT64_MAX = 2**63 - 1

ids = st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple)
texts = st.text(max_size=8)
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=8)
counts = st.integers(0, INT64_MAX)
numbers = st.floats(allow_nan=False)


def maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


messages = st.lists(st.builds(Message, role=names, content=texts), max_size=3).map(tuple)
prompts = st.one_of(
    st.builds(Prompt, token_ids=ids, echoed_token_ids=maybe(ids)),
    st.builds(Prompt, text=texts, echoed_token_ids=maybe(ids)),
    st.builds(Prompt, messages=messages, echoed_token_ids=maybe(ids)),
)
outputs = st.one_of(
    st.builds(Output, token_ids=ids, text=maybe(texts), finish_reason=maybe(names)),
    st.builds(Output, token_ids=st.none(), text=texts, finish_reason=maybe(names)),
)
samplings = st.builds(
    SamplingRequest,
    temperature=maybe(st.floats(0, 100)),
    top_k=maybe(st.integers(-1, INT64_MAX)),
    top_p=maybe(st.floats(0, 1, exclude_min=True)),
    seed=maybe(st.integers(-INT64_MAX - 1, INT64_MAX)),
    max_tokens=maybe(counts),
    unsupported=st.lists(names, max_size=3).map(tuple),
)
usages = st.builds(
    Usage,
    prompt_tokens=maybe(counts),
    completion_tokens=maybe(counts),
    reasoning_tokens=maybe(counts),
)
timings = st.builds(
    Timing,
    started_at=maybe(st.datetimes().map(lambda moment: moment.isoformat() + "Z")),
    elapsed_s=maybe(st.floats(0, 1e9)),
)
providers = st.builds(
    ProviderClaims,
    provider=maybe(names),
    endpoint=maybe(names),
    engine=maybe(names),
    engine_version=maybe(names),
    device=maybe(names),
    system_fingerprint=maybe(names),
)
claims = st.builds(
    Claim,
    model=maybe(names),
    weights_digest=maybe(st.binary(min_size=32, max_size=32).map(lambda b: f"sha256:{b.hex()}")),
    precision=maybe(names),
    sampler_profile=maybe(names),
)
requests = st.builds(
    AuditRequest,
    request_id=names.filter(bool),
    exchange=st.builds(
        Exchange,
        prompt=prompts,
        output=outputs,
        sampling=samplings,
        usage=usages,
        timing=timings,
        provider=providers,
    ),
    claim=claims,
)

noises = st.builds(
    NoiseEstimate,
    estimate_logits=numbers,
    low_logits=numbers,
    high_logits=maybe(numbers),
    confidence=numbers,
)
attacks = st.builds(
    AttackPower, attack=names, label=texts, power=numbers, num_tokens_needed=maybe(counts)
)
explanations = st.builds(
    Explanation,
    name=names,
    statement=texts,
    disposition=st.sampled_from(Disposition),
    probability=numbers,
    log_likelihood_nats=numbers,
    estimate=maybe(numbers),
    first_token=maybe(counts),
    last_token=maybe(counts),
)
findings = st.builds(
    ProviderFinding,
    stream_id=names,
    outcome=st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]),
    statement=texts,
    num_exchanges=counts,
    num_tokens=counts,
    log10_e_value=numbers,
    log10_threshold=numbers,
    failed_at_exchange=maybe(counts),
    substituted_share_low=numbers,
    num_tells=counts,
    sticky_log10_e_value=numbers,
    noise=maybe(noises),
)
stream_keys = st.builds(
    StreamKey,
    provider=names,
    endpoint=names,
    model=names,
    model_digest=names,
    calibration_id=names,
    policy_id=names,
)
streams = st.builds(
    StoredStream, key=stream_keys, finding=findings, state_json=texts, version=counts
)
verdicts = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    reasons=st.lists(st.sampled_from(Reason), max_size=3).map(tuple),
    details=st.lists(texts, max_size=2).map(tuple),
    notes=st.lists(texts, max_size=2).map(tuple),
    profile_id=maybe(names),
    precision=maybe(names),
    num_tokens=counts,
    num_matches=counts,
    mean_clipped_margin_logits=maybe(numbers),
    statistics=st.lists(
        st.builds(
            Statistic,
            name=names,
            value=numbers,
            threshold=numbers,
            num_tokens=counts,
            unit=names,
            false_alarm_rate=numbers,
        ),
        max_size=2,
    ).map(tuple),
    sensitivity=maybe(
        st.builds(
            Sensitivity,
            power=numbers,
            logit_noise_logits=maybe(numbers),
            substituted_token_share=maybe(numbers),
            statement=texts,
            attacks=st.lists(attacks, max_size=2).map(tuple),
        )
    ),
    calibration_id=maybe(names),
    model_digest=maybe(names),
    runner=maybe(
        st.builds(
            RunnerBuild,
            version=names,
            device=names,
            num_threads=counts,
            libraries=st.lists(st.tuples(names, names), max_size=2).map(tuple),
        )
    ),
    policy_id=maybe(names),
    log10_e_value=maybe(numbers),
    noise=maybe(noises),
    diagnosis=st.lists(explanations, max_size=2).map(tuple),
    provider=maybe(findings),
)
