"""Values: fresh bytes for each request, sizes as asked for, as compressible as asked for."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kvbench.load import values
from kvbench.load.plan import Values
from tests.naive import values as naive

SEED_KEYS = st.integers(0, (1 << 63) - 1)
INDEXES = st.integers(0, 1 << 50)
SAMPLES = 5_000


def written(space: values.ValueSpace, seed_key: int, index: int, room: int = 3000) -> bytes:
    payload = np.full(room, 0xEE, np.uint8)
    size = values.write_value(space, seed_key, index, payload, 5)
    assert set(payload[:5].tolist() + payload[5 + size :].tolist()) <= {0xEE}
    return bytes(payload[5 : 5 + size])


@settings(deadline=None)
@given(SEED_KEYS, INDEXES, st.integers(0, 1200), st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)))
def test_values_are_the_naive_ones(seed_key: int, index: int, size: int, compressibility: float) -> None:
    space = values.new_values(Values(sizes_bytes=(size,), compressibility=compressibility), 1)
    assert written(space, seed_key, index) == naive.value(seed_key, index, size, compressibility)


def test_every_value_is_fresh() -> None:
    space = values.new_values(Values(sizes_bytes=(16,)), 1)
    seen = {written(space, values.seed_key(space, member), i, 32) for member in range(3) for i in range(500)}
    assert len(seen) == 1500
    halves = {value[8:] for value in seen}
    assert len(halves) == 1500


def test_a_seed_has_values_of_its_own() -> None:
    first, second = (values.new_values(Values(), seed) for seed in (1, 2))
    assert written(first, first.key, 0) != written(second, second.key, 0)
    assert written(first, first.key, 0) == written(first, values.seed_key(first, 0), 0)


def test_bytes_are_uniform() -> None:
    space = values.new_values(Values(sizes_bytes=(1000,)), 1)
    data = b"".join(written(space, space.key, i) for i in range(50))
    assert stats.chisquare(np.bincount(np.frombuffer(data, np.uint8), minlength=256)).pvalue > 0.001


@pytest.mark.parametrize("compressibility", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [256, 4096])
def test_compressors_find_the_zero_bytes(compressibility: float, size: int) -> None:
    """What zlib makes of many values together is the share that is not zero, and a little for bookkeeping."""
    space = values.new_values(Values(sizes_bytes=(size,), compressibility=compressibility), 1)
    data = b"".join(written(space, space.key, i, size + 8) for i in range(100_000 // size))
    ratio = len(zlib.compress(data, 6)) / len(data)
    assert 1 - compressibility <= ratio + 0.01
    assert ratio <= 1 - compressibility + 0.04


def sizes(plan: Values, samples: int = SAMPLES) -> Any:
    space = values.new_values(plan, 3)
    return np.array([values.size_of(space, space.key, i) for i in range(samples)])


def test_fixed_sizes() -> None:
    assert set(sizes(Values(sizes_bytes=(77,)), 50).tolist()) == {77}


def test_uniform_sizes_reach_both_ends() -> None:
    drawn = sizes(Values(sizes_bytes=(10, 29), distribution="uniform"))
    assert stats.chisquare(np.bincount(drawn - 10, minlength=20)).pvalue > 0.001


def test_weighted_sizes() -> None:
    drawn = sizes(Values(sizes_bytes=(8, 100, 5, 0), distribution="weighted", weights=(1.0, 0.0, 3.0, 0.0)))
    counts = np.bincount(drawn, minlength=9)
    assert set(drawn.tolist()) == {5, 8}
    assert stats.chisquare([counts[8], counts[5]], [SAMPLES / 4, SAMPLES * 3 / 4]).pvalue > 0.001


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), SEED_KEYS, INDEXES)
def test_a_written_value_is_as_long_as_said(least: int, more: int, seed_key: int, index: int) -> None:
    space = values.new_values(Values(sizes_bytes=(least, least + more), distribution="uniform"), 1)
    assert len(written(space, seed_key, index)) == values.size_of(space, seed_key, index)
    assert least <= values.size_of(space, seed_key, index) <= least + more


@settings(deadline=None)
@given(st.integers(0, (1 << 63) - 1), st.integers(0, 8))
def test_the_send_time_is_the_first_8_bytes(now_ns: int, at: int) -> None:
    payload = np.full(16, 0xEE, np.uint8)
    values.stamp(payload, at, now_ns)
    assert struct.unpack_from("<q", payload.tobytes(), at)[0] == now_ns
    assert payload.tolist().count(0xEE) >= 8
    assert bytes(payload[:at]) == b"\xee" * at and bytes(payload[at + 8 :]) == b"\xee" * (8 - at)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Values(distribution="normal"), "unknown distribution 'normal'; use one of fixed"),
        (Values(sizes_bytes=()), "sizes_bytes is"),
        (Values(sizes_bytes=(-1,)), "sizes_bytes is"),
        (Values(sizes_bytes=(1, 2)), "'fixed' takes one size, not 2"),
        (Values(sizes_bytes=(2, 1), distribution="uniform"), "the least and the most"),
        (Values(sizes_bytes=(2,), distribution="uniform"), "the least and the most"),
        (Values(sizes_bytes=(2, 1), distribution="weighted"), "a weight per size, not 0 for 2"),
        (Values(sizes_bytes=(2, 1), distribution="weighted", weights=(0.0, 0.0)), "one must be above 0"),
        (Values(sizes_bytes=(2, 1), distribution="weighted", weights=(-1.0, 2.0)), "none may be negative"),
        (Values(compressibility=1.1), "compressibility is 1.1"),
    ],
)
def test_impossible_values_are_refused(plan: Values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values.new_values(plan, 1)
