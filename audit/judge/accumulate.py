"""Adds each judged exchange to its provider's evidence, and says what it amounts to.

Stands between the judge and the store: takes the stored state, returns the next one. It reads and
writes nothing itself.
"""

import math
from dataclasses import replace

from audit.codec.digest import stream_id
from audit.findings import Growth, ProviderFinding, StreamKey
from audit.judge.betting import upper_bound
from audit.judge.policy import Policy
from audit.judge.stream import StreamState, add_exchange, empty_state
from audit.judge.stream_file import state_from_json, state_to_json
from audit.judge.substitution import share_lower_bound, sticky_log_e
from audit.records import AuditRequest, Examination, Outcome, StoredStream


class StreamAccumulator:
    """The provider's side of the judge."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def key(self, request: AuditRequest, examination: Examination) -> StreamKey | None:
        """Return whose evidence an exchange belongs to; None where it adds none."""
        verdict = examination.verdict
        if examination.growth is None or not self._policy.has_provider_stream:
            return None
        provider = request.exchange.provider
        return StreamKey(
            provider=provider.provider or "",
            endpoint=provider.endpoint or "",
            model=request.claim.model or "",
            model_digest=verdict.model_digest or "",
            calibration_id=verdict.calibration_id or "",
            policy_id=self._policy.policy_id,
        )

    def fold(self, previous: StoredStream | None, key: StreamKey, growth: Growth) -> StoredStream:
        """Return the stream with one more exchange.

        Raises: CorruptState where the stored state cannot be used.
        """
        name = stream_id(key)
        state, version = empty_state(), 0
        if previous is not None:
            state = state_from_json(previous.state_json, stream_id=name)
            version = previous.version
        state = add_exchange(state, growth, self._policy.log_threshold_nats)
        state = self._with_share(state)
        return StoredStream(
            key=key,
            finding=self._finding(state, name),
            state_json=state_to_json(state),
            version=version + 1,
        )

    def _with_share(self, state: StreamState) -> StreamState:
        if not self._policy.has_substituted_share:
            return state
        low = float(
            share_lower_bound(
                state.num_tells, state.num_exchanges, self._policy.tell_rate, self._policy.test_rate
            )
        )
        # the bound holds at every look, so the largest one so far holds too
        return replace(state, substituted_share_low=max(state.substituted_share_low, low))

    def _finding(self, state: StreamState, name: str) -> ProviderFinding:
        outcome = self._outcome(state)
        sticky_nats = sticky_log_e(state.runs) if self._policy.has_routing else 0.0
        return ProviderFinding(
            stream_id=name,
            outcome=outcome.value,
            statement=self._statement(state, outcome),
            num_exchanges=state.num_exchanges,
            num_tokens=state.num_tokens,
            log10_e_value=state.log_e_nats / math.log(10),
            log10_threshold=self._policy.log_threshold_nats / math.log(10),
            failed_at_exchange=state.failed_at_exchange,
            substituted_share_low=state.substituted_share_low,
            num_tells=state.num_tells,
            sticky_log10_e_value=sticky_nats / math.log(10),
            noise=state.noise,
        )

    def _outcome(self, state: StreamState) -> Outcome:
        if state.failed_at_exchange is not None:
            return Outcome.FAIL
        high = state.noise.high_logits
        limit = self._policy.max_noise_ratio * state.honest_noise_logits
        if high is not None and high <= limit and state.num_tokens >= self._policy.min_tokens:
            return Outcome.PASS
        return Outcome.INCONCLUSIVE

    def _statement(self, state: StreamState, outcome: Outcome) -> str:
        so_far = f"{state.num_exchanges} exchanges, {state.num_tokens} tokens"
        if outcome is Outcome.FAIL:
            return (
                f"After exchange {state.failed_at_exchange} the evidence against an honest "
                f"provider sufficed ({so_far} so far); at least "
                f"{state.substituted_share_low:.1%} of the exchanges were substituted."
            )
        limit = f"{self._policy.max_noise_ratio:g} times the noise of honest traffic"
        # noise averages over exchanges; a few substituted ones would show as tells instead
        rarer = float(upper_bound(state.num_tells, state.num_exchanges, self._policy.test_rate))
        tells = f"Suspicious exchanges are rarer than {rarer:.1%}."
        if outcome is Outcome.PASS:
            return f"{so_far}: the provider strays no further than {limit}. {tells}"
        return f"{so_far}: neither enough to fail the provider, nor to rule out {limit}. {tells}"
