"""A stream's noise depends on its request alone, not on how many rows are taken at once."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_runner.samplers.base import NoiseRequest, NoiseStream
from reference_runner.samplers.murmur import MurmurStream
from reference_runner.samplers.splitmix import SplitMixStream
from reference_runner.samplers.torch_cpu import NumpyExponentialStream, TorchCpuStream

STREAMS = [MurmurStream, SplitMixStream, TorchCpuStream, NumpyExponentialStream]

requests = st.builds(
    NoiseRequest,
    seed=st.integers(-(2**63), 2**63 - 1),
    num_prompt_tokens=st.integers(1, 2**20),
    vocab_size=st.integers(1, 97),
)


@pytest.mark.parametrize("open_stream", STREAMS)
@settings(max_examples=40, deadline=None)
@given(request_=requests, first=st.integers(1, 6), second=st.integers(1, 6))
def test_taking_rows_in_two_parts_equals_taking_them_at_once(
    open_stream: Callable[[NoiseRequest], NoiseStream],
    request_: NoiseRequest,
    first: int,
    second: int,
) -> None:
    stream = open_stream(request_)
    parts = [stream.take(first), stream.take(second)]
    whole = open_stream(request_).take(first + second)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.shape == (first + second, request_.vocab_size)
    assert np.isfinite(whole).all()
