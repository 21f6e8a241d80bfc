"""Of several readings of one exchange, no more counts than the least."""

from dataclasses import replace

from audit.findings import Growth
from audit.judge.growth import least_growth

ONE = Growth(
    num_tokens=10,
    num_mismatches=1,
    log_e_nats_K=(1.0, -2.0),
    log_e_nats=0.5,
    log_likelihood_G=(0.0,),
    is_tell=True,
    exchange_digest="q",
    honest_noise_logits=0.02,
)
OTHER = replace(ONE, log_e_nats_K=(-1.0, 3.0), log_e_nats=2.0, is_tell=False)


def test_no_reading_is_exceeded_under_any_alternative() -> None:
    for readings in ([ONE, OTHER], [OTHER, ONE]):
        least = least_growth(readings)
        assert least.log_e_nats_K == (-1.0, -2.0)
        assert (least.log_e_nats, least.is_tell) == (0.5, False)


def test_one_reading_is_itself() -> None:
    assert least_growth([ONE]) == ONE
