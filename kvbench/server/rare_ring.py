"""Rare calls between the loop and Python, which serves them: requests one way, answers and commands the other.

The loop owns all state and never waits for Python. What it asks lies in slots of a ring, what Python answers in slots
of its own, each handed over by an atomic mark; an eventfd wakes the other side.
"""

import os
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.rt import atomics, libc
from kvbench.rt.buffer import copy

ASKED_SLOTS = 64
ASKED_BYTES = 8192
"""Largest request of a rare call."""
ASKED_NUMBERS = 8
"""handle, what (a method of wire.etcd_methods or a Question), bytes, connection (-1: a gRPC call), four values"""
ANSWER_SLOTS = 16
ANSWER_BYTES = 1 << 18
"""Largest message of an answer."""
ANSWER_NUMBERS = 6
"""state, handle, status, bytes, last, connection"""
COMMAND_SLOTS = 64
COMMAND_NUMBERS = 3
"""kind, a, handle"""
ASKED_HEAD, ASKED_TAIL, COMMAND_HEAD, COMMAND_TAIL = 0, 8, 16, 24
"""Marks, in cache lines of their own: requests written and read, commands written and read."""
FREE, FILLED, LOST = 0, 1, 2
"""States of an answer's slot; LOST: who asked is gone, and Python is to know."""


class Question(IntEnum):
    """What the loop tells Python that is no gRPC method."""

    HTTP = -1
    """An HTTP/1.1 request's head, on a connection."""
    COMMAND_DONE = -2
    """A command was carried out: handle, status in the first value, three more."""
    FAILED = -3
    """The member cannot go on: its code in the first value."""


class RareRing(NamedTuple):
    """What both sides share."""

    marks: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]
    asked_bytes: npt.NDArray[np.uint8]
    answers: npt.NDArray[np.int64]
    answer_bytes: npt.NDArray[np.uint8]
    commands: npt.NDArray[np.int64]
    one: npt.NDArray[np.uint8]
    """uint8[16]: a 1 to write to an eventfd, and room to read one"""
    wakes: npt.NDArray[np.int32]
    """int32[2]: the eventfds that wake Python and the loop"""


TO_PYTHON, TO_LOOP = 0, 1


def new_rare_ring() -> RareRing:
    """An empty ring with its descriptors."""
    one = np.zeros(16, np.uint8)
    one[0] = 1
    flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
    return RareRing(
        marks=np.zeros(32, np.int64),
        asked=np.zeros(ASKED_SLOTS * ASKED_NUMBERS, np.int64),
        asked_bytes=np.zeros(ASKED_SLOTS * ASKED_BYTES, np.uint8),
        answers=np.zeros(ANSWER_SLOTS * ANSWER_NUMBERS, np.int64),
        answer_bytes=np.zeros(ANSWER_SLOTS * ANSWER_BYTES, np.uint8),
        commands=np.zeros(COMMAND_SLOTS * COMMAND_NUMBERS, np.int64),
        one=one,
        wakes=np.array([os.eventfd(0, flags), os.eventfd(0, flags)], np.int32),
    )


def close_rare_ring(ring: RareRing) -> None:
    """Close its descriptors."""
    for descriptor in ring.wakes:
        os.close(int(descriptor))


@kernel
def wake(ring: Any, side: int) -> None:
    """Wake TO_PYTHON or TO_LOOP."""
    libc.write(int(ring.wakes[side]), libc.address(ring.one, 0), 8)


@kernel
def hear(ring: Any, side: int) -> None:
    """Take note that this side was woken."""
    libc.read(int(ring.wakes[side]), libc.address(ring.one, 8), 8)


@kernel
def ask(
    ring: Any, handle: int, what: int, position: int, buf: Any, at: int, size: int, a: int, b: int, c: int, d: int
) -> bool:
    """The loop asks Python. Returns whether there was room."""
    head = atomics.load(ring.marks, ASKED_HEAD)
    if head - atomics.load(ring.marks, ASKED_TAIL) >= ASKED_SLOTS or size > ASKED_BYTES:
        return False
    slot = head % ASKED_SLOTS
    first = slot * ASKED_NUMBERS
    ring.asked[first] = handle
    ring.asked[first + 1] = what
    ring.asked[first + 2] = size
    ring.asked[first + 3] = position
    ring.asked[first + 4] = a
    ring.asked[first + 5] = b
    ring.asked[first + 6] = c
    ring.asked[first + 7] = d
    copy(ring.asked_bytes, slot * ASKED_BYTES, buf, at, size)
    atomics.store(ring.marks, ASKED_HEAD, head + 1)
    wake(ring, TO_PYTHON)
    return True


@kernel
def answer_state(ring: Any, slot: int) -> int:
    """FREE, FILLED or LOST."""
    return atomics.load(ring.answers, slot * ANSWER_NUMBERS)


@kernel
def set_answer_state(ring: Any, slot: int, state: int) -> None:
    """The loop is done with an answer: FREE, or LOST."""
    atomics.store(ring.answers, slot * ANSWER_NUMBERS, state)
    wake(ring, TO_PYTHON)


@kernel
def take_command(ring: Any) -> int:
    """The place in ``commands`` of the next command, or -1. ``command_taken`` gives the place back."""
    tail = atomics.load(ring.marks, COMMAND_TAIL)
    if tail == atomics.load(ring.marks, COMMAND_HEAD):
        return -1
    return tail % COMMAND_SLOTS * COMMAND_NUMBERS


@kernel
def command_taken(ring: Any) -> None:
    """The command that ``take_command`` gave is dealt with."""
    atomics.store(ring.marks, COMMAND_TAIL, atomics.load(ring.marks, COMMAND_TAIL) + 1)
