"""A disk's files as byte strings, a dictionary of them for each image."""

SECTOR_BYTES = 512


class Disk:
    """Files by name; what is written is in ``current``, what was synced in ``durable``."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.current: dict[tuple[int, int], bytearray] = {}
        self.durable: dict[tuple[int, int], bytearray] = {}

    def create(self, name: tuple[int, int]) -> None:
        """A file of zeros."""
        self.current[name] = bytearray(self.room)
        self.durable[name] = bytearray(self.room)

    def write(self, name: tuple[int, int], offset: int, content: bytes) -> None:
        """Change what is read back."""
        self.current[name][offset : offset + len(content)] = content

    def sync(self, name: tuple[int, int]) -> None:
        """Make it stay."""
        self.durable[name] = bytearray(self.current[name])

    def remove(self, name: tuple[int, int]) -> None:
        """Forget a file."""
        del self.current[name], self.durable[name]

    def rename(self, old: tuple[int, int], new: tuple[int, int]) -> None:
        """Another name, over what has it."""
        self.current[new] = self.current.pop(old)
        self.durable[new] = self.durable.pop(old)

    def could_be(self, name: tuple[int, int], content: bytes) -> bool:
        """Whether a crash may leave ``content``: each sector as it was synced, or as it was written."""
        for at in range(0, self.room, SECTOR_BYTES):
            sector = content[at : at + SECTOR_BYTES]
            images = self.current[name], self.durable[name]
            if sector not in (bytes(image[at : at + SECTOR_BYTES]) for image in images):
                return False
        return True
