"""Flags and counters between threads: plain arithmetic alone, and seen by others at once."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.rt import atomics

INT64 = st.integers(-(1 << 62), (1 << 62) - 1)


@kernel
def load(array: Any, index: int) -> int:
    return atomics.load(array, index)


@kernel
def store(array: Any, index: int, value: int) -> None:
    atomics.store(array, index, value)


@kernel
def add(array: Any, index: int, value: int) -> int:
    return atomics.add(array, index, value)


@kernel
def add_many(array: Any, index: int, times: int) -> None:
    for _ in range(times):
        atomics.add(array, index, 1)


@kernel
def wait_and_answer(flags: Any) -> None:
    while atomics.load(flags, 0) == 0:
        pass
    atomics.store(flags, 1, 1)


@settings(deadline=None)
@given(st.integers(0, 7), INT64, INT64)
def test_one_element_and_no_other(index: int, first: int, second: int) -> None:
    array = np.arange(100, 108)
    store(array, index, first)
    assert load(array, index) == first
    assert add(array, index, second) == first
    assert load(array, index) == first + second
    assert np.delete(array, index).tolist() == np.delete(np.arange(100, 108), index).tolist()


def test_a_waiting_kernel_sees_the_flag() -> None:
    flags = np.zeros(2, np.int64)
    thread = threading.Thread(target=wait_and_answer, args=(flags,))
    thread.start()
    store(flags, 0, 1)
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert load(flags, 1) == 1


def test_additions_of_several_threads_all_count() -> None:
    array = np.zeros(1, np.int64)
    times = 200_000 if JIT_ENABLED else 1
    threads = [threading.Thread(target=add_many, args=(array, 0, times)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load(array, 0) == 4 * times


@pytest.mark.parametrize("array", [np.zeros(4, np.int32), np.zeros((2, 2), np.int64), np.zeros(8, np.int64)[::2]])
def test_compiling_for_another_kind_of_array_is_refused(array: Any) -> None:
    if JIT_ENABLED:
        with pytest.raises(TypingError, match="contiguous int64 arrays"):
            load(array, 0)
    else:
        assert load(np.zeros(4, np.int64), 0) == 0
