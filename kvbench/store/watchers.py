"""Watchers and where they wait: asleep when they have had everything, late when they are to be asked, taken when the
server is asking them.

Sleepers are listed at their subject, in order of the revision up to which they have everything. So whoever misses
something is always at the front of a list.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.rng import mix
from kvbench.store import history, subjects
from kvbench.store.records import NONE

ASLEEP, LATE, TAKEN = 0, 1, 2
"""States of a watcher."""
QUEUES = 2


@kernel
def _link_last(store: Any, watcher: int, last: int) -> None:
    """Put a watcher behind ``last`` (NONE: it is the only one of its list)."""
    watchers = store.watchers
    watchers[watcher]["before"] = last
    watchers[watcher]["next"] = NONE
    if last != NONE:
        watchers[last]["next"] = watcher


@kernel
def sleep(store: Any, watcher: int) -> None:
    """A watcher has had everything up to the current revision."""
    state, record = store.state[0], store.watchers[watcher]
    record["state"] = ASLEEP
    record["synced"] = 1
    record["next_revision"] = state["revision"] + 1
    record["position"] = NONE
    record["skip"] = 0
    subject = store.subjects[record["subject"]]
    _link_last(store, watcher, int(subject["last"]))
    if subject["first"] == NONE:
        subject["first"] = watcher
    subject["last"] = watcher


@kernel
def be_late(store: Any, watcher: int) -> None:
    """A watcher, in no list, is to be asked."""
    state = store.state[0]
    store.watchers[watcher]["state"] = LATE
    _link_last(store, watcher, int(state["late_last"]))
    if state["late_first"] == NONE:
        state["late_first"] = watcher
    state["late_last"] = watcher


@kernel
def unlink(store: Any, watcher: int) -> None:
    """Take a watcher out of the list that it is in, if any; it counts as taken then."""
    state, watchers = store.state[0], store.watchers
    record = watchers[watcher]
    if record["state"] == TAKEN:
        return
    before, following = int(record["before"]), int(record["next"])
    if before != NONE:
        watchers[before]["next"] = following
    if following != NONE:
        watchers[following]["before"] = before
    if record["state"] == LATE:
        if before == NONE:
            state["late_first"] = following
        if following == NONE:
            state["late_last"] = before
    else:
        subject = store.subjects[record["subject"]]
        if before == NONE:
            subject["first"] = following
        if following == NONE:
            subject["last"] = before
    record["state"] = TAKEN


@kernel
def has_all(store: Any, watcher: int) -> bool:
    """Whether a watcher is asleep and, as far as is known without looking, misses nothing."""
    record = store.watchers[watcher]
    if record["state"] != ASLEEP:
        return False
    return bool(store.subjects[record["subject"]]["last_revision"] < record["next_revision"])


@kernel
def take_pending(store: Any) -> int:
    """A watcher that misses something, or may do so; NONE when there is none. It is the caller's until it sleeps."""
    state = store.state[0]
    if state["loading"] == 1:
        return NONE
    for _ in range(QUEUES):
        turn = int(state["turn"])
        state["turn"] = (turn + 1) % QUEUES
        watcher = first_pending(store, turn)
        if watcher != NONE:
            unlink(store, watcher)
            return watcher
    return NONE


@kernel
def is_any_waiting_for(store: Any, revision: int) -> bool:
    """Whether the next watcher that ``take_pending`` would name may miss an event at or before a revision."""
    state = store.state[0]
    if _first_of_subjects(store) != NONE and store.subjects[state["subject_first"]]["burst_revision"] <= revision:
        return True
    late = int(state["late_first"])
    return late != NONE and bool(store.watchers[late]["next_revision"] <= revision)


@kernel
def settle(store: Any, watcher: int) -> bool:
    """Put a watcher that was taken to sleep if it is plain, without looking at events, that it has had everything."""
    state, record = store.state[0], store.watchers[watcher]
    if record["state"] != TAKEN or record["doomed"] == 1 or record["owes_progress"] == 1 or state["loading"] == 1:
        return False
    if record["position"] == NONE:
        has_all = bool(store.subjects[record["subject"]]["last_revision"] < record["next_revision"])
    else:
        has_all = bool(record["position"] == state["end"])
    if has_all:
        sleep(store, watcher)
    return has_all


@kernel
def first_pending(store: Any, queue: int) -> int:
    """The first of those that are to be asked: (0) woken by an event, (1) late. NONE: there is none."""
    return _first_of_subjects(store) if queue == 0 else int(store.state[0]["late_first"])


@kernel
def _first_of_subjects(store: Any) -> int:
    """The first sleeper that misses an event of its subject."""
    state = store.state[0]
    while state["subject_first"] != NONE:
        subject = store.subjects[state["subject_first"]]
        watcher = int(subject["first"])
        if watcher != NONE:
            record = store.watchers[watcher]
            if record["next_revision"] <= subject["last_revision"]:
                # It slept all the way up to this burst of events, however long ago it fell asleep.
                record["next_revision"] = max(int(record["next_revision"]), int(subject["burst_revision"]))
                return watcher
        subjects.leave_queue(store)
    return NONE


# -- by stream and id -------------------------------------------------------------------------------------------------


@kernel
def _bucket(store: Any, stream: int, watch_id: int) -> int:
    return mix(watch_id, stream) & len(store.watchers) - 1


@kernel
def find(store: Any, stream: int, watch_id: int) -> int:
    """The watcher of a stream with an id, NONE when there is none."""
    watchers = store.watchers
    watcher = int(watchers[_bucket(store, stream, watch_id)]["bucket"]) - 1
    while watcher >= 0 and (watchers[watcher]["stream"] != stream or watchers[watcher]["watch_id"] != watch_id):
        watcher = int(watchers[watcher]["id_next"])
    return watcher if watcher >= 0 else NONE


@kernel
def enter(store: Any, stream: int, watch_id: int) -> int:
    """A new watcher of a stream, in no list yet, its other fields undefined; NONE when there is no place for one."""
    state, watchers = store.state[0], store.watchers
    watcher = int(state["watcher_free"])
    if watcher != NONE:
        state["watcher_free"] = watchers[watcher]["next"]
    else:
        watcher = int(state["watcher_top"])
        if watcher == len(watchers):
            return NONE
        state["watcher_top"] = watcher + 1
    record, head, owner = watchers[watcher], watchers[_bucket(store, stream, watch_id)], store.streams[stream]
    record["stream"] = stream
    record["watch_id"] = watch_id
    record["state"] = TAKEN
    record["owes_progress"] = 0
    record["id_next"] = head["bucket"] - 1
    head["bucket"] = watcher + 1
    record["stream_before"] = NONE
    record["stream_next"] = owner["first"]
    if owner["first"] != NONE:
        watchers[owner["first"]]["stream_before"] = watcher
    owner["first"] = watcher
    state["watchers"] += 1
    return watcher


@kernel
def free(store: Any, watcher: int) -> None:
    """A watcher is over."""
    record = store.watchers[watcher]
    unlink(store, watcher)
    owner = store.streams[record["stream"]]
    subjects.part(store, int(record["subject"]))
    remove(store, watcher)
    if record["owes_progress"] == 1:
        _pass_on_progress(store, owner)


@kernel
def remove(store: Any, watcher: int) -> None:
    """Take a watcher, which is in no list and has no keys, out of its stream, and give its place back."""
    state, watchers = store.state[0], store.watchers
    record = watchers[watcher]
    stream = int(record["stream"])
    owner = store.streams[stream]
    head = watchers[_bucket(store, stream, int(record["watch_id"]))]
    if head["bucket"] - 1 == watcher:
        head["bucket"] = record["id_next"] + 1
    else:
        other = int(head["bucket"]) - 1
        while watchers[other]["id_next"] != watcher:
            other = int(watchers[other]["id_next"])
        watchers[other]["id_next"] = record["id_next"]
    before, following = int(record["stream_before"]), int(record["stream_next"])
    if before != NONE:
        watchers[before]["stream_next"] = following
    else:
        owner["first"] = following
    if following != NONE:
        watchers[following]["stream_before"] = before
    record["stream"] = NONE
    record["next"] = state["watcher_free"]
    state["watcher_free"] = watcher
    state["watchers"] -= 1


@kernel
def _pass_on_progress(store: Any, owner: Any) -> None:
    """A watcher that a progress answer waited for is gone: if it was the last one, another one is to give it."""
    owner["waiting"] -= 1
    other = int(owner["first"])
    if owner["waiting"] > 0 or other == NONE:
        return
    owner["waiting"] = 1
    store.watchers[other]["owes_progress"] = 1
    if store.watchers[other]["state"] == ASLEEP:
        unlink(store, other)
        be_late(store, other)


# -- another state ----------------------------------------------------------------------------------------------------


@kernel
def note_progress(store: Any) -> None:
    """The data is about to be replaced: all note how far they are."""
    state = store.state[0]
    for watcher in range(state["watcher_top"]):
        record = store.watchers[watcher]
        if record["stream"] == NONE:
            continue
        if record["state"] == ASLEEP:
            subject = store.subjects[record["subject"]]
            if subject["last_revision"] < record["next_revision"]:
                record["next_revision"] = state["revision"] + 1
            else:
                record["next_revision"] = max(int(record["next_revision"]), int(subject["burst_revision"]))
        elif record["position"] != NONE:
            begin = history.find_revision(store, int(record["next_revision"]))
            record["skip"] = max(int(record["position"]) - begin, 0)
        record["position"] = NONE
        if record["state"] == ASLEEP:
            unlink(store, watcher)
            be_late(store, watcher)
    while state["subject_first"] != NONE:
        subjects.leave_queue(store)


@kernel
def look_again(store: Any) -> None:
    """The data was replaced: find out when what is watched changed last."""
    for watcher in range(store.state[0]["watcher_top"]):
        record = store.watchers[watcher]
        if record["stream"] != NONE:
            subjects.set_last_revision(store, int(record["subject"]))
