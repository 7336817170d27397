"""The mark: what a member must not forget and what its log cannot tell, in two copies of one sector each.

A mark is made durable by writing the first copy, syncing, writing the second, syncing. Only then may the member act on
it. So one copy at a time can be torn, and whichever is, or is damaged later, the other one holds at least what was
acted on.
"""

from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.log.damage import Damage
from kvbench.log.record import is_zero
from kvbench.log.records import BAD_HEADER, BLANK, FOREIGN, FORMAT, NEWER_FORMAT, SECTOR_BYTES, Log, LogDamage
from kvbench.rt.buffer import fill, load_le32, load_le64, store_le32, store_le64
from kvbench.rt.crc32c import crc32c

MARK = np.dtype(
    [
        ("sequence", np.int64),  # of the mark: the highest is the newest
        ("boot", np.int64),  # how often the member was started
        ("term", np.int64),
        ("vote", np.int64),  # position of the member voted for in ``term``, -1: none
        ("acknowledged", np.int64),  # index up to which entries were known to be committed, and durable here
        ("position", np.int64),  # of the log's end, as far as it was durable
        ("behind_until", np.int64),  # not 0: the log lost entries; no vote before it reaches this index
        ("disk_alarm", np.int64),  # 1: the member raised NOSPACE because its disk was full, and is to take it back
    ],
    align=True,
)
MARK_BYTES = SECTOR_BYTES
"""Of one copy."""
COPIES = 2
_FIELDS_AT = 24
"""Before the fields: checksum, format, cluster, member."""


def new_mark() -> Any:
    """MARK[1] of a member that was never started."""
    mark = np.zeros(1, MARK)
    mark["vote"] = -1
    return mark


@kernel
def write_mark(log: Any, mark: Any, buf: Any, at: int) -> None:
    """Number the mark (MARK[1]), add what the log knows, and write its MARK_BYTES.

    The caller has set term, vote, acknowledged and disk_alarm; the log's durable end goes into it, and
    ``behind_until`` is over once the log is durable that far.
    """
    state = log.state[0]
    record = mark[0]
    record["sequence"] = int(record["sequence"]) + 1
    record["position"] = int(state["synced"])
    if int(record["behind_until"]) <= int(state["durable_index"]):
        record["behind_until"] = 0
    fill(buf, at, MARK_BYTES, 0)
    store_le32(buf, at + 4, FORMAT)
    store_le64(buf, at + 8, int(state["cluster"]))
    store_le64(buf, at + 16, int(state["member"]))
    fields = at + _FIELDS_AT
    store_le64(buf, fields, int(record["sequence"]))
    store_le64(buf, fields + 8, int(record["boot"]))
    store_le64(buf, fields + 16, int(record["term"]))
    store_le64(buf, fields + 24, int(record["vote"]))
    store_le64(buf, fields + 32, int(record["acknowledged"]))
    store_le64(buf, fields + 40, int(record["position"]))
    store_le64(buf, fields + 48, int(record["behind_until"]))
    store_le64(buf, fields + 56, int(record["disk_alarm"]))
    store_le32(buf, at, crc32c(buf, at + 4, MARK_BYTES - 4, 0))


@kernel
def read_mark(log: Any, mark: Any, buf: Any, at: int) -> int:
    """Read one copy into MARK[1]: 0, BLANK, BAD_HEADER, FOREIGN or NEWER_FORMAT (``mark`` is unchanged then)."""
    state = log.state[0]
    if is_zero(buf, at, at + MARK_BYTES):
        return BLANK
    if crc32c(buf, at + 4, MARK_BYTES - 4, 0) != load_le32(buf, at):
        return BAD_HEADER
    if load_le32(buf, at + 4) > FORMAT:
        return NEWER_FORMAT
    if load_le64(buf, at + 8) != int(state["cluster"]) or load_le64(buf, at + 16) != int(state["member"]):
        return FOREIGN
    record = mark[0]
    fields = at + _FIELDS_AT
    record["sequence"] = load_le64(buf, fields)
    record["boot"] = load_le64(buf, fields + 8)
    record["term"] = load_le64(buf, fields + 16)
    record["vote"] = load_le64(buf, fields + 24)
    record["acknowledged"] = load_le64(buf, fields + 32)
    record["position"] = load_le64(buf, fields + 40)
    record["behind_until"] = load_le64(buf, fields + 48)
    record["disk_alarm"] = load_le64(buf, fields + 56)
    return 0


def newest_mark(log: Log, buf: Any) -> Any:
    """The newest of the copies in a mark's file, MARK[1]. Raises Damage when there is none that can be read."""
    newest = None
    damage = Damage("mark", 0, 0, LogDamage.INCOMPLETE)
    for at in range(0, min(len(buf), COPIES * MARK_BYTES) // MARK_BYTES * MARK_BYTES, MARK_BYTES):
        mark = new_mark()
        code = read_mark(log, mark, buf, at)
        if code in (FOREIGN, NEWER_FORMAT):
            raise Damage("mark", 0, at, code)
        if code < 0:
            damage = Damage("mark", 0, at, code)
        elif newest is None or mark[0]["sequence"] > newest[0]["sequence"]:
            newest = mark
    if newest is None:
        raise damage
    return newest
