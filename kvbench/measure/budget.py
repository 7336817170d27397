"""Spreads costly readings out, so that watching never takes more than a stated share of a core."""


class Budget:
    """Says when a reading is due: no sooner than its last cost divided by its share.

    Reading the USS walks every page of a process (12 ms per gigabyte where this was measured), so a small process
    is read in every sample and a large one every so many samples.
    """

    def __init__(self, share: float) -> None:
        """``share``: of one core, 0 < share <= 1."""
        self.share = share
        self.due_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether the reading may be taken now."""
        return now_ns >= self.due_ns

    def spent(self, now_ns: int, cost_ns: int) -> None:
        """A reading begun at ``now_ns`` cost ``cost_ns``."""
        self.due_ns = now_ns + int(cost_ns / self.share)
