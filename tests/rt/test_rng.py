"""Random numbers: the published generator's, the same compiled and interpreted, and evenly spread."""

from itertools import islice
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kvbench.jit import kernel
from kvbench.rt import rng
from tests.naive import rng as naive

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
SAMPLES = 20_000


@kernel
def mix(key: int, counter: int) -> int:
    return rng.mix(key, counter)


@kernel
def fill(target: Any, at: int, size: int, seed: int) -> None:
    rng.fill(target, at, size, seed)


def test_published_numbers() -> None:
    """The first outputs of SplitMix64 for the seed 1234567, as its implementations agree on."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [mix(1234567, i) % (1 << 64) for i in range(4)] == published


@settings(deadline=None)
@given(INT64, st.integers(0, 50))
def test_a_counter_is_a_position_in_the_generator(key: int, counter: int) -> None:
    expected = naive.signed(next(islice(naive.splitmix64(key), counter, None)))
    assert mix(key, counter) == expected
    assert rng.integer(key, counter) == expected % (1 << 63)
    assert rng.unit(key, counter) == (expected % (1 << 64) >> 11) / (1 << 53)


@settings(deadline=None)
@given(INT64, INT64)
def test_compiled_and_interpreted_agree(key: int, counter: int) -> None:
    plain = getattr(rng.mix, "py_func", rng.mix)
    assert mix(key, counter) == plain(key, counter)


@settings(deadline=None)
@given(INT64, INT64, st.integers(1, (1 << 53) - 1))
def test_below_its_bound(key: int, counter: int, bound: int) -> None:
    assert 0 <= rng.below(key, counter, bound) < bound


@settings(deadline=None)
@given(INT64, st.integers(0, 10), st.integers(0, 100))
def test_fill_writes_its_bytes_and_no_others(seed: int, at: int, size: int) -> None:
    target = np.full(128, 0xEE, np.uint8)
    fill(target, at, size, seed)
    assert bytes(target[at : at + size]) == naive.content(seed, size)
    assert set(target[:at].tolist() + target[at + size :].tolist()) <= {0xEE}


def test_units_are_uniform() -> None:
    key = rng.derive(1, 1)
    drawn = np.array([rng.unit(key, i) for i in range(SAMPLES)])
    assert drawn.min() >= 0 and drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 0.001


def test_every_bit_is_set_half_the_time_and_neighbours_are_independent() -> None:
    key = rng.derive(2, 1)
    numbers = np.array([mix(key, i) for i in range(SAMPLES)]).view(np.uint64)
    bits = (numbers[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    limit = 5 * 0.5 * SAMPLES**0.5
    assert np.abs(bits.sum(axis=0) - SAMPLES / 2).max() < limit
    assert np.abs((bits[1:] ^ bits[:-1]).sum(axis=0) - SAMPLES / 2).max() < limit


def test_filled_bytes_are_uniform() -> None:
    target = np.zeros(SAMPLES, np.uint8)
    fill(target, 0, SAMPLES, mix(rng.derive(3, 1), 0))
    assert stats.chisquare(np.bincount(target, minlength=256)).pvalue > 0.001


def test_streams_of_a_seed_and_seeds_of_a_stream_differ() -> None:
    keys = {rng.derive(seed, stream) for seed in range(100) for stream in range(100)}
    assert len(keys) == 10_000
    assert min(keys) >= 0
    first = np.array([rng.unit(rng.derive(seed, 5), 0) for seed in range(2000)])
    second = np.array([rng.unit(rng.derive(seed, 6), 0) for seed in range(2000)])
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
