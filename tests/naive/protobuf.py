"""Protocol Buffers' wire format the obvious way."""

MAX = (1 << 64) - 1


class Malformed(Exception):
    """Not a message."""


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def varint(value: int) -> bytes:
    value &= MAX
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def take_varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for i, byte in enumerate(data):
        if i == 9 and byte > 1:
            raise Malformed("too long")
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return signed(value), data[i + 1 :]
    raise Malformed("truncated")


def fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """(number, wire type, number or content) of each field."""
    found: list[tuple[int, int, int | bytes]] = []
    while data:
        tag, data = take_varint(data)
        if not 8 <= tag < 1 << 32:
            raise Malformed("tag")
        kind = tag & 7
        if kind == 0:
            value, data = take_varint(data)
            found.append((tag >> 3, kind, value))
            continue
        if kind == 2:
            size, data = take_varint(data)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Malformed("wire type")
        if not 0 <= size <= len(data):
            raise Malformed("truncated")
        found.append((tag >> 3, kind, data[:size]))
        data = data[size:]
    return found


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value
