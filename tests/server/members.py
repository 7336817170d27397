"""A cluster of real member processes on loopback that a test kills, pauses and starts again."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from kvbench.server.settings import MemberSettings
from kvbench.targets.asking import http_get, parse_metrics
from kvbench.targets.ports import free_ports
from kvbench.wire.proto import messages, methods
from tests.like_etcd.sides import Side

PATIENCE_S = 60.0


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """What ``condition`` returns once that is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain: {what}")


class Members:
    """Members by position, each a process; ``folders``: of data that is there already."""

    def __init__(self, folder: Path, count: int, folders: list[Path] | None = None, ports: Any = None, **settings: Any):
        ports = ports or free_ports(count)
        self.settings = [
            MemberSettings(
                str(folders[place] if folders else folder / f"m{place + 1}"),
                tuple(("127.0.0.1", port) for port in ports),
                position=place,
                **{"connections": 64, "fsync": False} | settings,
            )
            for place in range(count)
        ]
        folder.mkdir(exist_ok=True)
        self.log = folder / "members.log"
        self.processes: list[subprocess.Popen[str] | None] = [None] * count
        self.sides = [Side(f"m{place + 1}", f"127.0.0.1:{port}") for place, port in enumerate(ports)]
        self.start(*range(count))

    def start(self, *places: int) -> None:
        """Start members, all at once, and wait until they serve."""
        for place in places:
            with open(self.log, "a") as log:
                self.processes[place] = subprocess.Popen(
                    [sys.executable, "-m", "kvbench.server", self.settings[place].to_json()],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                )  # fmt: skip
        for place in places:
            pipe = self.process(place).stdout
            assert pipe is not None
            said = pipe.readline()
            pipe.close()
            assert said.startswith("ready "), self.log.read_text()

    def process(self, place: int) -> "subprocess.Popen[str]":
        """A member's, which was started."""
        process = self.processes[place]
        assert process is not None
        return process

    def kill(self, place: int) -> None:
        """SIGKILL."""
        self.process(place).kill()
        self.process(place).wait()

    def stop(self, place: int) -> int:
        """SIGTERM. Returns the exit code."""
        self.process(place).terminate()
        return self.process(place).wait(30)

    def pause(self, place: int) -> None:
        """SIGSTOP."""
        self.process(place).send_signal(signal.SIGSTOP)

    def resume(self, place: int) -> None:
        """SIGCONT."""
        self.process(place).send_signal(signal.SIGCONT)

    def leader(self) -> int:
        """The position of the member that leads, once there is one."""
        return int(wait_until(lambda: [place for place in self.running() if self._leads(place)], "a leader")[0])

    def running(self) -> list[int]:
        """Positions of members that have not ended."""
        return [place for place, process in enumerate(self.processes) if process and process.poll() is None]

    def _leads(self, place: int) -> bool:
        return self.metric(place, "etcd_server_is_leader") == 1

    def metric(self, place: int, name: str) -> float:
        """A number from a member's /metrics; -1: it does not say."""
        try:
            text = http_get(self.sides[place].address, "/metrics")
        except OSError:
            return -1
        return parse_metrics(text.decode() if isinstance(text, bytes) else text or "").get(name, -1)

    def put(self, place: int, key: bytes, value: bytes = b"", timeout_s: float = 20.0) -> int:
        """The revision of a put by way of a member. Raises grpc.RpcError."""
        request = messages.PutRequest(key=key, value=value)
        call = self.sides[place].channel.unary_unary(
            methods.PUT.path,
            request_serializer=messages.PutRequest.SerializeToString,
            response_deserializer=messages.PutResponse.FromString,
        )
        return int(call(request, timeout=timeout_s).header.revision)

    def hashes(self, revision: int = 0) -> list[tuple[int, int]]:
        """Of every member: HashKV, and the compacted revision."""
        said = [side.raw(methods.HASH_KV, messages.HashKVRequest(revision=revision)) for side in self.sides]
        return [(one.hash, one.compact_revision) for one in said]

    def close(self) -> None:
        """End all."""
        for side in self.sides:
            side.close()
        for place in self.running():
            self.resume(place)
            self.kill(place)


class Writer:
    """Puts key after key by way of whichever member answers, and notes what was acknowledged."""

    def __init__(self, members: Members, places: list[int]) -> None:
        self.members, self.places = members, places
        self.acknowledged: dict[bytes, int] = {}
        """Revisions by key."""
        self.times: list[float] = [time.monotonic()]
        """When each was acknowledged."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        number = turn = 0
        while not self._stop.is_set():
            key = b"n/%06d" % number
            number += 1
            try:
                revision = self.members.put(self.places[turn % len(self.places)], key, key, timeout_s=2.0)
            except grpc.RpcError:
                turn += 1
                self._stop.wait(0.01)
                continue
            self.acknowledged[key] = revision
            self.times.append(time.monotonic())

    def wait_for_more(self, count: int = 20) -> None:
        """Return when so many more puts were acknowledged."""
        had = len(self.times)
        wait_until(lambda: len(self.times) >= had + count, "acknowledged puts")

    def longest_gap_s(self, since: float) -> float:
        """The longest time between two acknowledgements one after the other, the second of them after ``since``."""
        times = self.times
        return max(times[i + 1] - times[i] for i in range(len(times) - 1) if times[i + 1] > since)

    def stop(self) -> None:
        """Write no more."""
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Read all back by way of every member."""
        for side in self.members.sides:
            request = messages.RangeRequest(key=b"n/", range_end=b"n0")
            found = {kv.key: (kv.value, kv.mod_revision) for kv in side.raw(methods.RANGE, request).kvs}
            lost = {key for key, revision in self.acknowledged.items() if found.get(key) != (key, revision)}
            assert not lost, (
                f"{side.name} lost {len(lost)} of {len(self.acknowledged)} acknowledged puts: {min(lost)!r}"
            )


def closing(members: Members) -> "contextlib.closing[Members]":
    """For ``with``."""
    return contextlib.closing(members)
