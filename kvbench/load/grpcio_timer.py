"""Sleeping in an asyncio loop to better than a millisecond, which the loop's own timers cannot.

asyncio hands its time-outs to epoll in whole milliseconds, rounded up. A timerfd is a descriptor that becomes readable
at an exact CLOCK_MONOTONIC time (timerfd_create(2)), and the loop wakes for it as for any socket.
"""

import asyncio
import contextlib
import ctypes
import heapq
import os
import time

CLOCK_MONOTONIC = 1
TFD_NONBLOCK_CLOEXEC = 0o2004000
TFD_TIMER_ABSTIME = 1
PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None, use_errno=True)


class _Timerspec(ctypes.Structure):
    """struct itimerspec: no interval, one expiry."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """Wakes coroutines of the running loop at CLOCK_MONOTONIC times."""

    def __init__(self) -> None:
        """Raises OSError when the kernel gives no timer. Sets the calling thread's timer slack to 1 ns."""
        self._descriptor = _libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0
        self._armed_ns = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._expired)

    async def sleep_until(self, due_ns: int) -> None:
        """Return at ``due_ns`` or as soon after it as the loop can, or when ``wake_all`` is called."""
        if due_ns <= time.monotonic_ns():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._number += 1
        heapq.heappush(self._sleepers, (due_ns, self._number, future))
        self._arm()
        await future

    def _arm(self) -> None:
        """Set the timer to the earliest sleeper."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        due_ns = self._sleepers[0][0] if self._sleepers else 0
        if due_ns == self._armed_ns:
            return
        self._armed_ns = due_ns
        spec = _Timerspec(0, 0, due_ns // 1_000_000_000, due_ns % 1_000_000_000)
        _libc.timerfd_settime(self._descriptor, TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def _expired(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        now_ns = time.monotonic_ns()
        self._armed_ns = 0
        while self._sleepers and self._sleepers[0][0] <= now_ns:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)
        self._arm()

    def wake_all(self) -> None:
        """Wake every sleeper now."""
        for _, _, future in self._sleepers:
            if not future.done():
                future.set_result(None)
        self._sleepers.clear()
        self._arm()

    def close(self) -> None:
        """Give the descriptor back; sleepers are cancelled."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        for _, _, future in self._sleepers:
            future.cancel()
        self._sleepers.clear()
