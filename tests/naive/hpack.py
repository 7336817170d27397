"""HPACK the obvious way: a list as dynamic table, a dictionary of code strings as Huffman code (RFC 7541)."""

from dataclasses import dataclass, field

from kvbench.wire.hpack_tables import EOS, HUFFMAN_CODES, HUFFMAN_LENGTHS, STATIC_FIELDS

Field = tuple[bytes, bytes]
STATIC: list[Field] = [(name.encode(), value.encode()) for name, value in STATIC_FIELDS]
CODES = {format(HUFFMAN_CODES[s], f"0{HUFFMAN_LENGTHS[s]}b"): s for s in range(EOS + 1)}


class Malformed(Exception):
    """Not a header block; the argument is the name of the error."""


def integer(first: int, bits: int, value: int) -> bytes:
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytes([first | limit]), value - limit
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def take_integer(data: bytes, bits: int) -> tuple[int, bytes]:
    limit = (1 << bits) - 1
    value, data = data[0] & limit, data[1:]
    if value < limit:
        return value, data
    for i, byte in enumerate(data):
        if i == 5:
            raise Malformed("INTEGER_TOO_LARGE")
        value += (byte & 127) << 7 * i
        if value > 0x7FFFFFFF:
            raise Malformed("INTEGER_TOO_LARGE")
        if byte < 128:
            return value, data[i + 1 :]
    raise Malformed("TRUNCATED")


def huffman(text: bytes) -> bytes:
    bits = "".join(format(HUFFMAN_CODES[byte], f"0{HUFFMAN_LENGTHS[byte]}b") for byte in text)
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def unhuffman(data: bytes) -> bytes:
    out, code = b"", ""
    for bit in "".join(format(byte, "08b") for byte in data):
        code += bit
        if code in CODES:
            if CODES[code] == EOS:
                raise Malformed("BAD_HUFFMAN")
            out, code = out + bytes([CODES[code]]), ""
    if len(code) > 7 or "0" in code:
        raise Malformed("BAD_HUFFMAN")
    return out


def string(text: bytes, coded: bool) -> bytes:
    body = huffman(text) if coded else text
    return integer(128 if coded else 0, 7, len(body)) + body


def take_string(data: bytes) -> tuple[bytes, bytes]:
    if not data:
        raise Malformed("TRUNCATED")
    coded = data[0] >= 128
    size, data = take_integer(data, 7)
    if size > len(data):
        raise Malformed("TRUNCATED")
    text = data[:size]
    return (unhuffman(text) if coded else text), data[size:]


@dataclass
class Table:
    """A dynamic table, newest first."""

    limit: int = 4096
    size: int = 4096
    entries: list[Field] = field(default_factory=list)

    def used(self) -> int:
        return sum(len(name) + len(value) + 32 for name, value in self.entries)

    def shrink(self, needed: int) -> None:
        while self.entries and self.used() + needed > self.size:
            self.entries.pop()

    def add(self, entry: Field) -> None:
        needed = len(entry[0]) + len(entry[1]) + 32
        self.shrink(needed)
        if needed <= self.size:
            self.entries.insert(0, entry)

    def resize(self, size: int) -> None:
        if size > self.limit:
            raise Malformed("BAD_TABLE_SIZE")
        self.size = size
        self.shrink(0)

    def get(self, index: int) -> Field:
        every = STATIC + self.entries
        if not 1 <= index <= len(every):
            raise Malformed("BAD_INDEX")
        return every[index - 1]


def decode(table: Table, data: bytes) -> list[Field]:
    """All fields of a block, however large."""
    out: list[Field] = []
    began = False
    while data:
        first = data[0]
        if first >> 5 == 1:
            size, data = take_integer(data, 5)
            if began:
                raise Malformed("BAD_TABLE_SIZE")
            table.resize(size)
            continue
        began = True
        if first >= 128:
            index, data = take_integer(data, 7)
            out.append(table.get(index))
            continue
        index, data = take_integer(data, 6 if first >= 64 else 4)
        if index:
            name = table.get(index)[0]
        else:
            name, data = take_string(data)
        value, data = take_string(data)
        out.append((name, value))
        if first >= 64:
            table.add((name, value))
    return out


def encode_field(table: Table, entry: Field, form: int, coded: bool) -> bytes:
    """One field: ``form`` 0 indexed where possible, 1 literal into the table, 2 literal beside it, 3 never indexed."""
    every = STATIC + table.entries
    if form == 0 and entry in every:
        return integer(128, 7, every.index(entry) + 1)
    names = [name for name, _ in every]
    index = names.index(entry[0]) + 1 if entry[0] in names else 0
    first, bits = {0: (64, 6), 1: (64, 6), 2: (0, 4), 3: (16, 4)}[form]
    out = integer(first, bits, index)
    if not index:
        out += string(entry[0], coded)
    out += string(entry[1], coded)
    if form < 2:
        table.add(entry)
    return out
