"""HPACK's fixed tables: the 61 static fields and the Huffman code (RFC 7541, appendices A and B).

The Huffman code is canonical: codes of one length are consecutive in the order of their symbols, so the lengths alone
define it.
"""

import numpy as np

STATIC_FIELDS: tuple[tuple[str, str], ...] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
)
"""Field number i (from 1) is STATIC_FIELDS[i - 1]."""

STATIC_COUNT = len(STATIC_FIELDS)

EOS = 256
HUFFMAN_LENGTHS: tuple[int, ...] = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11,
    14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23,
    23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
    24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
)
"""Bits of the code of each byte value, then of EOS."""

LONGEST_CODE = 30


def _flatten() -> tuple[bytes, list[int], list[int], list[int]]:
    text, starts, name_sizes, value_sizes = b"", [0], [0], [0]
    for name, value in STATIC_FIELDS:
        starts.append(len(text))
        name_sizes.append(len(name))
        value_sizes.append(len(value))
        text += name.encode() + value.encode()
    return text, starts, name_sizes, value_sizes


def _canonical() -> tuple[list[int], list[int], list[int], list[int]]:
    """Symbols in order of their codes; per length the first code, how many there are, and the first one's position."""
    symbols = sorted(range(EOS + 1), key=lambda symbol: (HUFFMAN_LENGTHS[symbol], symbol))
    first, counts, positions = [0] * (LONGEST_CODE + 1), [0] * (LONGEST_CODE + 1), [0] * (LONGEST_CODE + 1)
    code = position = 0
    for length in range(1, LONGEST_CODE + 1):
        code <<= 1
        first[length], positions[length] = code, position
        counts[length] = HUFFMAN_LENGTHS.count(length)
        code += counts[length]
        position += counts[length]
    return symbols, first, counts, positions


_text, _starts, _name_sizes, _value_sizes = _flatten()
STATIC_TEXT = np.frombuffer(_text, np.uint8)
"""Names and values of all static fields, one behind another."""
STATIC_AT = np.array(_starts, np.int64)
"""int64[62]: where field i begins in STATIC_TEXT."""
STATIC_NAME_BYTES = np.array(_name_sizes, np.int64)
STATIC_VALUE_BYTES = np.array(_value_sizes, np.int64)

_symbols, _first, _counts, _positions = _canonical()
HUFFMAN_SYMBOLS = np.array(_symbols, np.int64)
"""int64[257]: symbols in order of their codes."""
HUFFMAN_FIRST = np.array(_first, np.int64)
"""int64[31]: the first code of each length."""
HUFFMAN_COUNT = np.array(_counts, np.int64)
HUFFMAN_POSITION = np.array(_positions, np.int64)
"""int64[31]: where the symbols of each length begin in HUFFMAN_SYMBOLS."""
HUFFMAN_CODES: tuple[int, ...] = tuple(
    _first[HUFFMAN_LENGTHS[symbol]] + _symbols.index(symbol) - _positions[HUFFMAN_LENGTHS[symbol]]
    for symbol in range(EOS + 1)
)
"""The code of each symbol, for encoding."""
