"""What to send and when: a plan in plain values, the same for both engines. No IO, no clock.

``config`` builds a Plan from a workload's TOML; ``load.engine`` and ``load.grpcio_engine`` carry it out.
"""

from dataclasses import dataclass, field

from kvbench.ops.kinds import Kind


@dataclass(frozen=True)
class Keys:
    """The key space and how requests choose from it."""

    count: int = 1_000_000
    """Keys that requests choose from (and that a preload writes)."""
    size_bytes: int = 256
    """Length of every key, prefix included. ZooKeeper's path has one byte more, its leading slash."""
    prefix: str = "kvbench/"
    distribution: str = "uniform"
    """"sequential", "uniform", "zipfian", "latest" or "hotspot"."""
    theta: float = 0.99
    """Zipfian and latest: the exponent, 0 < theta, theta != 1."""
    scramble: bool = True
    """Zipfian: spread the popular ranks over the key space by a bijection."""
    hot_keys: float = 0.2
    """Hotspot: the share of the keys that is hot."""
    hot_requests: float = 0.8
    """Hotspot: the share of the requests that goes to hot keys."""
    fanout: int = 0
    """Keys per directory ("prefix" + directory + "/" + name); 0: all keys directly under the prefix."""


@dataclass(frozen=True)
class Values:
    """Sizes and content of values."""

    sizes_bytes: tuple[int, ...] = (256,)
    """"fixed": one size; "uniform": least and most; "weighted": each size."""
    distribution: str = "fixed"
    weights: tuple[float, ...] = ()
    compressibility: float = 0.0
    """Share of each value that is zero bytes; the rest is fresh pseudo-random bytes per request."""

    @property
    def bytes_max(self) -> int:
        return max(self.sizes_bytes)


@dataclass(frozen=True)
class Operation:
    """One line of the mix."""

    kind: Kind
    weight: float
    limit: int = 0
    """RANGE: most keys to return."""
    keys: int = 1
    """TXN: keys written by one transaction, neighbours of the key chosen."""
    ttl_s: int = 60
    """LEASE_GRANT: time to live."""


@dataclass(frozen=True)
class Phase:
    """A stretch of load; ends by count or duration, whichever comes first. At least one of the two is not 0."""

    name: str
    count: int = 0
    duration_s: float = 0.0
    measured: bool = True
    arrival: str = "closed"
    """"closed", or open: "constant", "poisson", "ramp" (rates: first and last), "steps" (rates: one per step)."""
    rates_ops_s: tuple[float, ...] = ()
    operations: tuple[Operation, ...] = ()
    """Empty: the plan's mix. A preload has its own, INSERTs of every key in order."""


@dataclass(frozen=True)
class Plan:
    """All that an engine needs to know, the target's addresses aside."""

    operations: tuple[Operation, ...]
    phases: tuple[Phase, ...]
    keys: Keys = field(default_factory=Keys)
    values: Values = field(default_factory=Values)
    clients: int = 1000
    """Closed loop: requests in flight at most. Clients are dealt to connections in turn."""
    connections: int = 100
    think_time_s: float = 0.0
    timeout_s: float = 10.0
    in_flight_max: int = 0
    """Open loop: most requests in flight; 0: the engine's table size, 65,536, said in the result when reached."""
    watchers: int = 0
    """Watches set before the first phase, dealt to connections of their own in turn."""
    watched_keys: int = 1
    """Watchers watch keys 0 .. watched_keys - 1 in turn."""
    watch_connections: int = 0
    """Connections of the watchers; 0: as many as the load has."""
    seed: int = 1
    preload: int = 0
    """Keys written before the first phase."""
    threads: int = 1
    cpus: tuple[int, ...] = ()
    """Cores that load threads are pinned to, in turn; empty: not pinned."""
    session_timeout_s: float = 30.0
    """ZooKeeper's session time-out."""
    user: str = ""
    password: str = field(default="", repr=False)
