"""Waiting lines against plain lists."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.load import lines
from kvbench.load.records import LINE, REQUEST
from tests.naive.lines import Lines

CONNECTIONS, SLOTS = 3, 12
STEPS = st.lists(
    st.tuples(st.sampled_from(["push", "pop", "remove"]), st.integers(0, CONNECTIONS - 1), st.integers(0, SLOTS - 1)),
    max_size=60,
)


@settings(deadline=None)
@given(steps=STEPS)
def test_lines_behave_as_lists(steps: list[tuple[str, int, int]]) -> None:
    table = np.full(CONNECTIONS, -1, LINE)
    table["head"] = table["tail"] = -1
    requests = np.zeros(SLOTS, REQUEST)
    naive = Lines(CONNECTIONS)
    for what, connection, slot in steps:
        if what == "push":
            if not any(slot in line for line in naive.lines):
                lines.push(table, requests, connection, slot)
                naive.push(connection, slot)
        elif what == "pop":
            assert lines.pop(table, requests, connection) == naive.pop(connection)
        else:
            assert lines.remove(table, requests, connection, slot) == naive.remove(connection, slot)
    for connection, line in enumerate(naive.lines):
        assert [lines.pop(table, requests, connection) for _ in line] == line
        assert lines.pop(table, requests, connection) == -1
