"""The HPACK decoder: the RFC's examples, a plain twin, the table's limits, and damage."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.wire import hpack
from kvbench.wire.hpack import DECODER, HEADER_LIST, LIST_BYTES, HpackError
from tests.naive import hpack as naive


class Decoder:
    """The kernel's decoder, with bytes in and pairs out."""

    def __init__(self, table_size: int = 4096) -> None:
        self.state, self.listed = np.zeros(1, DECODER)[0], np.zeros(1, HEADER_LIST)[0]
        hpack.reset(self.state)
        if table_size != 4096:
            self.state["table_limit"] = self.state["table_max"] = table_size

    def decode(self, block: bytes) -> list[naive.Field] | str:
        """The fields, or the error's name. The block lies amid other bytes, which must not matter."""
        buf = np.frombuffer(b"\xff\x7f" + block + b"\x80\x80", np.uint8).copy()
        count = hpack.decode(self.state, self.listed, buf, 2, 2 + len(block))
        if count < 0:
            return HpackError(count).name
        found = []
        text = bytes(self.listed["text"])
        for field in self.listed["fields"][:count]:
            at, name, value = int(field["at"]), int(field["name_bytes"]), int(field["value_bytes"])
            found.append((text[at : at + name], text[at + name : at + name + value]))
        return found

    def table(self) -> list[naive.Field]:
        """The dynamic table, newest first, by asking for each index."""
        held = int(self.state["held"])
        found = self.decode(b"".join(naive.integer(128, 7, 62 + i) for i in range(held)))
        assert isinstance(found, list)
        return found


def pairs(*flat: str) -> list[naive.Field]:
    return [(flat[i].encode(), flat[i + 1].encode()) for i in range(0, len(flat), 2)]


REQUESTS = [
    pairs(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"),
    pairs(
        ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com", "cache-control", "no-cache"
    ),
    pairs(
        ":method", "GET", ":scheme", "https", ":path", "/index.html", ":authority", "www.example.com",
        "custom-key", "custom-value",
    ),
]  # fmt: skip
DATE = "Mon, 21 Oct 2013 20:13:2{} GMT"
COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
LOCATION = "https://www.example.com"
RESPONSES = [
    pairs(":status", "302", "cache-control", "private", "date", DATE.format(1), "location", LOCATION),
    pairs(":status", "307", "cache-control", "private", "date", DATE.format(1), "location", LOCATION),
    pairs(
        ":status", "200", "cache-control", "private", "date", DATE.format(2), "location", LOCATION,
        "content-encoding", "gzip", "set-cookie", COOKIE,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "expected", "table_size", "left"),
    [
        pytest.param(
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            REQUESTS, 4096, 164, id="C.3",
        ),
        pytest.param(
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            REQUESTS, 4096, 164, id="C.4",
        ),
        pytest.param(
            [
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f"
                "3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076"
                "657273696f6e3d31",
            ],
            RESPONSES, 256, 215, id="C.5",
        ),
        pytest.param(
            [
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f"
                "0b97c8e9ae82ae43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df"
                "dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ],
            RESPONSES, 256, 215, id="C.6",
        ),
    ],
)  # fmt: skip
def test_the_rfcs_sequences(
    blocks: list[str], expected: list[list[naive.Field]], table_size: int, left: int
) -> None:
    decoder = Decoder(table_size)
    for block, fields in zip(blocks, expected, strict=True):
        assert decoder.decode(bytes.fromhex(block)) == fields
    assert decoder.state["table_bytes"] == left
    if table_size == 256:
        assert decoder.table() == [RESPONSES[2][5], RESPONSES[2][4], RESPONSES[2][2]]


@pytest.mark.parametrize(
    ("block", "field", "held"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", ("custom-key", "custom-header"), 1),
        ("040c2f73616d706c652f70617468", (":path", "/sample/path"), 0),
        ("100870617373776f726406736563726574", ("password", "secret"), 0),
        ("82", (":method", "GET"), 0),
    ],
)
def test_the_rfcs_forms(block: str, field: tuple[str, str], held: int) -> None:
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(block)) == pairs(*field)
    assert decoder.state["held"] == held


@pytest.mark.parametrize(
    ("value", "mask", "expected"), [(10, 31, "0a"), (1337, 31, "1f9a0a"), (42, 255, "2a"), (31, 31, "1f00")]
)
def test_the_rfcs_integers(value: int, mask: int, expected: str) -> None:
    buf = np.zeros(8, np.uint8)
    end = hpack.write_integer(buf, 0, 0, mask, value)
    assert bytes(buf[:end]).hex() == expected
    assert hpack.read_integer(buf, 0, end, mask) == (value, end)


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("80", "BAD_INDEX"),
        ("be", "BAD_INDEX"),
        ("7f", "TRUNCATED"),
        ("40", "TRUNCATED"),
        ("4001", "TRUNCATED"),
        ("400161", "TRUNCATED"),
        ("40016103", "TRUNCATED"),
        ("ffffffffffffff01", "INTEGER_TOO_LARGE"),
        ("ff8080808080808000", "INTEGER_TOO_LARGE"),
        ("ff80808080" + "08", "INTEGER_TOO_LARGE"),
        ("048118", "BAD_HUFFMAN"),  # padding is not all ones
        ("048400ffffff", "BAD_HUFFMAN"),  # more than 7 bits of padding
        ("0484ffffffff", "BAD_HUFFMAN"),  # EOS
        ("3fe21f", "BAD_TABLE_SIZE"),  # 4097
        ("8220", "BAD_TABLE_SIZE"),  # not at the beginning
    ],
)
def test_damage_has_a_name(block: str, error: str) -> None:
    assert Decoder().decode(bytes.fromhex(block)) == error
    with pytest.raises(naive.Malformed, match=error):
        naive.decode(naive.Table(), bytes.fromhex(block))


NAMES = st.sampled_from([b":path", b"te", b"x", b"grpc-message", b"", b"y" * 50]) | st.binary(max_size=12)
VALUES = st.sampled_from([b"/", b"trailers", b"", b"z" * 120, b"q" * 4000]) | st.binary(max_size=30)
ENCODED = st.tuples(NAMES, VALUES, st.integers(0, 3), st.booleans())
BLOCKS = st.lists(st.tuples(st.none() | st.integers(0, 300), st.lists(ENCODED, max_size=8)), min_size=1, max_size=6)


def encode(table: naive.Table, resize: int | None, fields: list[tuple[bytes, bytes, int, bool]]) -> bytes:
    block = b""
    if resize is not None:
        table.resize(resize)
        block = naive.integer(32, 5, resize)
    for name, value, form, coded in fields:
        block += naive.encode_field(table, (name, value), form, coded)
    return block


@settings(deadline=None)
@given(BLOCKS, st.sampled_from([4096, 300]))
def test_decodes_what_the_twin_encodes(blocks: list[Any], size: int) -> None:
    decoder, table = Decoder(size), naive.Table(limit=size, size=size)
    for resize, fields in blocks:
        block = encode(table, resize, fields)
        assert decoder.decode(block) == [(name, value) for name, value, _, _ in fields]
        assert decoder.table() == table.entries
        assert decoder.state["table_bytes"] == table.used()


@settings(deadline=None)
@given(BLOCKS, st.integers(0, 200), st.integers(0, 255), st.integers(0, 220))
def test_damaged_blocks_mean_the_same_to_both(blocks: list[Any], at: int, byte: int, end: int) -> None:
    writer = naive.Table()
    data = b"".join(encode(writer, resize, fields) for resize, fields in blocks)[:400]
    data = data[:at] + bytes([byte]) + data[at + 1 :]
    data = data[:end]
    decoder, table = Decoder(), naive.Table()
    found = decoder.decode(data)
    try:
        expected: list[naive.Field] | str = naive.decode(table, data)
    except naive.Malformed as error:
        expected = str(error)
    assert found == expected
    if isinstance(expected, list):
        assert decoder.table() == table.entries


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_huffman_there_and_back(text: bytes) -> None:
    coded = hpack.huffman_encode(text)
    assert coded == naive.huffman(text)
    target = np.full(100, 7, np.uint8)
    buf = np.frombuffer(coded + b"\xff", np.uint8).copy()
    assert hpack.huffman_decode(buf, 0, len(coded), target, 3, 100) == len(text)
    assert bytes(target[3 : 3 + len(text)]) == text
    short = np.full(100, 7, np.uint8)
    assert hpack.huffman_decode(buf, 0, len(coded), short, 3, 8) == len(text)
    assert bytes(short[8:]) == b"\x07" * 92


def test_a_list_too_large_is_decoded_to_its_end() -> None:
    decoder, table = Decoder(), naive.Table()
    fields = [(b"a" * 3000, bytes([65 + i]) * 3000, 2, False) for i in range(8)]
    block = encode(table, None, [*fields, (b"late", b"entry", 1, False)])
    found = decoder.decode(block)
    assert found == [(name, value) for name, value, _, _ in fields[:5]]
    assert decoder.state["truncated"] == 1
    assert decoder.table() == [(b"late", b"entry")]
    assert decoder.state["truncated"] == 0


def test_a_few_bytes_that_mean_megabytes_are_refused() -> None:
    decoder, table = Decoder(), naive.Table()
    bomb = encode(table, None, [(b"b", b"x" * 4000, 1, False)]) + b"\xbe" * 60
    assert len(decoder.decode(bomb)) == LIST_BYTES // 4033
    assert decoder.decode(b"\xbe" * 70) == "LIST_TOO_LARGE"


def test_as_many_fields_as_the_list_holds() -> None:
    decoder = Decoder()
    block = naive.string(b"", False) * 2
    count = LIST_BYTES // 32
    assert decoder.decode((b"\x00" + block) * (count + 3)) == [(b"", b"")] * count
    assert decoder.state["truncated"] == 1


def test_a_string_larger_than_everything_is_no_danger() -> None:
    decoder = Decoder()
    huge = b"h" * 60000
    assert decoder.decode(b"\x40" + naive.string(b"n", False) + naive.string(huge, True) + b"\x82") == []
    assert decoder.state["truncated"] == 1
    assert decoder.table() == []


def test_the_table_shrinks_when_our_limit_is_acknowledged() -> None:
    decoder, table = Decoder(), naive.Table()
    decoder.decode(encode(table, None, [(b"k", b"v", 1, False)]))
    version = int(decoder.state["version"])
    hpack.set_table_limit(decoder.state, 0)
    assert decoder.state["held"] == 0
    assert decoder.state["version"] != version
    assert decoder.decode(b"\xbe") == "BAD_INDEX"


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans(), st.sampled_from([0, 1, 14, 61]))
def test_literals_that_we_write(name: bytes, value: bytes, indexed: bool, name_index: int) -> None:
    for huffman in (False, True):
        block = hpack.literal(name, value, indexed, name_index, huffman)
        table = naive.Table()
        expected = naive.STATIC[name_index - 1][0] if name_index else name
        assert naive.decode(table, block) == [(expected, value)]
        assert len(table.entries) == indexed
        assert Decoder().decode(block) == [(expected, value)]
