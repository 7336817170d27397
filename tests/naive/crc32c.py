"""CRC32C bit by bit, as a division of polynomials."""


def crc32c(data: bytes, seed: int = 0) -> int:
    """Checksum of ``data`` after bytes whose checksum is ``seed``."""
    register = seed ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF
