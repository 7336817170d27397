"""etcd's state machine the obvious way: lists of versions, recursion, protobuf messages in and out.

Written from etcd's documented and observed behaviour (3.7.3), not from kvbench.store.
"""

from dataclasses import dataclass, field
from typing import Any

from kvbench.ops.status import StoreError
from kvbench.wire.proto import messages

OPERATIONS_MAX = 128
TTL_MAX = 9_000_000_000


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, code: StoreError) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass
class Version:
    """A key as it is from a revision on; deleted: no ``value``."""

    mod: int
    create: int = 0
    number: int = 0
    value: bytes | None = None
    lease: int = 0


@dataclass
class Event:
    """A change."""

    key: bytes
    version: Version
    previous: Version | None
    """What the key was a revision earlier, None: it was not there."""


@dataclass
class Lease:
    """A lease."""

    ttl: int
    keys: set[bytes] = field(default_factory=set)


def covers(key: bytes, start: bytes, end: bytes) -> bool:
    """Whether a request's range holds a key."""
    if end == b"":
        return key == start
    return key >= start and (end == b"\0" or key < end)


class NaiveStore:
    """All keys with all their versions."""

    def __init__(self, cluster: int, member: int, term: int) -> None:
        self.identity = {"cluster_id": cluster, "member_id": member, "raft_term": term}
        self.revision = 1
        self.compacted = -1
        self.keys: dict[bytes, list[Version]] = {}
        self.events: list[Event] = []
        """All of them: compaction takes none from here."""
        self.leases: dict[int, Lease] = {}
        self.alarms: list[tuple[int, int]] = []
        self.ttl_min = 0
        self.changed = False

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """What a read within the request at hand calls the current revision."""
        return self.revision + 1 if self.changed else self.revision

    def header(self) -> messages.ResponseHeader:
        return messages.ResponseHeader(revision=self.now, **self.identity)

    def version_at(self, key: bytes, revision: int) -> Version | None:
        found = [version for version in self.keys.get(key, []) if version.mod <= revision]
        return found[-1] if found and found[-1].value is not None else None

    def key_value(self, key: bytes, version: Version, keys_only: bool = False, lease: bool = True) -> Any:
        return messages.KeyValue(
            key=key,
            create_revision=version.create,
            mod_revision=version.mod,
            version=version.number,
            value=b"" if keys_only else version.value or b"",
            lease=version.lease if lease else 0,
        )

    def select(self, start: bytes, end: bytes, revision: int) -> list[tuple[bytes, Version]]:
        keys = sorted(key for key in self.keys if covers(key, start, end))
        versions = ((key, self.version_at(key, revision)) for key in keys)
        return [(key, version) for key, version in versions if version is not None]

    def range(self, request: Any, header: Any) -> Any:
        revision = request.revision
        if revision > self.now:
            raise Refused(StoreError.FUTURE_REVISION)
        if 0 < revision < self.compacted:
            raise Refused(StoreError.COMPACTED)
        found = self.select(request.key, request.range_end, revision if revision > 0 else self.now)
        response = messages.RangeResponse(header=header, count=len(found))
        if request.count_only:
            return response
        order, target, limit = request.sort_order, request.sort_target, request.limit
        bounds = (request.min_mod_revision, request.max_mod_revision,
                  request.min_create_revision, request.max_create_revision)  # fmt: skip
        in_key_order = order == messages.RangeRequest.NONE or (order, target) == (1, messages.RangeRequest.KEY)
        if limit > 0 and in_key_order and not any(bounds):
            found = found[: limit + 1]
        found = [pair for pair in found if within(pair[1].mod, *bounds[:2]) and within(pair[1].create, *bounds[2:])]
        by: Any = [
            lambda pair: pair[0],
            lambda pair: pair[1].number,
            lambda pair: pair[1].create,
            lambda pair: pair[1].mod,
            lambda pair: pair[1].value,
        ]
        if order == messages.RangeRequest.DESCEND or target != messages.RangeRequest.KEY:
            descending = order == messages.RangeRequest.DESCEND
            # What is equal stays in the order of keys, also in descending order.
            found = sorted(found, key=by[target], reverse=descending)
        if 0 < limit < len(found):
            found = found[:limit]
            response.more = True
        lease = not request.keys_only or target == messages.RangeRequest.VALUE
        response.kvs.extend(self.key_value(key, version, request.keys_only, lease) for key, version in found)
        return response

    # -- writing ------------------------------------------------------------------------------------------------------

    def change(self, key: bytes, version: Version) -> None:
        old = self.version_at(key, self.now)
        if old is not None and old.lease:
            self.leases[old.lease].keys.discard(key)
        if version.lease:
            self.leases[version.lease].keys.add(key)
        self.keys.setdefault(key, []).append(version)
        self.events.append(Event(key, version, self.version_at(key, self.revision)))
        self.changed = True

    def check_put(self, request: Any) -> None:
        if request.lease and request.lease not in self.leases:
            raise Refused(StoreError.LEASE_NOT_FOUND)
        missing = self.version_at(request.key, self.now) is None
        if (request.ignore_value or request.ignore_lease) and missing:
            raise Refused(StoreError.KEY_NOT_FOUND)

    def put(self, request: Any) -> Any:
        old = self.version_at(request.key, self.now)
        value, lease = request.value, request.lease
        if old is not None and request.ignore_value:
            value = old.value
        if old is not None and request.ignore_lease:
            lease = old.lease
        mod = self.revision + 1
        create, number = (old.create, old.number + 1) if old is not None else (mod, 1)
        self.change(request.key, Version(mod, create, number, value, lease))
        response = messages.PutResponse()
        if request.prev_kv and old is not None:
            response.prev_kv.CopyFrom(self.key_value(request.key, old))
        return response

    def delete_range(self, request: Any) -> Any:
        found = self.select(request.key, request.range_end, self.now)
        for key, _ in found:
            self.change(key, Version(self.revision + 1))
        response = messages.DeleteRangeResponse(deleted=len(found))
        if request.prev_kv:
            response.prev_kvs.extend(self.key_value(key, version) for key, version in found)
        return response

    # -- transactions -------------------------------------------------------------------------------------------------

    def holds(self, compare: Any) -> bool:
        name = {0: "version", 1: "create_revision", 2: "mod_revision", 3: "value", 4: "lease"}.get(compare.target)
        found = self.select(compare.key, compare.range_end, self.revision)
        kvs = [self.key_value(key, version) for key, version in found]
        if not kvs:
            if name == "value":
                return False
            kvs = [messages.KeyValue()]
        return all(self.holds_for(compare, kv, name) for kv in kvs)

    def holds_for(self, compare: Any, kv: Any, name: str | None) -> bool:
        left: Any = 0
        right: Any = 0
        if name is not None:
            left = getattr(kv, name)
            right = getattr(compare, name) if compare.WhichOneof("target_union") == name else type(left)()
        outcomes = {0: left == right, 1: left > right, 2: left < right, 3: left != right}
        return bool(outcomes.get(compare.result, True))

    def decide(self, request: Any) -> Any:
        """(outcome, chosen operations, decisions of those that are transactions), all by the state before."""
        outcome = all(self.holds(compare) for compare in request.compare)
        chosen = list(request.success if outcome else request.failure)
        return outcome, chosen, [self.decide(op.request_txn) if is_txn(op) else None for op in chosen]

    def check_txn(self, decision: Any) -> None:
        for op, inner in zip(decision[1], decision[2], strict=True):
            kind = op.WhichOneof("request")
            if kind == "request_range":
                revision = op.request_range.revision
                if revision > self.revision:
                    raise Refused(StoreError.FUTURE_REVISION)
                if revision != 0 and revision < self.compacted:
                    raise Refused(StoreError.COMPACTED)
            elif kind == "request_put":
                self.check_put(op.request_put)
            elif kind == "request_txn":
                self.check_txn(inner)

    def perform(self, decision: Any) -> Any:
        response = messages.TxnResponse(header=messages.ResponseHeader(), succeeded=decision[0])
        for op, inner in zip(decision[1], decision[2], strict=True):
            one = response.responses.add()
            kind = op.WhichOneof("request")
            if kind == "request_range":
                header = messages.ResponseHeader(revision=self.now)
                one.response_range.CopyFrom(self.range(op.request_range, header))
            elif kind == "request_put":
                one.response_put.CopyFrom(self.put(op.request_put))
                one.response_put.header.revision = self.now
            elif kind == "request_delete_range":
                one.response_delete_range.CopyFrom(self.delete_range(op.request_delete_range))
                one.response_delete_range.header.revision = self.now
            else:
                one.response_txn.CopyFrom(self.perform(inner))
        return response

    def txn(self, request: Any) -> Any:
        decision = self.decide(request)
        self.check_txn(decision)
        response = self.perform(decision)
        response.header.CopyFrom(self.header())
        return response

    # -- the rest -----------------------------------------------------------------------------------------------------

    def compact(self, request: Any) -> Any:
        if request.revision <= self.compacted:
            raise Refused(StoreError.COMPACTED)
        if request.revision > self.revision:
            raise Refused(StoreError.FUTURE_REVISION)
        self.compacted = request.revision
        for key, versions in list(self.keys.items()):
            newer = [version for version in versions if version.mod >= self.compacted]
            older = [version for version in versions if version.mod < self.compacted]
            superseded = bool(newer) and newer[0].mod == self.compacted
            if older and older[-1].value is not None and not superseded:
                newer = older[-1:] + newer
            self.keys[key] = newer
            if not newer:
                del self.keys[key]
        return messages.CompactionResponse()

    def grant(self, request: Any, lease_id: int) -> Any:
        identifier, ttl = request.ID or lease_id, max(request.TTL, self.ttl_min)
        if request.TTL > TTL_MAX:
            raise Refused(StoreError.LEASE_TTL_TOO_LARGE)
        if identifier in self.leases:
            raise Refused(StoreError.LEASE_EXISTS)
        self.leases[identifier] = Lease(ttl)
        return messages.LeaseGrantResponse(ID=identifier, TTL=ttl)

    def revoke(self, request: Any) -> Any:
        if request.ID not in self.leases:
            raise Refused(StoreError.LEASE_NOT_FOUND)
        for key in sorted(self.leases[request.ID].keys):
            self.change(key, Version(self.revision + 1))
        del self.leases[request.ID]
        return messages.LeaseRevokeResponse()

    def alarm(self, request: Any) -> Any:
        pair, response = (request.memberID, request.alarm), messages.AlarmResponse()
        named = request.alarm in (1, 2)
        found: list[tuple[int, int]] = []
        if request.action == messages.AlarmRequest.GET:
            found = [one for one in self.alarms if request.alarm in (0, one[1])]
        elif request.action == messages.AlarmRequest.ACTIVATE and named:
            if pair not in self.alarms:
                self.alarms.append(pair)
            found = [pair]
        elif request.action == messages.AlarmRequest.DEACTIVATE and pair in self.alarms:
            self.alarms.remove(pair)
            found = [pair]
        for member, kind in found:
            response.alarms.add(memberID=member, alarm=kind)
        return response

    def apply(self, request: Any, lease_id: int = 0) -> Any:
        """Apply a request that was proposed; its response. Raises Refused."""
        no_space = any(kind == 1 for _, kind in self.alarms)
        if no_space and needs_space(request):
            raise Refused(StoreError.NO_SPACE)
        if isinstance(request, messages.PutRequest):
            self.check_put(request)
            response = self.put(request)
        elif isinstance(request, messages.DeleteRangeRequest):
            response = self.delete_range(request)
        elif isinstance(request, messages.TxnRequest):
            response = self.txn(request)
        elif isinstance(request, messages.CompactionRequest):
            response = self.compact(request)
        elif isinstance(request, messages.LeaseGrantRequest):
            response = self.grant(request, lease_id)
        elif isinstance(request, messages.LeaseRevokeRequest):
            response = self.revoke(request)
        else:
            response = self.alarm(request)
        response.header.CopyFrom(self.header())
        self.revision = self.now
        self.changed = False
        return response

    def read(self, request: Any) -> Any:
        """Answer a RangeRequest, or a TxnRequest that only reads. Raises Refused."""
        if isinstance(request, messages.RangeRequest):
            return self.range(request, self.header())
        return self.txn(request)


def within(revision: int, least: int, most: int) -> bool:
    """Whether bounds, 0 being none, allow a revision."""
    return (least == 0 or revision >= least) and (most == 0 or revision <= most)


def is_txn(op: Any) -> bool:
    """Whether an operation is a nested transaction."""
    return bool(op.WhichOneof("request") == "request_txn")


def needs_space(request: Any) -> bool:
    """Whether a request is refused when there is no space."""
    if isinstance(request, messages.TxnRequest):
        ops = [*request.success, *request.failure]
        puts = any(op.WhichOneof("request") == "request_put" for op in ops)
        return puts or any(is_txn(op) and needs_space(op.request_txn) for op in ops)
    return isinstance(request, messages.PutRequest | messages.LeaseGrantRequest)


# -- what is refused before any data is looked at ---------------------------------------------------------------------


def check(request: Any, left: int = OPERATIONS_MAX) -> None:
    """Raises Refused."""
    if isinstance(request, messages.TxnRequest):
        check_txn(request, left)
        if left == OPERATIONS_MAX:
            check_intervals(request.success)
            check_intervals(request.failure)
    elif isinstance(request, messages.RangeRequest | messages.PutRequest | messages.DeleteRangeRequest):
        if not request.key:
            raise Refused(StoreError.EMPTY_KEY)
        if isinstance(request, messages.RangeRequest):
            if not (0 <= request.sort_order <= 2 and 0 <= request.sort_target <= 4):
                raise Refused(StoreError.INVALID_SORT_OPTION)
        elif isinstance(request, messages.PutRequest):
            if request.ignore_value and request.value:
                raise Refused(StoreError.VALUE_PROVIDED)
            if request.ignore_lease and request.lease:
                raise Refused(StoreError.LEASE_PROVIDED)


def check_txn(request: Any, left: int) -> None:
    most = max(len(request.compare), len(request.success), len(request.failure))
    if most > left:
        raise Refused(StoreError.TOO_MANY_OPERATIONS)
    if any(not compare.key for compare in request.compare):
        raise Refused(StoreError.EMPTY_KEY)
    for op in [*request.success, *request.failure]:
        kind = op.WhichOneof("request")
        if kind is None:
            raise Refused(StoreError.KEY_NOT_FOUND)
        if kind == "request_txn":
            check_txn(op.request_txn, left - most)
        else:
            check(getattr(op, kind))


def check_intervals(ops: Any) -> tuple[set[bytes], list[tuple[bytes, bytes]]]:
    """(keys put, ranges deleted) by a list of operations. Raises Refused when they get into each other's way."""
    deletes = [(op.request_delete_range.key, op.request_delete_range.range_end)
               for op in ops if op.WhichOneof("request") == "request_delete_range"]  # fmt: skip
    puts: set[bytes] = set()

    def add(keys: set[bytes], allowed: set[bytes]) -> None:
        for key in keys:
            # etcd takes the end "\0" literally here, so that a range to the end of all keys covers none.
            deleted = any(key == start if end == b"" else start <= key < end for start, end in deletes)
            if (key in puts and key not in allowed) or deleted:
                raise Refused(StoreError.DUPLICATE_KEY)
        puts.update(keys)

    for op in ops:
        if is_txn(op):
            puts_then, deletes_then = check_intervals(op.request_txn.success)
            puts_else, deletes_else = check_intervals(op.request_txn.failure)
            add(puts_then, set())
            add(puts_else, puts_then)
            deletes += deletes_then + deletes_else
    for op in ops:
        if op.WhichOneof("request") == "request_put":
            add({op.request_put.key}, set())
    return puts, deletes
