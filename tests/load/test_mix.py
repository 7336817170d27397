"""The mix: by weight, and a function of seed and index alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kvbench.load import mix
from kvbench.load.plan import Operation
from kvbench.ops.kinds import Kind
from kvbench.rt import rng
from tests.naive import mix as naive

WEIGHTS = st.lists(st.one_of(st.just(0.0), st.integers(1, 100).map(float)), min_size=1, max_size=6).filter(any)


def operations(weights: list[float]) -> list[Operation]:
    return [Operation(Kind.PUT, weight) for weight in weights]


@settings(deadline=None)
@given(WEIGHTS, st.integers(0, 1 << 60), st.integers(0, 1 << 40))
def test_choices_are_the_naive_ones(weights: list[float], seed: int, index: int) -> None:
    chosen = mix.new_mix(operations(weights), seed)
    position = mix.choose(chosen, index)
    assert weights[position] > 0
    drawn = rng.unit(chosen.key, index)
    # A draw within rounding of a border may fall to either side of it.
    near = (max(drawn - 1e-15, 0), min(drawn + 1e-15, 1 - 2**-53))
    assert position in {naive.choose(weights, each) for each in near}


@pytest.mark.parametrize("weights", [[1.0], [50.0, 50.0], [95.0, 5.0], [0.0, 1.0, 0.0, 2.0, 0.0]])
def test_shares_are_the_weights(weights: list[float]) -> None:
    chosen = mix.new_mix(operations(weights), 9)
    counts = np.bincount([mix.choose(chosen, i) for i in range(10_000)], minlength=len(weights))
    expected = np.array(weights) / sum(weights) * 10_000
    assert not counts[expected == 0].any()
    if (expected > 0).sum() > 1:
        assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 0.001


def test_seeds_differ() -> None:
    one, other = (mix.new_mix(operations([1.0, 1.0]), seed) for seed in (1, 2))
    assert [mix.choose(one, i) for i in range(100)] != [mix.choose(other, i) for i in range(100)]


def test_properties_travel_with_their_operation() -> None:
    chosen = mix.new_mix(
        [Operation(Kind.RANGE, 1, limit=7), Operation(Kind.TXN, 2, keys=4), Operation(Kind.LEASE_GRANT, 3, ttl_s=9)], 1
    )
    assert chosen.kinds.tolist() == [Kind.RANGE, Kind.TXN, Kind.LEASE_GRANT]
    assert chosen.limits.tolist() == [7, 0, 0]
    assert chosen.keys.tolist() == [1, 4, 1]
    assert chosen.ttls_s.tolist() == [60, 60, 9]


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0, 2.0], [float("nan")], [float("inf"), 1.0]])
def test_what_is_no_mix_is_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="operations need weights"):
        mix.new_mix(operations(weights), 1)
