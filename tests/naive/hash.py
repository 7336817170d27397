"""The hash of rt.hash by modular arithmetic on whole integers."""

TWO_64 = 1 << 64


def words_of(data: bytes) -> list[int]:
    """8 bytes each, little-endian; the last one is the data's last 8 bytes (all of it, when there are fewer)."""
    starts = list(range(0, len(data) // 8 * 8, 8))
    if len(data) % 8:
        starts.append(max(0, len(data) - 8))
    return [int.from_bytes(data[at : at + 8], "little") for at in starts]


def hash_bytes(data: bytes, seed: int) -> int:
    state = (seed + len(data) * 0x9E3779B97F4A7C15) % TWO_64
    for word in words_of(data):
        product = (state ^ word) * 0xD6E8FEB86659FD93 % TWO_64
        state = product ^ product // (1 << 32)
    state = state * 0xBF58476D1CE4E5B9 % TWO_64
    return (state ^ state // (1 << 29)) % (1 << 62)
