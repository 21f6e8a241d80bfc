"""Keeps the training libraries quiet: no progress bars, and nothing told to their makers."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants


@contextmanager
def quiet_trainers() -> Iterator[None]:
    """Switch off progress bars of data sets and reports of usage; both are as before afterwards."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_bars_off, was_telemetry_off = (
        are_progress_bars_disabled(),
        constants.HF_HUB_DISABLE_TELEMETRY,
    )
    disable_progress_bars()
    # trl reports every trainer that is made, over the network, unless this is set
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = was_telemetry_off
        if not were_bars_off:
            enable_progress_bars()
