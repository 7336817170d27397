"""A client of etcd that others wrote (aetcd) has the same session with etcd and with the built-in store."""

import asyncio
import io
from collections.abc import Awaitable
from typing import Any

import aetcd
import pytest

from kvbench.targets.running import RunningTarget
from tests.like_etcd.sides import plain

pytestmark = pytest.mark.slow

PATIENCE_S = 20
FREE = {"cluster_id", "member_id", "raft_term", "raft_index", "leader", "db_size", "id", "client_urls", "peer_urls"}
"""Attributes that two clusters need not agree on."""


def shown(value: Any) -> Any:
    """What a client's object says, without what is free to differ."""
    if value is None or isinstance(value, (bytes, str, int)):
        return value
    if hasattr(value, "ListFields"):
        return plain(value)
    names = getattr(value, "__slots__", None) or getattr(value, "__dict__", None)
    if names is None:
        return [shown(one) for one in value]
    return {name: shown(getattr(value, name)) for name in names if name not in FREE and not name.startswith("_")
            and name != "etcd_client"}  # fmt: skip


async def refused(call: Awaitable[Any]) -> str:
    """The name of the error that a call ends with, and its text."""
    try:
        await call
    except Exception as error:
        return f"{type(error).__name__} {error}"
    return "no error"


async def session(address: str) -> list[Any]:
    """Each call of the client, and what came of it."""
    host, _, port = address.partition(":")
    seen: list[Any] = []
    async with aetcd.Client(host=host, port=int(port), timeout=PATIENCE_S) as client:
        await keys(client, seen)
        await transactions(client, seen)
        await watches(client, seen)
        await leases(client, seen)
        await maintenance(client, seen)
    return [shown(one) for one in seen]


async def keys(client: Any, seen: list[Any]) -> None:
    """Puts, gets, deletes, compaction."""
    for number in range(4):
        seen.append(await client.put(b"k/%d" % number, b"value %d" % (9 - number)))
    seen.append(await client.put(b"k/1", b"new", prev_kv=True))
    for key in (b"k/1", b"none"):
        seen.append(await client.get(key))
        seen.append(await client.get(key, serializable=True))
    seen.append(await client.get_prefix(b"k/", sort_order="descend", sort_target="value"))
    seen.append(await client.get_prefix(b"k/", keys_only=True))
    seen.append(await client.get_range(b"k/1", b"k/3", sort_order="ascend", sort_target="mod"))
    seen.append(await client.get_all(sort_order="descend", sort_target="version"))
    seen += [await client.replace(b"k/2", b"value 7", b"7"), await client.replace(b"k/2", b"value 7", b"8")]
    seen += [await client.delete(b"k/0", prev_kv=True), await client.delete(b"none")]
    seen += [await client.delete_range(b"k/1", b"k/3", prev_kv=True), await client.delete_prefix(b"k/")]
    seen += [await client.compact(3), await refused(client.compact(3)), await refused(client.compact(10_000))]
    seen.append(await client.compact(5, physical=True))
    seen.append(await refused(client.put(b"", b"")))
    seen.append(await refused(client.put(b"k", b"v", lease=4711)))


async def transactions(client: Any, seen: list[Any]) -> None:
    """Compares of all kinds, operations of all kinds."""
    does = client.transactions
    await client.put(b"t", b"1")
    seen.append(await client.transaction(
        compare=[does.value(b"t") == b"1", does.version(b"t") > 0, does.create(b"t") < 100, does.mod(b"t") != 3],
        success=[does.put(b"t", b"2"), does.get(b"t"), does.txn([does.version(b"u") == 0], [does.put(b"u", b"1")], [])],
        failure=[does.get(b"t")],
    ))  # fmt: skip
    seen.append(await client.transaction(
        compare=[does.version(b"t") == 0], success=[], failure=[does.delete(b"t", prev_kv=True), does.get(b"t")],
    ))  # fmt: skip
    seen.append(await refused(client.transaction([], [does.put(b"x", b"1"), does.put(b"x", b"2")], [])))
    await client.delete(b"u")


async def watches(client: Any, seen: list[Any]) -> None:
    """What was and what comes, of one key and of many."""
    first = (await client.put(b"w/1", b"1")).header.revision
    watch = await client.watch_prefix(b"w/", start_revision=first, prev_kv=True)
    await client.put(b"w/2", b"2")
    await client.put(b"w/1", b"3")
    await client.delete(b"w/1")
    async for event in watch:
        seen.append(event)
        if event.kind == aetcd.EventKind.DELETE:
            break
    await watch.cancel()
    once = asyncio.create_task(client.watch_once(b"w/2", timeout=PATIENCE_S, start_revision=first))
    seen.append(await once)
    seen.append(await refused(client.watch_once(b"w/2", timeout=1)))
    await client.delete_prefix(b"w/")


async def leases(client: Any, seen: list[Any]) -> None:
    """A lease, and a lock, which is made of leases and transactions."""
    lease = await client.lease(300, lease_id=1234)
    seen += [lease, await refused(client.lease(300, lease_id=1234))]
    seen.append(await client.put(b"l", b"1", lease=lease))
    seen += [await lease.granted_ttl(), await lease.remaining_ttl() > 200, await lease.keys()]
    seen.append(await lease.refresh())
    seen.append(await client.get_lease_info(1234, keys=False) is not None)
    await lease.revoke()
    seen += [await client.get(b"l"), await refused(lease.revoke())]
    async with client.lock(b"lock", ttl=60) as lock:
        seen.append(await lock.is_acquired())
        other = client.lock(b"lock", ttl=60)
        seen.append(await other.acquire(timeout=1))
    seen.append(await other.acquire(timeout=1))
    seen.append(await other.release())


async def maintenance(client: Any, seen: list[Any]) -> None:
    """Members, status, alarms, hash, snapshot."""
    seen += [await client.status(), [one async for one in client.members()], await client.defragment()]
    seen.append(type(await client.hash()).__name__)
    alarms = [await client.create_alarm(), [one async for one in client.list_alarms()], await refused(
        client.put(b"a", b"1")), await client.disarm_alarm(), [one async for one in client.list_alarms()]]  # fmt: skip
    seen += alarms
    saved = io.BytesIO()
    await client.snapshot(saved)
    seen.append(saved.tell() % 512)


def test_a_session(etcd: RunningTarget, store: RunningTarget) -> None:
    seen = [asyncio.run(session(target.members[0].address)) for target in (etcd, store)]
    for number, (of_etcd, of_store) in enumerate(zip(*seen, strict=True)):
        assert of_store == of_etcd, f"answer {number}"


def test_what_is_not_there(store: RunningTarget) -> None:
    async def ask() -> list[str]:
        host, _, port = store.members[0].address.partition(":")
        async with aetcd.Client(host=host, port=int(port), timeout=PATIENCE_S) as client:
            return [await refused(client.add_member(["http://127.0.0.1:1"])), await refused(client.remove_member(1)),
                    await refused(client.update_member(1, ["http://127.0.0.1:1"]))]  # fmt: skip

    said = asyncio.run(ask())
    assert said == ["ClientError this server does not have the method"] * 3
