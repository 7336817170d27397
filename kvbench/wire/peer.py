"""Frames between members of the built-in store: one stream of them each way.

A frame is a header of HEADER_BYTES (u32 bytes of the whole frame, u32 CRC32C of everything but itself, u8 kind, u8
position of the sender, u16 0, u32 0) and a body of int64 numbers with, in some kinds, bytes behind them. All
little-endian. The first frame each way on a connection is HELLO.

Writers return the position behind the frame and check no room: a frame has FRAME_BYTES_MIN bytes at most, and what it
carries. ``frame_size`` finds a frame's end, ``open_frame`` checks it as a whole, and after that its parts can be read
without further checks.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from kvbench.jit import kernel
from kvbench.rt.buffer import copy, load_le32, load_le64, store_le32, store_le64
from kvbench.rt.crc32c import crc32c


class PeerError(IntEnum):
    """Why bytes are not a frame, or a frame not one for this member."""

    FRAME_TOO_SHORT = -900
    """A frame's length is below that of its header."""
    FRAME_TOO_LARGE = -901
    """A frame's length is beyond the limit given."""
    CHECKSUM = -902
    """The bytes are not those that were sent."""
    UNKNOWN_KIND = -903
    """A kind that this version does not know."""
    BODY_SIZE = -904
    """A body that is shorter or longer than its kind allows."""
    ENTRIES = -905
    """A message's entries or runs of terms do not fit each other or the frame."""
    NOT_HELLO = -906
    """Something else came before HELLO."""
    OTHER_FORMAT = -907
    """The sender speaks another version of this format."""
    OTHER_CLUSTER = -908
    """The sender belongs to another cluster, or to one of another size."""
    NOT_A_MEMBER = -909
    """The sender's position is that of no other member, or the frame is meant for another one."""


class Frame(IntEnum):
    """What a frame carries."""

    HELLO = 1
    """Who speaks to whom: HELLO_FORMAT, HELLO_CLUSTER, HELLO_MEMBERS, HELLO_BOOT, HELLO_TO."""
    MESSAGE = 2
    """A message of ``raft``, an APPEND with its entries."""
    FORWARD = 3
    """A client's write for the leader: FORWARD_KIND (EntryKind), FORWARD_BOOT, FORWARD_REQUEST, FORWARD_TERM; bytes."""
    FORWARD_REFUSED = 4
    """The leader did not propose it: REFUSED_BOOT, REFUSED_REQUEST, REFUSED_CODE (StoreError)."""
    LEASE_ASK = 5
    """Keep a lease alive, or how long does it live: ASK_METHOD, ASK_BOOT, ASK_REQUEST, ASK_TERM, ASK_LEASE."""
    LEASE_ANSWER = 6
    """ANSWER_BOOT, ANSWER_REQUEST, ANSWER_CODE, ANSWER_TTL_S (-1: no such lease), ANSWER_INDEX (as of which entry)."""
    SNAPSHOT_CHUNK = 7
    """A piece of a snapshot's file: CHUNK_RAFT_TERM, CHUNK_INDEX, CHUNK_TERM, CHUNK_FILE_BYTES, CHUNK_OFFSET; bytes."""
    SNAPSHOT_WANTED = 8
    """Its answer: WANTED_INDEX, WANTED_OFFSET (what should come next; the file's size: all is there; -1: give up)."""


FORMAT = 1
HEADER_BYTES = 16
FRAME_BYTES_MIN = 512
"""More than any frame has beside the entries, request or piece that it carries."""
KINDS = len(Frame)

HELLO, MESSAGE, FORWARD, FORWARD_REFUSED = 1, 2, 3, 4
LEASE_ASK, LEASE_ANSWER, SNAPSHOT_CHUNK, SNAPSHOT_WANTED = 5, 6, 7, 8

HELLO_FORMAT, HELLO_CLUSTER, HELLO_MEMBERS, HELLO_BOOT, HELLO_TO = 0, 1, 2, 3, 4
FORWARD_KIND, FORWARD_BOOT, FORWARD_REQUEST, FORWARD_TERM, FORWARD_NUMBERS = 0, 1, 2, 3, 4
REFUSED_BOOT, REFUSED_REQUEST, REFUSED_CODE = 0, 1, 2
ASK_METHOD, ASK_BOOT, ASK_REQUEST, ASK_TERM, ASK_LEASE = 0, 1, 2, 3, 4
ANSWER_BOOT, ANSWER_REQUEST, ANSWER_CODE, ANSWER_TTL_S, ANSWER_INDEX = 0, 1, 2, 3, 4
CHUNK_RAFT_TERM, CHUNK_INDEX, CHUNK_TERM, CHUNK_FILE_BYTES, CHUNK_OFFSET, CHUNK_NUMBERS = 0, 1, 2, 3, 4, 5
WANTED_INDEX, WANTED_OFFSET = 0, 1

MESSAGE_NUMBERS = 15
"""Numbers of a MESSAGE before its runs of terms; see ``put_message``."""
RUNS_MAX = 8
"""Most runs of terms in a message (raft.records.RUNS_IN_MESSAGE)."""
ENTRY_HEADER_BYTES = 4
"""Before each entry of a message: u32 bytes of the entry."""

_NUMBERS = np.array([0, 5, MESSAGE_NUMBERS, FORWARD_NUMBERS, 3, 5, 5, CHUNK_NUMBERS, 2], np.int64)
"""int64[kind]: numbers at the beginning of the body."""
_CARRIES = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0], np.int64)
"""int64[kind]: 1 when bytes may follow them."""

FRAME_TOO_SHORT, FRAME_TOO_LARGE = int(PeerError.FRAME_TOO_SHORT), int(PeerError.FRAME_TOO_LARGE)
CHECKSUM, UNKNOWN_KIND = int(PeerError.CHECKSUM), int(PeerError.UNKNOWN_KIND)
BODY_SIZE, ENTRIES, NOT_HELLO = int(PeerError.BODY_SIZE), int(PeerError.ENTRIES), int(PeerError.NOT_HELLO)
OTHER_FORMAT, OTHER_CLUSTER = int(PeerError.OTHER_FORMAT), int(PeerError.OTHER_CLUSTER)
NOT_A_MEMBER = int(PeerError.NOT_A_MEMBER)


@kernel
def number(buf: Any, at: int, position: int) -> int:
    """A number of the frame at ``at``, by its position in the body."""
    return load_le64(buf, at + HEADER_BYTES + 8 * position)


@kernel
def put_number(buf: Any, at: int, position: int, value: int) -> None:
    """Write a number of the frame at ``at``."""
    store_le64(buf, at + HEADER_BYTES + 8 * position, value)


@kernel
def bytes_at(at: int, numbers: int) -> int:
    """Where the bytes behind a body's numbers begin."""
    return at + HEADER_BYTES + 8 * numbers


@kernel
def kind_of(buf: Any, at: int) -> int:
    """Frame."""
    return int(buf[at + 8])


@kernel
def sender_of(buf: Any, at: int) -> int:
    """Position of the member that sent the frame."""
    return int(buf[at + 9])


@kernel
def checksum(buf: Any, at: int, end: int) -> int:
    """Of a frame: its length, and all behind the checksum's place."""
    return crc32c(buf, at + 8, end - at - 8, crc32c(buf, at, 4, 0))


@kernel
def seal(buf: Any, at: int, end: int, kind: int, sender: int) -> int:
    """Write the header of a frame whose body is there. Returns ``end``."""
    store_le32(buf, at, end - at)
    store_le64(buf, at + 8, kind | sender << 8)
    store_le32(buf, at + 4, checksum(buf, at, end))
    return end


@kernel
def frame_size(buf: Any, at: int, end: int, limit: int) -> int:
    """Bytes of the frame at ``at``, 0 when it is not whole yet, or a PeerError; ``limit`` is the most it may have."""
    if end - at < 4:
        return 0
    size = load_le32(buf, at)
    if size < HEADER_BYTES:
        return FRAME_TOO_SHORT
    if size > limit:
        return FRAME_TOO_LARGE
    return size if size <= end - at else 0


@kernel
def open_frame(buf: Any, at: int, end: int) -> int:
    """Check the whole frame ``buf[at:end]``. Returns its kind, or a PeerError."""
    if end - at < HEADER_BYTES or load_le32(buf, at) != end - at:
        return FRAME_TOO_SHORT
    if load_le32(buf, at + 4) != checksum(buf, at, end):
        return CHECKSUM
    kind = kind_of(buf, at)
    if kind < 1 or kind > KINDS:
        return UNKNOWN_KIND
    extra = end - bytes_at(at, int(_NUMBERS[kind]))
    if extra < 0 or (extra > 0 and _CARRIES[kind] == 0):
        return BODY_SIZE
    return kind


@kernel
def write_hello(buf: Any, at: int, sender: int, to: int, cluster_id: int, members: int, boot: int) -> int:
    """Who speaks to whom."""
    put_number(buf, at, HELLO_FORMAT, FORMAT)
    put_number(buf, at, HELLO_CLUSTER, cluster_id)
    put_number(buf, at, HELLO_MEMBERS, members)
    put_number(buf, at, HELLO_BOOT, boot)
    put_number(buf, at, HELLO_TO, to)
    return seal(buf, at, bytes_at(at, 5), HELLO, sender)


@kernel
def read_hello(buf: Any, at: int, end: int, member: int, cluster_id: int, members: int) -> int:
    """The sender's position when the frame is the HELLO of another member of this one's cluster, or a PeerError."""
    kind = open_frame(buf, at, end)
    if kind < 0:
        return kind
    if kind != HELLO:
        return NOT_HELLO
    if number(buf, at, HELLO_FORMAT) != FORMAT:
        return OTHER_FORMAT
    if number(buf, at, HELLO_CLUSTER) != cluster_id or number(buf, at, HELLO_MEMBERS) != members:
        return OTHER_CLUSTER
    sender = sender_of(buf, at)
    known = sender < members and sender != member and number(buf, at, HELLO_TO) == member
    return sender if known else NOT_A_MEMBER


@kernel
def put_message(buf: Any, at: int, message: Any) -> int:
    """Write the numbers of a ``raft`` MESSAGE into the frame at ``at``. Returns where its entries' bytes begin.

    The entries follow (``put_entry``), and ``seal``.
    """
    put_number(buf, at, 0, int(message["kind"]))
    put_number(buf, at, 1, int(message["to"]))
    put_number(buf, at, 2, int(message["term"]))
    put_number(buf, at, 3, int(message["boot"]))
    put_number(buf, at, 4, int(message["index"]))
    put_number(buf, at, 5, int(message["log_term"]))
    put_number(buf, at, 6, int(message["commit"]))
    put_number(buf, at, 7, int(message["reject"]))
    put_number(buf, at, 8, int(message["hint_index"]))
    put_number(buf, at, 9, int(message["hint_term"]))
    put_number(buf, at, 10, int(message["context"]))
    put_number(buf, at, 11, int(message["first"]))
    put_number(buf, at, 12, int(message["last"]))
    put_number(buf, at, 13, int(message["bytes"]))
    runs = int(message["run_count"])
    put_number(buf, at, 14, runs)
    for run in range(runs):
        put_number(buf, at, MESSAGE_NUMBERS + 2 * run, int(message["runs"][run]["index"]))
        put_number(buf, at, MESSAGE_NUMBERS + 2 * run + 1, int(message["runs"][run]["term"]))
    return bytes_at(at, MESSAGE_NUMBERS + 2 * runs)


@kernel
def put_entry(buf: Any, to: int, source: Any, start: int, size: int) -> int:
    """Write an entry of a message at ``to``. Returns the position behind it."""
    store_le32(buf, to, size)
    copy(buf, to + ENTRY_HEADER_BYTES, source, start, size)
    return to + ENTRY_HEADER_BYTES + size


@kernel
def read_message(buf: Any, at: int, end: int, message: Any) -> int:
    """Read the MESSAGE frame ``buf[at:end]`` that ``open_frame`` took. Returns where its entries begin, or ENTRIES.

    Entries first .. last (none when there are no runs) then are there, each a u32 length and as many bytes.
    """
    message["kind"] = number(buf, at, 0)
    message["sender"] = sender_of(buf, at)
    message["to"] = number(buf, at, 1)
    message["term"] = number(buf, at, 2)
    message["boot"] = number(buf, at, 3)
    message["hard_state"] = 0
    message["index"] = number(buf, at, 4)
    message["log_term"] = number(buf, at, 5)
    message["commit"] = number(buf, at, 6)
    message["reject"] = number(buf, at, 7)
    message["hint_index"] = number(buf, at, 8)
    message["hint_term"] = number(buf, at, 9)
    message["context"] = number(buf, at, 10)
    message["first"] = number(buf, at, 11)
    message["last"] = number(buf, at, 12)
    message["bytes"] = number(buf, at, 13)
    runs = number(buf, at, 14)
    if runs < 0 or runs > RUNS_MAX or bytes_at(at, MESSAGE_NUMBERS + 2 * runs) > end:
        return ENTRIES
    message["run_count"] = runs
    for run in range(runs):
        message["runs"][run]["index"] = number(buf, at, MESSAGE_NUMBERS + 2 * run)
        message["runs"][run]["term"] = number(buf, at, MESSAGE_NUMBERS + 2 * run + 1)
    start = bytes_at(at, MESSAGE_NUMBERS + 2 * runs)
    return start if entries_fit(buf, start, end, message) else ENTRIES


@kernel
def entries_fit(buf: Any, at: int, end: int, message: Any) -> bool:
    """Whether ``buf[at:end]`` is exactly the entries first .. last of ``message``, and its runs cover them in order."""
    first, last, runs = int(message["first"]), int(message["last"]), int(message["run_count"])
    if runs == 0:
        return at == end
    left = last - first + 1
    if left <= 0 or int(message["runs"][0]["index"]) != first:
        return False
    for run in range(1, runs):
        index = int(message["runs"][run]["index"])
        if index <= int(message["runs"][run - 1]["index"]) or index > last:
            return False
    while left > 0:
        if end - at < ENTRY_HEADER_BYTES:
            return False
        at += ENTRY_HEADER_BYTES + load_le32(buf, at)
        if at > end:
            return False
        left -= 1
    return at == end


@kernel
def write_forward(
    buf: Any, at: int, sender: int, kind: int, boot: int, request: int, term: int, source: Any, start: int, size: int
) -> int:
    """A client's write, for the leader of ``term``."""
    put_number(buf, at, FORWARD_KIND, kind)
    put_number(buf, at, FORWARD_BOOT, boot)
    put_number(buf, at, FORWARD_REQUEST, request)
    put_number(buf, at, FORWARD_TERM, term)
    to = bytes_at(at, FORWARD_NUMBERS)
    copy(buf, to, source, start, size)
    return seal(buf, at, to + size, FORWARD, sender)


@kernel
def write_refused(buf: Any, at: int, sender: int, boot: int, request: int, code: int) -> int:
    """The leader did not propose a FORWARD."""
    put_number(buf, at, REFUSED_BOOT, boot)
    put_number(buf, at, REFUSED_REQUEST, request)
    put_number(buf, at, REFUSED_CODE, code)
    return seal(buf, at, bytes_at(at, 3), FORWARD_REFUSED, sender)


@kernel
def write_ask(buf: Any, at: int, sender: int, method: int, boot: int, request: int, term: int, lease_id: int) -> int:
    """A question about a lease, for the leader of ``term``."""
    put_number(buf, at, ASK_METHOD, method)
    put_number(buf, at, ASK_BOOT, boot)
    put_number(buf, at, ASK_REQUEST, request)
    put_number(buf, at, ASK_TERM, term)
    put_number(buf, at, ASK_LEASE, lease_id)
    return seal(buf, at, bytes_at(at, 5), LEASE_ASK, sender)


@kernel
def write_answer(buf: Any, at: int, sender: int, boot: int, request: int, code: int, ttl_s: int, index: int) -> int:
    """The answer to a LEASE_ASK."""
    put_number(buf, at, ANSWER_BOOT, boot)
    put_number(buf, at, ANSWER_REQUEST, request)
    put_number(buf, at, ANSWER_CODE, code)
    put_number(buf, at, ANSWER_TTL_S, ttl_s)
    put_number(buf, at, ANSWER_INDEX, index)
    return seal(buf, at, bytes_at(at, 5), LEASE_ANSWER, sender)


@kernel
def write_chunk(
    buf: Any,
    at: int,
    sender: int,
    raft_term: int,
    index: int,
    term: int,
    file_bytes: int,
    offset: int,
    source: Any,
    start: int,
    size: int,
) -> int:
    """A piece of the file of the snapshot at (index, term)."""
    put_number(buf, at, CHUNK_RAFT_TERM, raft_term)
    put_number(buf, at, CHUNK_INDEX, index)
    put_number(buf, at, CHUNK_TERM, term)
    put_number(buf, at, CHUNK_FILE_BYTES, file_bytes)
    put_number(buf, at, CHUNK_OFFSET, offset)
    to = bytes_at(at, CHUNK_NUMBERS)
    copy(buf, to, source, start, size)
    return seal(buf, at, to + size, SNAPSHOT_CHUNK, sender)


@kernel
def write_wanted(buf: Any, at: int, sender: int, index: int, offset: int) -> int:
    """What the receiver of a snapshot wants next."""
    put_number(buf, at, WANTED_INDEX, index)
    put_number(buf, at, WANTED_OFFSET, offset)
    return seal(buf, at, bytes_at(at, 2), SNAPSHOT_WANTED, sender)
