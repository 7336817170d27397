"""Linearizability by trying every order."""

from itertools import permutations

import numpy as np
import numpy.typing as npt

from kvbench.ops.history import CAS, DELETE, READ, REFUSED, UNKNOWN, WRITE


def explains(history: npt.NDArray[np.void], order: tuple[int, ...], initial: int) -> bool:
    """Whether the operations of ``order``, one after another, are in keeping with time and with what was seen."""
    for place, later in enumerate(order):
        for earlier in order[place + 1 :]:
            ended = history[earlier]["seen"] != UNKNOWN
            if ended and history[earlier]["returned"] < history[later]["invoked"]:
                return False
    value = initial
    for row in order:
        operation = history[row]
        if operation["act"] == READ and operation["value"] != value:
            return False
        if operation["act"] == WRITE:
            value = int(operation["value"])
        if operation["act"] == DELETE:
            value = 0
        if operation["act"] == CAS:
            equal = value == operation["expected"]
            if operation["seen"] == REFUSED:
                if equal:
                    return False
            elif equal:
                value = int(operation["value"])
            else:
                return False
    return True


def linearizable(history: npt.NDArray[np.void], initial: int) -> bool:
    """Whether some order of all definite operations, with any of the unknown ones, explains the history of one key."""
    definite = [row for row in range(len(history)) if history[row]["seen"] != UNKNOWN]
    unknown = [row for row in range(len(history)) if history[row]["seen"] == UNKNOWN]
    for chosen in range(1 << len(unknown)):
        rows = definite + [row for bit, row in enumerate(unknown) if chosen >> bit & 1]
        if any(explains(history, order, initial) for order in permutations(rows)):
            return True
    return False
