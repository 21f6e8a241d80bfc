"""How much the study simulates: in full, or quickly to see that all of it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Numbers of exchanges, streams and draws."""

    num_exchanges: int | None
    """Taken from each recording; None takes all."""
    num_marginal_exchanges: int | None
    num_streams: int
    num_stream_tokens: int
    num_looks: int
    """Of each stream at the boundary."""
    num_provider_streams: int
    num_provider_exchanges: int
    num_draws: int
    """Of resampled tokens, in each cell of the power table."""
    num_attack_streams: int
    num_cap_tokens: int
    num_share_streams: int
    num_share_exchanges: int
    num_diagnosis_repeats: int


FULL = Size(
    num_exchanges=None,
    num_marginal_exchanges=None,
    num_streams=2000,
    num_stream_tokens=3000,
    num_looks=10_000,
    num_provider_streams=500,
    num_provider_exchanges=200,
    num_draws=4000,
    num_attack_streams=2000,
    num_cap_tokens=20_000,
    num_share_streams=500,
    num_share_exchanges=500,
    num_diagnosis_repeats=2,
)

QUICK = Size(
    num_exchanges=12,
    num_marginal_exchanges=30,
    num_streams=60,
    num_stream_tokens=3000,
    num_looks=2000,
    num_provider_streams=5,
    num_provider_exchanges=60,
    num_draws=200,
    num_attack_streams=60,
    num_cap_tokens=6000,
    num_share_streams=10,
    num_share_exchanges=100,
    num_diagnosis_repeats=0,
)
