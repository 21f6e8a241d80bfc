"""Exchange by exchange, a provider's evidence becomes a finding."""

import math
from dataclasses import replace

import numpy as np
import pytest

from audit.codec.digest import stream_id
from audit.errors import CorruptState
from audit.findings import Growth, StreamKey
from audit.judge.accumulate import StreamAccumulator
from audit.judge.calibration import Calibration
from audit.judge.policy import Policy
from audit.judge.verdict import evidence_laws
from audit.records import (
    AuditRequest,
    Claim,
    Examination,
    Outcome,
    ProviderClaims,
    StoredStream,
    Verdict,
)
from tests.support.fake_reference import exchange_with
from tests.support.measurements import (
    DIGEST,
    default_policy,
    growth_of_measured,
    honest_calibration,
    noisy_measurement,
)

KEY = StreamKey(
    provider="p",
    endpoint="e",
    model="m",
    model_digest=DIGEST,
    calibration_id="c",
    policy_id="i",
)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return honest_calibration()


def growths(
    calibration: Calibration,
    count: int,
    *,
    seed: int = 1,
    noise: float = 0.02,
    num_tokens: int = 200,
) -> list[Growth]:
    (law,) = evidence_laws(calibration, default_policy()).values()
    rng = np.random.default_rng(seed)
    return [
        growth_of_measured(noisy_measurement(rng, num_tokens, noise=noise), law, f"{seed} {i}")
        for i in range(count)
    ]


def folded(
    calibration: Calibration | None, added: list[Growth], policy: Policy | None = None
) -> list[StoredStream]:
    """Return the stream after each exchange."""
    accumulator = StreamAccumulator(policy or default_policy())
    streams: list[StoredStream] = []
    for growth in added:
        streams.append(accumulator.fold(streams[-1] if streams else None, KEY, growth))
    return streams


def examination(growth: Growth | None) -> Examination:
    verdict = Verdict(outcome=Outcome.PASS, model_digest=DIGEST, calibration_id="c")
    return Examination(verdict=verdict, growth=growth)


def request(**claims: str) -> AuditRequest:
    provider = ProviderClaims(**claims)
    return AuditRequest(
        request_id="r", exchange=exchange_with(provider=provider), claim=Claim(model="m")
    )


def test_evidence_belongs_to_a_provider_a_claim_and_a_yardstick(calibration: Calibration) -> None:
    policy = default_policy()
    (growth,) = growths(calibration, 1)
    key = StreamAccumulator(policy).key(request(provider="p", endpoint="e"), examination(growth))
    assert key == replace(KEY, policy_id=policy.policy_id)


def test_a_provider_that_nobody_named_has_a_stream_too(calibration: Calibration) -> None:
    (growth,) = growths(calibration, 1)
    key = StreamAccumulator(default_policy()).key(request(), examination(growth))
    assert key is not None and (key.provider, key.endpoint) == ("", "")


def test_what_was_not_judged_belongs_to_nobody(calibration: Calibration) -> None:
    accumulator = StreamAccumulator(default_policy())
    assert accumulator.key(request(), examination(None)) is None


def test_a_policy_without_streams_keeps_none(calibration: Calibration) -> None:
    off = replace(default_policy(), has_provider_stream=False)
    (growth,) = growths(calibration, 1)
    assert StreamAccumulator(off).key(request(), examination(growth)) is None


def test_an_honest_provider_passes_once_enough_was_seen(calibration: Calibration) -> None:
    outcomes = [s.finding.outcome for s in folded(calibration, growths(calibration, 40))]
    assert outcomes[0] == Outcome.INCONCLUSIVE and outcomes[-1] == Outcome.PASS
    assert Outcome.FAIL not in outcomes


def test_a_pass_needs_both_little_noise_and_enough_tokens(calibration: Calibration) -> None:
    added = growths(calibration, 40)
    for stream in folded(calibration, added):
        noise = stream.finding.noise
        assert noise is not None
        limit = default_policy().max_noise_ratio * added[0].honest_noise_logits
        is_calm = noise.high_logits is not None and noise.high_logits <= limit
        assert (stream.finding.outcome == Outcome.PASS) is is_calm
    picky = replace(default_policy(), min_tokens=10**6)
    assert folded(calibration, added, picky)[-1].finding.outcome == Outcome.INCONCLUSIVE
    strict = replace(default_policy(), max_noise_ratio=0.1)
    assert folded(calibration, added, strict)[-1].finding.outcome == Outcome.INCONCLUSIVE


def test_no_provider_passes_where_nobody_knows_the_honest_noise(calibration: Calibration) -> None:
    added = [replace(g, honest_noise_logits=0.0) for g in growths(calibration, 40)]
    assert {s.finding.outcome for s in folded(calibration, added)} == {Outcome.INCONCLUSIVE}


def test_a_little_in_every_exchange_fails_a_provider_whatever_comes_after(
    calibration: Calibration,
) -> None:
    false = growths(calibration, 30, seed=2, noise=0.25)
    honest = growths(calibration, 60, seed=3)
    streams = folded(calibration, [*false, *honest])
    failed_at = streams[-1].finding.failed_at_exchange
    assert failed_at is not None and failed_at <= 30
    assert [s.finding.outcome for s in streams[failed_at - 1 :]] == [Outcome.FAIL] * (
        len(streams) - failed_at + 1
    )
    assert all(s.finding.outcome != Outcome.FAIL for s in streams[: failed_at - 1])
    assert streams[failed_at - 1].finding.log10_e_value >= streams[-1].finding.log10_threshold
    assert f"After exchange {failed_at} " in streams[-1].finding.statement


def test_the_share_of_substituted_exchanges_never_falls(calibration: Calibration) -> None:
    false = growths(calibration, 25, seed=4, noise=1.0)
    honest = growths(calibration, 25, seed=5)
    shares = [s.finding.substituted_share_low for s in folded(calibration, [*false, *honest])]
    assert shares == sorted(shares) and 0.3 < shares[-1] <= 1.0
    assert folded(calibration, honest)[-1].finding.substituted_share_low == 0.0
    off = replace(default_policy(), has_substituted_share=False)
    assert folded(calibration, false, off)[-1].finding.substituted_share_low == 0.0


def test_a_repeated_question_raises_the_version_and_nothing_else(calibration: Calibration) -> None:
    (growth,) = growths(calibration, 1, noise=1.0)
    first, second = folded(calibration, [growth, growth])
    assert (first.version, second.version) == (1, 2)
    assert first.finding == second.finding
    assert first.finding.num_exchanges == 1


def test_a_finding_names_its_stream_and_counts(calibration: Calibration) -> None:
    added = growths(calibration, 3, noise=1.0)
    finding = folded(calibration, added)[-1].finding
    assert finding.stream_id == stream_id(KEY)
    assert (finding.num_exchanges, finding.num_tokens) == (3, 600)
    assert finding.num_tells == sum(g.is_tell for g in added) == 3
    assert finding.log10_threshold == pytest.approx(-math.log10(0.0075))
    assert "3 exchanges, 600 tokens" in finding.statement


def test_tells_in_runs_are_evidence_of_sticky_routing_unless_switched_off(
    calibration: Calibration,
) -> None:
    honest = growths(calibration, 20)
    false = growths(calibration, 20, seed=6, noise=1.0)
    finding = folded(calibration, [*honest, *false])[-1].finding
    assert finding.sticky_log10_e_value > 3.0
    off = replace(default_policy(), has_routing=False)
    assert folded(calibration, [*honest, *false], off)[-1].finding.sticky_log10_e_value == 0.0


def test_folding_one_by_one_through_the_store_is_folding_at_once(calibration: Calibration) -> None:
    added = growths(calibration, 6, noise=0.1)
    streams = folded(calibration, added)
    restarted = StreamAccumulator(default_policy())
    again = restarted.fold(streams[-2], KEY, added[-1])
    assert again == streams[-1]


def test_spoiled_evidence_is_never_built_on(calibration: Calibration) -> None:
    (growth,) = growths(calibration, 1)
    accumulator = StreamAccumulator(default_policy())
    stored = accumulator.fold(None, KEY, growth)
    spoiled = replace(
        stored, state_json=stored.state_json.replace('"num_tokens":200', '"num_tokens":201')
    )
    assert spoiled != stored
    with pytest.raises(CorruptState, match="checksum") as caught:
        accumulator.fold(spoiled, KEY, growth)
    assert stream_id(KEY) in str(caught.value)
