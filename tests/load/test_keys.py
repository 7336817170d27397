"""Keys: which one (the distribution asked for, over the real count) and what bytes (of one length, sorted, unique)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.load import keys
from kvbench.load.plan import Keys
from tests.naive import keys as naive

SAMPLES = 20_000 if JIT_ENABLED else 5_000
SEED = 12345


@kernel
def draw(keyspace: Any, inserted: int, drawn: Any) -> None:
    for index in range(len(drawn)):
        drawn[index] = keys.choose(keyspace, index, inserted)


def drawn_from(plan: Keys, samples: int = SAMPLES, inserted: int = 0) -> Any:
    drawn = np.zeros(samples, np.int64)
    draw(keys.new_keyspace(plan, SEED), inserted, drawn)
    return drawn


def assert_distributed(drawn: Any, probabilities: list[float]) -> None:
    """Chi-square of the counts against the probabilities, the rarest put together until each class expects 20."""
    counts = np.bincount(drawn, minlength=len(probabilities))
    assert len(counts) == len(probabilities)
    expected = np.array(probabilities) * len(drawn)
    order = np.argsort(-expected)
    classes = np.minimum(np.cumsum(expected[order]) // 20, np.cumsum(expected[order])[-1] // 20 - 1).astype(int)
    got, wanted = np.bincount(classes, counts[order]), np.bincount(classes, expected[order])
    got, wanted = got[wanted > 0], wanted[wanted > 0]
    if len(wanted) > 1:
        assert stats.chisquare(got, wanted * got.sum() / wanted.sum()).pvalue > 0.001


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.99, 1.0, 1.0000001, 1.2, 3.0])
@pytest.mark.parametrize("count", [1, 2, 10, 1000])
def test_zipfian_is_zipfian_over_the_real_count(theta: float, count: int) -> None:
    plan = Keys(count=count, distribution="zipfian", theta=theta, scramble=False)
    assert_distributed(drawn_from(plan), naive.zipfian_weights(count, theta))


@settings(deadline=None)
@given(st.floats(0.05, 4).filter(lambda theta: abs(theta - 1) > 0.01), st.integers(1, 1 << 31), st.integers(0, 200))
def test_zipfian_is_the_naive_one(theta: float, count: int, index: int) -> None:
    keyspace = keys.new_keyspace(Keys(count=count, distribution="zipfian", theta=theta, scramble=False), SEED)
    rank = keys.zipfian_rank(keyspace, index)
    expected = naive.zipfian_rank(int(keyspace.fields[0]["key"]), index, count, theta)
    assert 0 <= rank < count
    # The two compute the same real number by different roundings, which shows in ranks of nine digits.
    assert abs(rank - expected) <= 1 + expected * 1e-9


@settings(deadline=None)
@given(st.floats(0.01, 5), st.floats(1, 1e9))
@example(1.0, 1e9)
@example(1.0 + 1e-9, 1e9)
def test_the_hat_and_its_inverse(theta: float, x: float) -> None:
    area = keys.integral(x, theta)
    assume(theta <= 1 or area * (theta - 1) < 1 - 1e-6)  # beyond it a float64 of the area no longer tells x
    assert keys.integral_inverse(area, theta) == pytest.approx(x, rel=1e-8)


@pytest.mark.parametrize("count", [*range(1, 130), 1000, 4096, 30_030])
def test_scrambling_is_a_bijection(count: int) -> None:
    fields = keys.new_keyspace(Keys(count=count, distribution="zipfian"), SEED).fields[0]
    ranks = np.arange(count)
    scrambled = (ranks * int(fields["multiplier"]) + int(fields["offset"])) % count
    assert sorted(scrambled.tolist()) == ranks.tolist()


@pytest.mark.parametrize("count", [keys.COUNT_MAX, keys.COUNT_MAX - 1, 999_999_937])
def test_scrambling_many_keys_does_not_overflow(count: int) -> None:
    keyspace = keys.new_keyspace(Keys(count=count, distribution="zipfian", theta=0.1), SEED)
    fields = keyspace.fields[0]
    assert np.gcd(int(fields["multiplier"]), count) == 1
    for index in range(200):
        rank = keys.zipfian_rank(keyspace, index)
        expected = (rank * int(fields["multiplier"]) + int(fields["offset"])) % count
        assert keys.choose(keyspace, index, 0) == expected


def test_scrambling_spreads_popular_keys_and_moves_with_the_seed() -> None:
    plan = Keys(count=1000, distribution="zipfian", theta=0.99)
    counts = np.bincount(drawn_from(plan), minlength=1000)
    popular = np.sort(np.argsort(-counts)[:10])
    assert np.diff(popular).min() > 20
    other = keys.new_keyspace(plan, SEED + 1).fields[0]
    assert int(other["offset"]) != int(keys.new_keyspace(plan, SEED).fields[0]["offset"])


def test_uniform() -> None:
    assert_distributed(drawn_from(Keys(count=500, distribution="uniform")), [1 / 500] * 500)


def test_sequential_goes_round() -> None:
    assert drawn_from(Keys(count=7, distribution="sequential"), 20).tolist() == [i % 7 for i in range(20)]


@pytest.mark.parametrize("inserted", [0, 1, 5000])
def test_latest_counts_back_from_the_newest(inserted: int) -> None:
    count = 300
    drawn = drawn_from(Keys(count=count, distribution="latest", theta=0.9), inserted=inserted)
    newest = count + inserted - 1
    assert drawn.max() == newest and drawn.min() > newest - count
    assert_distributed(newest - drawn, naive.zipfian_weights(count, 0.9))


@pytest.mark.parametrize(
    ("hot_keys", "hot_requests", "hot_count"),
    [(0.2, 0.8, 20), (0.01, 0.5, 1), (0.0, 0.9, 1), (1.0, 0.8, 100), (0.5, 0.0, 50), (0.5, 1.0, 50)],
)
def test_hotspot(hot_keys: float, hot_requests: float, hot_count: int) -> None:
    plan = Keys(count=100, distribution="hotspot", hot_keys=hot_keys, hot_requests=hot_requests)
    drawn = drawn_from(plan)
    if hot_count == 100:
        assert_distributed(drawn, [1 / 100] * 100)
        return
    cold = 100 - hot_count
    if hot_requests == 1.0:
        assert drawn.max() < hot_count
        assert_distributed(drawn, [1 / hot_count] * hot_count)
    elif hot_requests == 0.0:
        assert drawn.min() >= hot_count
        assert_distributed(drawn - hot_count, [1 / cold] * cold)
    else:
        assert_distributed(drawn, [hot_requests / hot_count] * hot_count + [(1 - hot_requests) / cold] * cold)


@settings(deadline=None)
@given(
    st.sampled_from(["sequential", "uniform", "zipfian", "latest", "hotspot"]),
    st.integers(1, 1 << 31),
    st.integers(0, 1 << 40),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_choices_are_keys_and_depend_on_seed_and_index_alone(
    distribution: str, count: int, index: int, seed: int
) -> None:
    plan = Keys(count=count, distribution=distribution)
    chosen = keys.choose(keys.new_keyspace(plan, seed), index, 0)
    assert 0 <= chosen < count
    assert chosen == keys.choose(keys.new_keyspace(plan, seed), index, 0)


PLANS = st.builds(
    Keys,
    count=st.integers(1, 1 << 31),
    size_bytes=st.integers(30, 300),
    prefix=st.sampled_from(["", "k", "kvbench/", "kvbench/é"]),
    fanout=st.one_of(st.just(0), st.integers(1, 1 << 31)),
)


def written(keyspace: keys.Keyspace, key_index: int) -> bytes:
    payload = np.full(400, 0xEE, np.uint8)
    size = keys.write_key(keyspace, key_index, payload, 7)
    assert set(payload[:7].tolist() + payload[7 + size :].tolist()) == {0xEE}
    return bytes(payload[7 : 7 + size])


@settings(deadline=None)
@given(PLANS, st.data())
def test_keys_are_the_naive_ones(plan: Keys, data: st.DataObject) -> None:
    keyspace = keys.new_keyspace(plan, 1)
    fields = keyspace.fields[0]
    capacity = int(fields["capacity"])
    key_index = data.draw(st.one_of(st.integers(0, plan.count - 1), st.integers(0, min(capacity, 1 << 62) - 1)))
    expected = naive.name(plan, int(fields["digits"]), int(fields["directory_digits"]), key_index)
    assert written(keyspace, key_index) == expected
    assert len(expected) == plan.size_bytes
    assert capacity >= plan.count


@settings(deadline=None)
@given(PLANS, st.data())
def test_keys_sort_in_the_order_of_their_numbers(plan: Keys, data: st.DataObject) -> None:
    keyspace = keys.new_keyspace(plan, 1)
    indexes = data.draw(st.lists(st.integers(0, plan.count - 1), min_size=2, max_size=20))
    names = [written(keyspace, index) for index in indexes]
    assert sorted(names) == [written(keyspace, index) for index in sorted(indexes)]
    assert len(set(names)) == len(set(indexes))


@settings(deadline=None)
@given(st.integers(0, 18), st.integers(0, 10**18 - 1))
def test_digits(width: int, number: int) -> None:
    payload = np.full(24, 0xEE, np.uint8)
    keys.write_digits(payload, 3, width, number)
    assert bytes(payload) == b"\xee" * 3 + (f"{number:018d}"[18 - width :]).encode() + b"\xee" * (21 - width)


def test_short_keys_fit_exactly() -> None:
    """Two million keys of 8 bytes: one letter and seven digits."""
    keyspace = keys.new_keyspace(Keys(count=2_000_000, size_bytes=8, prefix="k", distribution="sequential"), 1)
    assert written(keyspace, 0) == b"k0000000"
    assert written(keyspace, 1_999_999) == b"k1999999"


def test_long_keys_leave_room_for_inserts() -> None:
    keyspace = keys.new_keyspace(Keys(count=10, size_bytes=256, prefix="kvbench/"), 1)
    assert int(keyspace.fields[0]["capacity"]) == 10**10
    assert written(keyspace, 10**10 - 1).startswith(b"kvbench/9999999999.")


def directory(keyspace: keys.Keyspace, number: int, slash: int) -> bytes:
    payload = np.zeros(300, np.uint8)
    return bytes(payload[: keys.write_directory(keyspace, number, payload, 0, slash)])


def range_end(keyspace: keys.Keyspace, number: int) -> bytes:
    payload = np.zeros(300, np.uint8)
    return bytes(payload[: keys.write_range_end(keyspace, number, payload, 0)])


@settings(deadline=None)
@given(PLANS, st.data())
def test_a_directorys_range_holds_its_keys_and_no_others(plan: Keys, data: st.DataObject) -> None:
    assume(plan.fanout > 0)
    keyspace = keys.new_keyspace(plan, 1)
    key_index = data.draw(st.integers(0, plan.count - 1))
    number = keys.directory_of(keyspace, key_index)
    first, end = directory(keyspace, number, 1), range_end(keyspace, number)
    assert first == directory(keyspace, number, 0) + b"/"
    assert keys.directories(keyspace) == -(-plan.count // plan.fanout)
    other = data.draw(st.integers(0, plan.count - 1))
    for index in (key_index, other, number * plan.fanout, (number + 1) * plan.fanout - 1, (number + 1) * plan.fanout):
        if index < int(keyspace.fields[0]["capacity"]):
            assert (first <= written(keyspace, index) < end) == (keys.directory_of(keyspace, index) == number)


@pytest.mark.parametrize(
    ("prefix", "path", "end"),
    [("kvbench/", b"kvbench", b"kvbench0"), ("kvbench/x", b"kvbench", b"kvbench/y"), ("k", b"", b"l"),
     ("", b"", b"\0"), ("a/b/", b"a/b", b"a/b0")],
)  # fmt: skip
def test_without_directories_the_prefix_is_the_range(prefix: str, path: bytes, end: bytes) -> None:
    keyspace = keys.new_keyspace(Keys(count=100, size_bytes=40, prefix=prefix), 1)
    assert keys.directory_of(keyspace, 57) == keys.directories(keyspace) == 0
    assert directory(keyspace, 0, 0) == path
    assert directory(keyspace, 0, 1) == (path + b"/" if path else b"")
    assert range_end(keyspace, 0) == end
    assert end == b"\0" or written(keyspace, 99) < end


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"distribution": "normal"}, "unknown distribution 'normal'; use one of sequential"),
        ({"count": 0}, "count is 0"),
        ({"count": (1 << 31) + 1}, "it must be from 1"),
        ({"fanout": -1}, "fanout is -1"),
        ({"theta": 0.0}, "theta is 0"),
        ({"theta": float("nan")}, "theta is nan"),
        ({"hot_keys": 1.5}, "hot_keys is 1.5"),
        ({"hot_requests": -0.1}, "hot_requests is -0.1"),
        ({"size_bytes": 8, "count": 1000, "prefix": "kvbench/"}, "need at least 11 bytes each, size_bytes is 8"),
        ({"size_bytes": 4, "count": 1000, "prefix": "k", "fanout": 100}, "and 100 per directory need"),
    ],
)
def test_impossible_keys_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keys.new_keyspace(Keys(**changed), 1)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(0, 10), st.integers(0, 1000))
def test_the_least_size_that_is_named_is_enough(count: int, prefix_bytes: int, fanout: int) -> None:
    """A refusal names the least size; with that the keys fit, with one byte less they do not."""
    prefix = "p" * prefix_bytes
    with pytest.raises(ValueError, match="bytes each") as caught:
        keys.new_keyspace(Keys(count=count, prefix=prefix, size_bytes=0, fanout=fanout), 1)
    least = int(str(caught.value).split("at least ")[1].split()[0])
    keyspace = keys.new_keyspace(Keys(count=count, prefix=prefix, size_bytes=least, fanout=fanout), 1)
    assert len(written(keyspace, count - 1)) == least
    with pytest.raises(ValueError, match="bytes each"):
        keys.new_keyspace(Keys(count=count, prefix=prefix, size_bytes=least - 1, fanout=fanout), 1)
