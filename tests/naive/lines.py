"""Waiting lines as plain lists: the obvious twin of kvbench.load.lines."""


class Lines:
    """One list of slots per connection."""

    def __init__(self, connections: int) -> None:
        self.lines: list[list[int]] = [[] for _ in range(connections)]

    def push(self, connection: int, slot: int) -> None:
        self.lines[connection].append(slot)

    def pop(self, connection: int) -> int:
        return self.lines[connection].pop(0) if self.lines[connection] else -1

    def remove(self, connection: int, slot: int) -> bool:
        if slot not in self.lines[connection]:
            return False
        self.lines[connection].remove(slot)
        return True
