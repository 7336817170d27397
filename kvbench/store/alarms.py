"""Alarms that members raised: part of the replicated state, as in etcd."""

from typing import Any

from kvbench.jit import kernel
from kvbench.ops.status import StoreError
from kvbench.store.key_values import write_header
from kvbench.store.records import ALARMS_MAX, NO_ROOM, NONE
from kvbench.wire.protobuf import read_message, varint_field_bytes, write_length, write_varint_field

BAD_REQUEST = int(StoreError.BAD_REQUEST)

GET, ACTIVATE, DEACTIVATE = 0, 1, 2
"""Actions of an AlarmRequest."""
NOSPACE, CORRUPT = 1, 2
"""Kinds of alarm."""
ALARM_NUMBERS = 1 << 1 | 1 << 2 | 1 << 3
ALARMS = 2
"""Field of AlarmResponse."""
RESPONSE_BYTES_MAX = 64 + 24 * ALARMS_MAX


@kernel
def has_alarm(store: Any, kind: int) -> bool:
    """Whether any member has raised an alarm of a kind."""
    return bool(store.state[0]["alarms"] >> (kind - 1) & 1)


@kernel
def _find(store: Any, member: int, kind: int) -> int:
    """Place of an alarm, NONE when it is not raised."""
    for place in range(ALARMS_MAX):
        if store.alarms[place]["kind"] == kind and (kind == 0 or store.alarms[place]["member"] == member):
            return place
    return NONE


@kernel
def is_raised(store: Any, member: int, kind: int) -> bool:
    """Whether a member, by its id, has raised an alarm of a kind."""
    return _find(store, member, kind) != NONE


@kernel
def raise_alarm(store: Any, member: int, kind: int) -> None:
    """Note an alarm that is not raised yet."""
    place = _find(store, 0, 0)
    if place != NONE:
        store.alarms[place]["member"] = member
        store.alarms[place]["kind"] = kind
        store.state[0]["alarms"] |= 1 << (kind - 1)


@kernel
def _lift(store: Any, place: int) -> None:
    """An alarm is over."""
    store.alarms[place]["kind"] = 0
    bits = 0
    for other in range(ALARMS_MAX):
        if store.alarms[other]["kind"] != 0:
            bits |= 1 << (int(store.alarms[other]["kind"]) - 1)
    store.state[0]["alarms"] = bits


@kernel
def _write_alarm(out: Any, to: int, member: int, kind: int) -> int:
    to = write_length(out, to, ALARMS, varint_field_bytes(member) + varint_field_bytes(kind))
    return write_varint_field(out, write_varint_field(out, to, 1, member), 2, kind)


@kernel
def alarm(store: Any, buf: Any, at: int, end: int, out: Any, to: int, limit: int) -> int:
    """Do the AlarmRequest ``buf[at:end]``. Returns its response's end, NO_ROOM (it is done) or BAD_REQUEST.

    The response names what was asked for, raised or lifted; raising again what is raised names it too.
    """
    fields = store.state[0]["fields"]
    if read_message(buf, at, end, ALARM_NUMBERS, 0, fields) < 0:
        return BAD_REQUEST
    action, member, kind = int(fields[1]), int(fields[2]), int(fields[3])
    named = NOSPACE <= kind <= CORRUPT and (action == ACTIVATE or action == DEACTIVATE)
    place = _find(store, member, kind) if named else NONE
    if action == ACTIVATE and named and place == NONE:
        raise_alarm(store, member, kind)
        place = _find(store, member, kind)
    if action == DEACTIVATE and place != NONE:
        _lift(store, place)
    if limit - to < RESPONSE_BYTES_MAX:
        return NO_ROOM
    to = write_header(store, out, to, int(store.state[0]["now"]))
    if place != NONE:
        to = _write_alarm(out, to, member, kind)
    if action == GET:
        for other in range(ALARMS_MAX):
            found = int(store.alarms[other]["kind"])
            if found != 0 and (kind == 0 or kind == found):
                to = _write_alarm(out, to, int(store.alarms[other]["member"]), found)
    return to
