"""The V2 encoding and the interval log, with the hdrhistogram package as oracle in both directions."""

import base64
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvbench.artifact import hlog
from kvbench.stats import buckets

sparse = st.dictionaries(
    st.integers(0, 40) | st.integers(0, buckets.BUCKETS - 1),
    st.integers(1, 300) | st.integers(0, 54).map(lambda bits: 1 << bits),
    max_size=40,
)


def arrays(counts: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    keys = sorted(counts)
    return np.array(keys, dtype=np.int64), np.array([counts[key] for key in keys], dtype=np.int64)


def reference() -> HdrHistogram:
    return HdrHistogram(1, buckets.HIGHEST_NS, 3)


def counts_in(histogram: HdrHistogram) -> dict[int, int]:
    found = ((number, histogram.get_count_at_index(number)) for number in range(buckets.BUCKETS))
    return {number: count for number, count in found if count}


@settings(deadline=None, max_examples=60)
@given(sparse)
@example({})
@example({0: 1})
@example({1: 1})
@example({2: 1})
@example({buckets.BUCKETS - 1: 2**53})
def test_the_oracle_reads_what_we_encode(counts: dict[int, int]) -> None:
    assert counts_in(HdrHistogram.decode(hlog.encode(*arrays(counts)))) == counts


@settings(deadline=None, max_examples=60)
@given(sparse)
@example({buckets.BUCKETS - 1: 1})
def test_we_read_what_the_oracle_encodes(counts: dict[int, int]) -> None:
    histogram = reference()
    for number, count in counts.items():
        histogram.record_value(int(buckets.lowest_of(number)), count)
    numbers, amounts = hlog.decode(histogram.encode().decode())
    assert dict(zip(numbers.tolist(), amounts.tolist(), strict=True)) == counts


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.integers(0, 5000), st.integers(1, 2**62), max_size=20))
@example({3: 2**55, 4: 2**62, 9: 1})
@example({0: 2**63 - 1})
def test_decoding_undoes_encoding_for_any_count(counts: dict[int, int]) -> None:
    numbers, amounts = hlog.decode(hlog.encode(*arrays(counts)))
    assert dict(zip(numbers.tolist(), amounts.tolist(), strict=True)) == counts


@settings(deadline=None)
@given(st.lists(st.integers(-(2**55), 2**55), max_size=30))
def test_both_number_readers_agree(numbers: list[int]) -> None:
    body = hlog._leb128(np.array(numbers, dtype=np.int64))
    assert hlog._numbers(np.frombuffer(body, dtype=np.uint8)).tolist() == numbers
    assert hlog._numbers_one_by_one(body).tolist() == numbers


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_damage_is_named_or_read_but_nothing_else_is_raised(noise: bytes, cut: int) -> None:
    good = hlog.encode(*arrays({5: 1, 900: 3}))
    for text in (base64.b64encode(noise).decode(), good[:cut], noise.decode("latin-1")):
        try:
            hlog.decode(text)
        except hlog.HlogError as error:
            assert str(error)


def test_another_numbering_is_refused() -> None:
    other = HdrHistogram(1, 1_000_000, 2)
    other.record_value(5)
    with pytest.raises(hlog.HlogError, match="another numbering"):
        hlog.decode(other.encode().decode())


@pytest.mark.parametrize("phase", ["measure", "rate 2,000/s", "größe\n", "a/b"])
def test_tags_hold_any_name_and_are_safe_in_a_line(phase: str) -> None:
    tag = hlog.tag_of(phase, "read_modify_write", "response")
    assert hlog.parts_of(tag) == (phase, "read_modify_write", "response")
    assert not set(tag) & set(", \r\n")


def test_a_foreign_tag_is_named() -> None:
    with pytest.raises(hlog.HlogError, match="'A'"):
        hlog.parts_of("A")


def test_the_oracle_reads_a_whole_log(tmp_path: Path) -> None:
    path = tmp_path / "histograms.hlog"
    lines = [
        hlog.Interval(hlog.tag_of("measure", "put", "response"), 0.25, 1.0, *arrays({7: 2, 3000: 5})),
        hlog.Interval(hlog.tag_of("measure", "put", "service"), 1.25, 0.5, *arrays({8: 1})),
    ]
    path.write_text(hlog.header("0.1.0", 1_700_000_000.0, "2023-11-14") + "".join(map(hlog.line, lines)))
    log = HistogramLogReader(str(path), reference())
    found = []
    while (histogram := log.get_next_interval_histogram()) is not None:
        found.append(histogram)
    assert log.get_start_time_sec() == 1_700_000_000.0
    assert [histogram.get_tag() for histogram in found] == ["measure/put/response", "measure/put/service"]
    assert [histogram.get_start_time_stamp() for histogram in found] == [1_700_000_000_250.0, 1_700_000_001_250.0]
    assert [counts_in(histogram) for histogram in found] == [{7: 2, 3000: 5}, {8: 1}]
    ours = [interval for text in path.read_text().splitlines() if (interval := hlog.parse_line(text))]
    assert [(i.tag, i.start_s, i.length_s) for i in ours] == [(i.tag, i.start_s, i.length_s) for i in lines]


@pytest.mark.parametrize("text", ["Tag=a,1.0,2.0,HISTFAAAA", "x,1,1,HISTFAAAA", "1,1,1,HISTFAAAA!"])
def test_a_damaged_line_is_named(text: str) -> None:
    with pytest.raises(hlog.HlogError):
        hlog.parse_line(text)
