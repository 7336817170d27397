"""The hash of bytes: as its twin, wherever the bytes lie, and spread evenly over a table."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.jit import kernel
from kvbench.rt import hash as rt_hash
from tests.naive import hash as naive


@kernel
def hash_bytes(array: Any, at: int, size: int, seed: int) -> int:
    return rt_hash.hash_bytes(array, at, size, seed)


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 9), st.integers(-(1 << 63), (1 << 63) - 1))
def test_as_the_twin(data: bytes, at: int, seed: int) -> None:
    array = np.frombuffer(b"\xee" * at + data + b"\xdd" * 8, np.uint8).copy()
    assert hash_bytes(array, at, len(data), seed) == naive.hash_bytes(data, seed)


@pytest.mark.parametrize("form", ["{}", "/registry/pods/default/pod-{:08d}", "{:08d}/status"])
def test_numbered_keys_spread_evenly(form: str) -> None:
    buckets = np.zeros(256, np.int64)
    for number in range(4096):
        data = form.format(number).encode()
        buckets[hash_bytes(np.frombuffer(data, np.uint8).copy(), 0, len(data), 7) & 255] += 1
    # 16 a bucket on average; 4 standard deviations of a random spread are 16.
    assert buckets.max() < 40
    assert (buckets == 0).sum() == 0
