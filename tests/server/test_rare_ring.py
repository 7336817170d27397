"""The ring between loop and Python: what is asked arrives whole and in order, answers find who asked or say not."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from kvbench.server import rare_ring
from kvbench.server.rare_channel import Asked, RareChannel
from kvbench.server.rare_ring import ANSWER_BYTES, ANSWER_NUMBERS, ANSWER_SLOTS, ASKED_BYTES, ASKED_SLOTS, RareRing


@pytest.fixture
def ring() -> Iterator[RareRing]:
    one = rare_ring.new_rare_ring()
    yield one
    rare_ring.close_rare_ring(one)


def ask(ring: RareRing, handle: int, message: bytes = b"", what: int = 11, connection: int = -1) -> bool:
    data = np.frombuffer(b"--" + message + b"-", np.uint8).copy()
    return bool(rare_ring.ask(ring, handle, what, connection, data, 2, len(message), 1, 2, 3, handle))


def answers(ring: RareRing) -> list[tuple[int, int, bytes, int]]:
    """What Python answered, taken as the loop does: handle, status, message, whether it was the last."""
    found = []
    for slot in range(ANSWER_SLOTS):
        if rare_ring.answer_state(ring, slot) == rare_ring.FILLED:
            _, handle, status, size, last, _ = ring.answers[slot * ANSWER_NUMBERS : (slot + 1) * ANSWER_NUMBERS]
            first = slot * ANSWER_BYTES
            message = bytes(ring.answer_bytes[first : first + size])
            found.append((int(handle), int(status), message, int(last)))
            rare_ring.set_answer_state(ring, slot, rare_ring.FREE)
    return found


def test_what_is_asked_arrives_whole_and_in_order(ring: RareRing) -> None:
    channel = RareChannel(ring)
    assert channel.take() == []
    for round_number in range(3):
        for number in range(ASKED_SLOTS):
            assert ask(ring, 100 * round_number + number, b"m%d" % number)
        assert not ask(ring, 9, b"one too many")
        taken = channel.take()
        assert [one.message for one in taken] == [b"m%d" % number for number in range(ASKED_SLOTS)]
        assert taken[3] == Asked(100 * round_number + 3, 11, -1, b"m3", (1, 2, 3, 100 * round_number + 3))
    assert not ask(ring, 1, bytes(ASKED_BYTES + 1))
    assert ask(ring, 1, bytes(ASKED_BYTES))


def test_answers_reach_the_loop(ring: RareRing) -> None:
    channel = RareChannel(ring)
    assert ask(ring, 5) and ask(ring, 6)
    first, second = channel.take()
    assert channel.answer(first, b"yes")
    assert channel.answer(second, b"no: text", status=12)
    assert sorted(answers(ring)) == [(5, 0, b"yes", 1), (6, 12, b"no: text", 1)]
    with pytest.raises(ValueError, match="more than"):
        channel.answer(first, bytes(ANSWER_BYTES + 1))


def test_answers_to_one_call_keep_their_order_and_end_when_nobody_listens(ring: RareRing) -> None:
    channel = RareChannel(ring)
    assert ask(ring, 5)
    (asked,) = channel.take()
    results: list[bool] = []

    def stream() -> None:
        while channel.answer(asked, b"%d" % len(results), last=False):
            results.append(True)
        results.append(False)

    thread = threading.Thread(target=stream)
    thread.start()
    found: list[bytes] = []
    while len(found) < 50:
        found += [message for _, _, message, _ in answers(ring)]
        channel.take()
    while rare_ring.answer_state(ring, 0) != rare_ring.FILLED:
        channel.take()
    rare_ring.set_answer_state(ring, 0, rare_ring.LOST)
    while thread.is_alive():
        channel.take()
    thread.join()
    assert found == [b"%d" % number for number in range(len(found))]
    assert results[-1] is False
    assert rare_ring.answer_state(ring, 0) == rare_ring.FREE


def test_commands(ring: RareRing) -> None:
    channel = RareChannel(ring)
    assert rare_ring.take_command(ring) == -1
    sent = 0
    while channel.command(2, sent, 1000 + sent):
        sent += 1
    assert sent == rare_ring.COMMAND_SLOTS
    for number in range(sent):
        first = rare_ring.take_command(ring)
        assert list(ring.commands[first : first + rare_ring.COMMAND_NUMBERS]) == [2, number, 1000 + number]
        rare_ring.command_taken(ring)
    assert rare_ring.take_command(ring) == -1
    assert channel.command(1, 0, 0)


def test_closing_lets_nobody_wait(ring: RareRing) -> None:
    channel = RareChannel(ring)
    assert ask(ring, 5)
    (asked,) = channel.take()
    assert channel.answer(asked, b"first", last=False)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(channel.answer(asked, b"second")))
    thread.start()
    channel.close()
    thread.join()
    assert results == [False]
