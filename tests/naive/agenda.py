"""An agenda as a sorted list."""


class Agenda:
    """Events by time, then by the order in which they were scheduled."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, int]] = []
        self.order = 0

    def schedule(self, at_ns: int, what: int) -> None:
        """Add an event."""
        self.order += 1
        self.events.append((at_ns, self.order, what))
        self.events.sort()

    def take_next(self) -> int | None:
        """The first event, taken out."""
        return self.events.pop(0)[2] if self.events else None
