"""What it costs to append a request of 480 bytes to the log, checksums included, and to read it back at a start."""

from typing import Any

import numpy as np

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.log import append, writing
from kvbench.log.records import Log, new_log
from kvbench.log.recovery import begin_recovery, recover_records, recover_segment
from kvbench.rt.crc32c import crc32c

ENTRIES = 20_000 if JIT_ENABLED else 200
REQUEST_BYTES = 480
SIZES = {"segment_bytes": 16 << 20, "ring_bytes": 16 << 20, "payload_bytes_max": 4096, "entries": 1 << 15}


@kernel
def append_all(log: Any, buf: Any, count: int) -> int:
    """Append and count as written, a group of 64 at a time. Returns the bytes given out."""
    state = log.state[0]
    total = 0
    for i in range(count):
        if append.append_request(log, int(state["last_index"]) + 1, 1, 1, 0, 1, i, 0, 0, buf, 0, REQUEST_BYTES) != 0:
            return -1
        if i & 63 == 63:
            size = writing.next_write(log)
            while size > 0:
                total += size
                size = writing.next_write(log)
            writing.synced(log, int(state["write_end"]))
            append.release(log, int(state["last_index"]))
    return total


def filled() -> tuple[Log, Any]:
    """A new log with its first segments, and a request."""
    log = new_log(1, 1, **SIZES)
    append.begin(log)
    writing.segment_ready(log, 1 << 20)
    return log, np.random.default_rng(1).integers(0, 256, REQUEST_BYTES).astype(np.uint8)


def test_append_a_request(benchmark: Any) -> None:
    """At most 250 ns: the copy, three checksums, the bookkeeping."""

    def fresh() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (*filled(), ENTRIES), {}

    total = benchmark.pedantic(append_all, setup=fresh, rounds=15, warmup_rounds=2)
    assert total > ENTRIES // 64 * 64 * REQUEST_BYTES
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_request"] = round(benchmark.stats.stats.min * 1e9 / ENTRIES, 1)


def test_recover(benchmark: Any) -> None:
    """At least 2 GB/s: a whole segment, record by record."""
    log, buf = filled()
    append_all(log, buf, ENTRIES)
    end = int(log.state[0]["position"])
    image = np.concatenate([log.ring[:end], np.zeros(512, np.uint8)])
    again = new_log(1, 1, **SIZES)

    def recover() -> int:
        begin_recovery(again, 0, 0)
        at = recover_segment(again, 1, image, 0, len(image), len(image))
        recover_records(again, image, at, len(image))
        return int(again.state[0]["last_index"])

    assert benchmark.pedantic(recover, rounds=15, warmup_rounds=2) == ENTRIES
    if benchmark.stats is not None:
        benchmark.extra_info["gb_per_s"] = round(end / benchmark.stats.stats.min / 1e9, 2)


def test_checksum(benchmark: Any) -> None:
    """At least 2 GB/s."""
    buf = np.zeros(1 << 20 if JIT_ENABLED else 1 << 10, np.uint8)
    benchmark.pedantic(crc32c, args=(buf, 0, len(buf), 0), rounds=15, warmup_rounds=2)
    if benchmark.stats is not None:
        benchmark.extra_info["gb_per_s"] = round(len(buf) / benchmark.stats.stats.min / 1e9, 2)
