"""Python's side of the rare calls' ring."""

import contextlib
import os
import threading
from typing import NamedTuple

import numpy as np

from kvbench.rt import atomics
from kvbench.server.rare_ring import (
    ANSWER_BYTES,
    ANSWER_NUMBERS,
    ANSWER_SLOTS,
    ASKED_BYTES,
    ASKED_HEAD,
    ASKED_NUMBERS,
    ASKED_SLOTS,
    ASKED_TAIL,
    COMMAND_HEAD,
    COMMAND_NUMBERS,
    COMMAND_SLOTS,
    COMMAND_TAIL,
    FILLED,
    FREE,
    LOST,
    TO_LOOP,
    TO_PYTHON,
    RareRing,
)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.001, 0.25
"""Between two looks for a free place for an answer."""


class Asked(NamedTuple):
    """What the loop asks."""

    handle: int
    what: int
    """A method of wire.etcd_methods, or a Question."""
    connection: int
    message: bytes
    values: tuple[int, int, int, int]


class RareChannel:
    """Takes what the loop asks, and gives answers and commands. One thread takes; any may answer and command."""

    def __init__(self, ring: RareRing) -> None:
        self.ring = ring
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._closed = False

    @property
    def descriptor(self) -> int:
        """Readable when there is something to take."""
        return int(self.ring.wakes[TO_PYTHON])

    def take(self) -> list[Asked]:
        """What was asked since the last call. Also lets those who wait for a free slot look again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)
        with self._moved:
            self._moved.notify_all()
        found = []
        tail, head = atomics.load(self.ring.marks, ASKED_TAIL), atomics.load(self.ring.marks, ASKED_HEAD)
        for number in range(tail, head):
            slot = number % ASKED_SLOTS
            numbers = [int(one) for one in self.ring.asked[slot * ASKED_NUMBERS : (slot + 1) * ASKED_NUMBERS]]
            first = slot * ASKED_BYTES
            message = self.ring.asked_bytes[first : first + numbers[2]].tobytes()
            values = (numbers[4], numbers[5], numbers[6], numbers[7])
            found.append(Asked(numbers[0], numbers[1], numbers[3], message, values))
            atomics.store(self.ring.marks, ASKED_TAIL, number + 1)
        return found

    def answer(self, asked: Asked, message: bytes, status: int = 0, last: bool = True) -> bool:
        """Answer with a message, or with a status other than 0 and its text; an HTTP request with the whole response.

        Waits for a free slot. Returns False when who asked is known to be gone, or the channel is closed.
        """
        if len(message) > ANSWER_BYTES:
            raise ValueError(f"an answer of {len(message):,} bytes, more than {ANSWER_BYTES:,}")
        ring = self.ring
        patience_s = FIRST_WAIT_S
        with self._moved:
            while True:
                slot = self._free_slot(asked.handle)
                if slot >= 0:
                    break
                if slot == -2 or self._closed:
                    return False
                # The thread that calls ``take``, which tells the others, may be the one that waits.
                self._moved.wait(patience_s)
                patience_s = min(2 * patience_s, LONGEST_WAIT_S)
            first = slot * ANSWER_BYTES
            ring.answer_bytes[first : first + len(message)] = np.frombuffer(message, np.uint8)
            numbers = slot * ANSWER_NUMBERS
            ring.answers[numbers + 1 : numbers + ANSWER_NUMBERS] = (
                asked.handle, status, len(message), int(last), asked.connection,
            )  # fmt: skip
            atomics.store(ring.answers, numbers, FILLED)
        os.eventfd_write(int(ring.wakes[TO_LOOP]), 1)
        return True

    def _free_slot(self, handle: int) -> int:
        """A free slot, -1: none, -2: an answer to ``handle`` did not find who asked. An answer keeps its order."""
        free = -1
        for slot in range(ANSWER_SLOTS):
            state = atomics.load(self.ring.answers, slot * ANSWER_NUMBERS)
            theirs = int(self.ring.answers[slot * ANSWER_NUMBERS + 1]) == handle
            if state == LOST:
                atomics.store(self.ring.answers, slot * ANSWER_NUMBERS, FREE)
                if theirs:
                    return -2
            elif state == FILLED and theirs:
                return -1
            elif state == FREE and free < 0:
                free = slot
        return free

    def command(self, kind: int, a: int, handle: int) -> bool:
        """Have the loop carry out a command. Returns False when too many are waiting."""
        marks = self.ring.marks
        with self._lock:
            head = atomics.load(marks, COMMAND_HEAD)
            if head - atomics.load(marks, COMMAND_TAIL) >= COMMAND_SLOTS:
                return False
            first = head % COMMAND_SLOTS * COMMAND_NUMBERS
            self.ring.commands[first : first + COMMAND_NUMBERS] = (kind, a, handle)
            atomics.store(marks, COMMAND_HEAD, head + 1)
        os.eventfd_write(int(self.ring.wakes[TO_LOOP]), 1)
        return True

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()
