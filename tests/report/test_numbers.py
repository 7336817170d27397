"""Numbers as people read them."""

import math

import pytest

from kvbench.report import numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1, "1.00"), (12.345, "12.3"), (999.6, "1,000"), (28_123.4, "28,123"),
     (-4.5, "-4.50"), (math.nan, numbers.MISSING), (math.inf, numbers.MISSING)],
)  # fmt: skip
def test_three_digits_matter(value: float, shown: str) -> None:
    assert numbers.significant(value) == shown


@pytest.mark.parametrize(
    ("value_ns", "shown"), [(0, "0 ns"), (999, "999 ns"), (1500, "1.50 µs"), (2.5e6, "2.50 ms"), (61e9, "61.0 s")]
)
def test_durations_choose_their_unit(value_ns: float, shown: str) -> None:
    assert numbers.duration(value_ns) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0 B"), (1536, "1.50 KiB"), (3 << 30, "3.00 GiB")])
def test_sizes_choose_their_unit(value: int, shown: str) -> None:
    assert numbers.size(value) == shown


def test_what_is_not_known_is_a_dash() -> None:
    shown = [numbers.duration(None), numbers.size(None), numbers.count(None), numbers.percent(None)]
    assert shown == [numbers.MISSING] * 4
    assert numbers.milliseconds(None) == numbers.MISSING


def test_percentiles_with_few_values_beyond_them_are_doubted() -> None:
    known = {"count": 5000, "p99": 2_500_000, "p999": 9_000_000, "insufficient": ["p999"]}
    assert numbers.percentile_ms(known, "p99") == "2.50"
    assert numbers.percentile_ms(known, "p999") == "9.00\N{NO-BREAK SPACE}?"
    assert numbers.percentile_ms({**known, "count": 0}, "p99") == numbers.MISSING
