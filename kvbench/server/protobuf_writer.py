"""Protocol Buffers' wire format in plain Python, for rare calls: a server need not load protobuf for them."""

from collections.abc import Iterable


def varint(value: int) -> bytes:
    """A varint; negative numbers as their 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Field ``field`` as a number, nothing when it is 0."""
    return varint(field << 3) + varint(value) if value else b""


def content(field: int, value: bytes) -> bytes:
    """Field ``field`` as bytes, text or a message, written even when empty."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def text(field: int, value: str) -> bytes:
    """Field ``field`` as text, nothing when it is empty."""
    return content(field, value.encode()) if value else b""


def signed(value: int) -> int:
    """An int64 of those that ``numbers`` gives as uint64."""
    return value - (1 << 64) if value >> 63 else value


def numbers(data: bytes, wanted: Iterable[int]) -> dict[int, int]:
    """The numbers in fields ``wanted`` of a message, 0 for those that are not there. Raises ValueError for damage."""
    found = dict.fromkeys(wanted, 0)
    at = 0

    def read() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("a varint that does not end")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1
            shift += 7

    while at < len(data):
        tag = read()
        kind = tag & 7
        if tag < 8 or kind not in (0, 1, 2, 5):
            raise ValueError(f"no tag: {tag}")
        if kind == 0:
            value = read()
            if tag >> 3 in found:
                found[tag >> 3] = value
            continue
        if tag >> 3 in found:
            raise ValueError(f"field {tag >> 3} is no number")
        size = 8 if kind == 1 else 4 if kind == 5 else read()
        if size > len(data) - at:
            raise ValueError("a field beyond the message's end")
        at += size
    return found
