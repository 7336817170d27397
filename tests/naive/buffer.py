"""Integers at any offset of a byte string, by int.from_bytes and int.to_bytes."""


def load(data: bytes, offset: int, size: int, order: str) -> int:
    """An integer of ``size`` bytes; of 8 bytes it is signed, of fewer it is not."""
    return int.from_bytes(data[offset : offset + size], "big" if order == "be" else "little", signed=size == 8)


def store(data: bytes, offset: int, size: int, order: str, value: int) -> bytes:
    """``data`` with the low ``size`` bytes of ``value`` written at ``offset``."""
    low = (value % (1 << 8 * size)).to_bytes(size, "big" if order == "be" else "little")
    return data[:offset] + low + data[offset + size :]
