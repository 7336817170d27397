"""What a recorder has to come to: every event kept in lists, counted at the end."""

from collections import Counter

from kvbench.ops.results import ERROR, RESPONSE, SERVICE, WAIT
from tests.naive.histogram import bucket_of

SECOND_NS = 1_000_000_000
HIGHEST_NS = 3_600_000_000_000


class Recorder:
    """Counts by second, and (second, operation, time, bucket) of histograms; seconds beyond ``seconds`` in the last."""

    def __init__(self, start_ns: int, seconds: int) -> None:
        self.start_ns = start_ns
        self.seconds = seconds
        self.offered: Counter[tuple[int, int]] = Counter()
        self.sent: Counter[tuple[int, int]] = Counter()
        self.completed: Counter[tuple[int, int]] = Counter()
        self.errors: Counter[tuple[int, int, int]] = Counter()
        self.histograms: Counter[tuple[int, int, int, int]] = Counter()
        self.clipped = 0
        self.now = start_ns

    def second(self, at_ns: int) -> int:
        """The second that a time is in."""
        return min(max(at_ns - self.start_ns, 0) // SECOND_NS, self.seconds - 1)

    def offer(self, operation: int, scheduled_ns: int) -> None:
        """A request was scheduled."""
        self.offered[self.second(scheduled_ns), operation] += 1

    def send(self, operation: int) -> None:
        """It was sent."""
        self.sent[self.second(self.now), operation] += 1

    def succeed(self, operation: int, scheduled_ns: int, sent_ns: int) -> None:
        """It was answered now."""
        self.completed[self.second(self.now), operation] += 1
        self._time(operation, WAIT, sent_ns - scheduled_ns)
        self._time(operation, SERVICE, self.now - sent_ns)
        self._time(operation, RESPONSE, self.now - scheduled_ns)

    def fail(self, operation: int, code: int, scheduled_ns: int) -> None:
        """It failed now."""
        self.errors[self.second(self.now), operation, code] += 1
        self._time(operation, ERROR, self.now - scheduled_ns)

    def _time(self, operation: int, time: int, value: int) -> None:
        if value > HIGHEST_NS:
            self.clipped += 1
        bucket = bucket_of(min(value, HIGHEST_NS))
        self.histograms[self.second(self.now), operation, time, bucket] += 1
