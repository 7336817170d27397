"""Ranges: which keys a request means, what of them it wants, and the RangeResponse.

What is asked stands in QUERY; the versions found are listed in ``found``. Order of work as in etcd (txn/range.go):
at most ``limit`` + 1 are taken in order of keys unless something is to be sorted or filtered, then come the filters by
revision, the sorting, and the cut to ``limit``. ``count`` is of all keys in the range, whatever the filters.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.rt.buffer import compare
from kvbench.store import changes, sorting, tree
from kvbench.store.key_values import (
    KEYS_AND_LEASES,
    KEYS_ONLY,
    header_bytes,
    key_value_bytes,
    visible,
    write_header,
    write_inner_header,
    write_key_value,
)
from kvbench.store.layout import FROM, ONE_KEY, UP_TO, create_of, mod_of, reference_at
from kvbench.store.records import NO_ROOM
from kvbench.wire.etcd_requests import RANGE_BYTES, RANGE_NUMBERS
from kvbench.wire.protobuf import (
    ENDS,
    STARTS,
    message_field_bytes,
    read_message,
    varint_field_bytes,
    write_length,
    write_varint_field,
)

BAD_REQUEST = int(StoreError.BAD_REQUEST)
COMPACTED = int(StoreError.COMPACTED)
FUTURE_REVISION = int(StoreError.FUTURE_REVISION)

NO_ORDER, ASCEND, DESCEND = 0, 1, 2
BY_KEY, BY_VALUE = 0, 4
KVS, MORE, COUNT = 2, 3, 4
"""Field numbers of RangeResponse."""


@kernel
def set_extent(query: Any, buf: Any, key_at: int, key_end: int, end_at: int, end_end: int) -> None:
    """Note a key, or a range of them: an empty end means the key alone, one zero byte all keys from the key on."""
    query["key_at"] = key_at
    query["key_bytes"] = key_end - key_at
    query["end_at"] = end_at
    query["end_bytes"] = end_end - end_at
    if end_end == end_at:
        query["extent"] = ONE_KEY
    elif end_end - end_at == 1 and buf[end_at] == 0:
        query["extent"] = FROM
    else:
        query["extent"] = UP_TO


@kernel
def read_query(store: Any, buf: Any, at: int, end: int) -> int:
    """Read the RangeRequest ``buf[at:end]`` into QUERY. Returns 0 or BAD_REQUEST."""
    query, fields = store.query[0], store.state[0]["fields"]
    if read_message(buf, at, end, RANGE_NUMBERS, RANGE_BYTES, fields) < 0:
        return BAD_REQUEST
    set_extent(query, buf, fields[STARTS + 1], fields[ENDS + 1], fields[STARTS + 2], fields[ENDS + 2])
    query["limit"] = fields[3]
    query["revision"] = fields[4]
    query["sort_order"] = fields[5]
    query["sort_target"] = fields[6]
    query["serializable"] = fields[7]
    # etcd 3.7 gives no lease with keys alone, unless it had to look at the values.
    query["keys_only"] = KEYS_ONLY if fields[8] != 0 else 0
    if fields[8] != 0 and fields[6] == BY_VALUE:
        query["keys_only"] = KEYS_AND_LEASES
    query["count_only"] = 1 if fields[9] != 0 else 0
    query["min_mod"] = fields[10]
    query["max_mod"] = fields[11]
    query["min_create"] = fields[12]
    query["max_create"] = fields[13]
    return 0


@kernel
def check_revision(store: Any, revision: int) -> int:
    """0, or why nothing can be read at a revision; 0 and less mean the current one."""
    state = store.state[0]
    if revision > state["now"]:
        return FUTURE_REVISION
    return COMPACTED if revision > 0 and revision < state["compacted"] else 0


@kernel
def is_empty_range(query: Any, buf: Any) -> bool:
    """Whether a range's end is not behind its key."""
    end_at, end_bytes = int(query["end_at"]), int(query["end_bytes"])
    return compare(buf, int(query["key_at"]), int(query["key_bytes"]), buf, end_at, end_bytes) >= 0


@kernel
def end_place(store: Any, buf: Any) -> tuple[int, int]:
    """Leaf and position of the first key behind QUERY's range; (0, 0): the range goes on to the last key."""
    query = store.query[0]
    if query["extent"] == FROM:
        return 0, 0
    leaf, place = tree.seek(store, buf, int(query["end_at"]), int(query["end_bytes"]))
    return leaf, place


@kernel
def collect(store: Any, buf: Any, revision: int, most: int) -> None:
    """List the versions that a read at ``revision`` sees of QUERY's keys: the first ``most`` of them; count all."""
    query = store.query[0]
    key_at, key_bytes = int(query["key_at"]), int(query["key_bytes"])
    query["found"] = 0
    query["count"] = 0
    if query["extent"] == ONE_KEY:
        key = changes.find_key(store, buf, key_at, key_bytes)
        version = 0 if key == 0 else visible(store, key, revision)
        if version != 0:
            store.found[0] = version
            query["found"] = min(1, most)
            query["count"] = 1
        return
    if query["extent"] == UP_TO and is_empty_range(query, buf):
        return
    last_leaf, last_place = end_place(store, buf)
    leaf, place = tree.seek(store, buf, key_at, key_bytes)
    found = count = 0
    while leaf != 0:
        keys = last_place if leaf == last_leaf else tree.word(store.arena, leaf, 0)
        for position in range(place, keys):
            version = visible(store, tree.word(store.arena, leaf, tree.HEAD + position), revision)
            if version != 0:
                if found < most:
                    store.found[found] = version
                    found += 1
                count += 1
        place = 0
        leaf = 0 if leaf == last_leaf else tree.word(store.arena, leaf, 1)
    query["found"] = found
    query["count"] = count


@kernel
def _filter(store: Any) -> None:
    """Drop from ``found`` what QUERY's bounds of revisions exclude; a bound of 0 is none."""
    query, arena, found = store.query[0], store.arena, store.found
    min_mod, max_mod = int(query["min_mod"]), int(query["max_mod"])
    min_create, max_create = int(query["min_create"]), int(query["max_create"])
    kept = 0
    for position in range(query["found"]):
        version = reference_at(found, position)
        mod, create = mod_of(arena, version), create_of(arena, version)
        if (max_mod != 0 and mod > max_mod) or (min_mod != 0 and mod < min_mod):
            continue
        if (max_create != 0 and create > max_create) or (min_create != 0 and create < min_create):
            continue
        found[kept] = version
        kept += 1
    query["found"] = kept


@kernel
def run(store: Any, buf: Any) -> int:
    """Do what QUERY asks: ``found``, ``count`` and ``more`` are the answer. Returns 0 or a StoreError."""
    query = store.query[0]
    revision = int(query["revision"])
    code = check_revision(store, revision)
    if code < 0:
        return code
    if revision <= 0:
        revision = int(store.state[0]["now"])
    order, target, limit = int(query["sort_order"]), int(query["sort_target"]), int(query["limit"])
    bounds = query["min_mod"] != 0 or query["max_mod"] != 0 or query["min_create"] != 0 or query["max_create"] != 0
    in_key_order = order == NO_ORDER or (order == ASCEND and target == BY_KEY)
    most = len(store.found) >> 1
    if limit > 0 and limit < most and in_key_order and not bounds:
        most = limit + 1
    if query["count_only"] == 1:
        most = 0
    collect(store, buf, revision, most)
    if bounds:
        _filter(store)
    if order == DESCEND or target != BY_KEY:
        sorting.sort(store, int(query["found"]), target, order == DESCEND)
    query["more"] = 0
    if limit > 0 and query["found"] > limit:
        query["found"] = limit
        query["more"] = 1
    return 0


@kernel
def response_bytes(store: Any) -> int:
    """Length of the RangeResponse of what ``run`` found, without its header."""
    query, arena = store.query[0], store.arena
    keys_only = int(query["keys_only"])
    size = varint_field_bytes(int(query["more"])) + varint_field_bytes(int(query["count"]))
    for position in range(query["found"]):
        size += message_field_bytes(key_value_bytes(arena, reference_at(store.found, position), keys_only))
    return size


@kernel
def write_response(store: Any, out: Any, to: int, limit: int, inner: bool) -> int:
    """The RangeResponse of what ``run`` found, with a full header or an inner one. Returns its end, or NO_ROOM."""
    query, arena, state = store.query[0], store.arena, store.state[0]
    keys_only, now = int(query["keys_only"]), int(state["now"])
    size = response_bytes(store) + header_bytes(store, now)
    if size > limit - to:
        state["wanted_bytes"] = size
        return NO_ROOM
    to = write_inner_header(out, to, now) if inner else write_header(store, out, to, now)
    for position in range(query["found"]):
        version = reference_at(store.found, position)
        to = write_length(out, to, KVS, key_value_bytes(arena, version, keys_only))
        to = write_key_value(arena, version, keys_only, out, to)
    to = write_varint_field(out, to, MORE, int(query["more"]))
    return write_varint_field(out, to, COUNT, int(query["count"]))
