"""A stretch of a byte stream that waits in a buffer: appended at one end, taken at the other."""


class Stream:
    """Bytes in order, counted from the stream's beginning."""

    def __init__(self) -> None:
        self.put_bytes = 0
        self.taken_bytes = 0

    def put(self, size: int) -> bytes:
        """The next ``size`` bytes of the stream: position modulo 251, so that no shift goes unseen."""
        data = bytes((self.put_bytes + i) % 251 for i in range(size))
        self.put_bytes += size
        return data

    def take(self, data: bytes) -> bool:
        """Whether ``data`` are the next bytes of the stream."""
        expected = bytes((self.taken_bytes + i) % 251 for i in range(len(data)))
        self.taken_bytes += len(data)
        return data == expected
