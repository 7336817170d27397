"""Workloads: TOML in, a frozen Plan out, or an error that names file, line, key and the nearest right name.

A workload says what to do, never to whom. It states its one question in its first line, as a comment, and again as
``question``. Every value that makes no sense is refused here, before any server is started.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from kvbench.config_source import ConfigError, Document, Table, nearest
from kvbench.load.plan import Keys, Operation, Phase, Plan, Values
from kvbench.load.shares import unused_shares
from kvbench.ops.kinds import KINDS_BY_NAME, Kind

__all__ = ["ConfigError", "Workload", "effective", "load_workload", "packaged_workloads", "with_load"]

KEY_BYTES_MAX = 4096
KEY_COUNT_MAX = 1 << 31
VALUE_BYTES_MAX = 8_388_608
"""Beyond what stores take by default (etcd 1.5 MiB a request, ZooKeeper 1 MiB a packet): their answer to it is theirs,
and counted; and etcd's limit can be raised."""
TXN_KEYS_MAX = 128
"""etcd's --max-txn-ops."""
WATCHED_VALUE_BYTES_MIN = 16
"""A watched put carries its send time in its value."""

TOP = ("question", "description", "load", "keys", "values", "operations", "watch", "phases")
LOAD = (
    "mode", "clients", "connections", "think_time_ms", "timeout_s", "max_in_flight", "threads", "preload",
    "session_timeout_s",
)  # fmt: skip
KEYS = tuple(item.name for item in fields(Keys))
VALUES = ("size_bytes", "sizes_bytes", "distribution", "weights", "compressibility")
PHASE = ("name", "duration_s", "count", "measured", "arrival", "rate_ops_s", "rates_ops_s", "operations")
WATCH = ("watchers", "keys", "connections")
KEY_DISTRIBUTIONS = ("sequential", "uniform", "zipfian", "latest", "hotspot")
ARRIVALS = ("closed", "constant", "poisson", "ramp", "steps")
OWN_PHASES = ("parents", "preload")
NOT_IN_A_MIX = {
    Kind.WATCH: "is not sent by the mix: watches are set before the first phase, by [watch] watchers",
    Kind.MAKE_PARENT: "is preparation that kvbench does by itself",
}
KIND_OPTIONS = {
    Kind.RANGE: ("weight", "limit"),
    Kind.TXN: ("weight", "keys"),
    Kind.LEASE_GRANT: ("weight", "ttl_s"),
}


@dataclass(frozen=True)
class Workload:
    """A validated workload."""

    name: str
    question: str
    plan: Plan
    description: str
    path: Path
    settings: tuple[str, ...] = ()
    """The ``--set`` options that changed it, as typed."""


WORKLOADS_FOLDER = Path(__file__).parent / "_workloads"
"""kvbench's own workloads: in a checkout a link to the folder beside the package, in a wheel the files themselves."""


def packaged_workloads() -> dict[str, Path]:
    """kvbench's own workloads by name."""
    return {path.stem: path for path in sorted(WORKLOADS_FOLDER.glob("*.toml"))}


def find_workload(name: str) -> Path:
    """The file that a name or path means. Raises ConfigError naming the nearest."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{name}: there is no such file; `kvbench list` shows the workloads that come along")
        return path
    own = packaged_workloads()
    if name not in own:
        raise ConfigError(f'unknown workload "{name}"{nearest(name, own)} (a file of your own is given by its path)')
    return own[name]


def load_workload(name: str, settings: Sequence[str] = ()) -> Workload:
    """Read a workload by name or path, apply ``--set`` options, and check everything.

    Raises ConfigError: file (or option), line, key, what is wrong, and the nearest right name.
    """
    path = find_workload(name)
    shown = str(path) if path.parent != WORKLOADS_FOLDER else f"workloads/{path.name}"
    document = Document.read(path, shown)
    for setting in settings:
        document.override(setting)
    top = Table(document, (), document.values)
    _check_top_names(top)
    question = " ".join(top.text("question").split())
    if document.first_line.split() != ["#", *question.split()]:
        raise ConfigError(f"{shown}:1: the first line has to state the question as a comment: # {question}")
    plan = _plan(top)
    return Workload(path.stem, question, plan, top.text("description", "").strip(), path, tuple(settings))


def effective(workload: Workload) -> dict[str, Any]:
    """Everything a run did, in plain values for the manifest: the plan with kinds by name, without the password."""
    plan = asdict(workload.plan)
    plan.pop("password")

    def named(operations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**operation, "kind": Kind(operation["kind"]).name.lower()} for operation in operations]

    plan["operations"] = named(plan["operations"])
    plan["phases"] = [{**phase, "operations": named(phase["operations"])} for phase in plan["phases"]]
    return {
        "name": workload.name,
        "question": workload.question,
        "description": workload.description,
        "settings": list(workload.settings),
        "plan": plan,
    }


def with_load(
    workload: Workload, *, threads: int | None = None, cpus: tuple[int, ...] = (), seed: int | None = None
) -> Workload:
    """The workload with what the command line says about the load engine. Raises ConfigError."""
    plan = workload.plan
    if threads is not None:
        if not 1 <= threads <= plan.connections:
            raise ConfigError(
                f"--load-threads {threads}: has to be from 1 to the number of connections, {plan.connections}:"
                " a thread without a connection has nothing to do"
            )
        plan = replace(plan, threads=threads)
        if unused_shares(plan.in_flight_max, plan.phases, threads):
            raise ConfigError(
                f"--load-threads {threads}: at most {plan.in_flight_max} requests in flight (load.max_in_flight) would"
                " leave some with nothing to do"
            )
    if cpus:
        plan = replace(plan, cpus=cpus)
    if seed is not None:
        plan = replace(plan, seed=seed)
    return replace(workload, plan=plan)


def _check_top_names(top: Table) -> None:
    """Refuse unknown top-level keys; one that is a key of some table gets that table's name in the answer."""
    tables = {"load": LOAD, "keys": KEYS, "values": VALUES, "watch": WATCH}
    for key in top.values:
        if key in TOP:
            continue
        homes = [f"{table}.{key}" for table, names in tables.items() if key in names]
        if homes:
            where = top.document.where((key,))
            raise ConfigError(f'{where}: unknown key "{key}"; did you mean "{homes[0]}"?')
        top.fail_unknown(key, TOP)


def _plan(top: Table) -> Plan:
    load = top.table("load")
    load.allow(LOAD)
    mode = load.choice("mode", ("closed", "open"), "closed")
    keys = _keys(top.table("keys"))
    values = _values(top.table("values"))
    operations = _operations(top.table("operations"), keys)
    if not operations:
        raise ConfigError(f"{top.document.where(('operations',))}: the table [operations] is missing or empty")
    phases = tuple(_phase(table, mode, keys) for table in top.tables("phases"))
    _check_phases(top, phases)
    watch = top.table("watch")
    watch.allow(WATCH)
    watchers = watch.integer("watchers", 0, 0, 1_000_000)
    watched = watch.integer("keys", 1, 1)
    if watchers and watched > keys.count:
        watch.fail("keys", f"are {watched:,}, but there are only {keys.count:,} keys (keys.count)")
    if watchers and min(values.sizes_bytes) < WATCHED_VALUE_BYTES_MIN:
        top.table("values").fail(
            "sizes_bytes" if "sizes_bytes" in top.table("values").values else "size_bytes",
            f"has to be at least {WATCHED_VALUE_BYTES_MIN} with watchers: a watched put carries its send time",
        )
    clients, connections = _clients(load, phases)
    threads = _threads(load, connections)
    return Plan(
        operations=operations,
        phases=phases,
        keys=keys,
        values=values,
        clients=clients,
        connections=connections,
        think_time_s=load.number("think_time_ms", 0.0, 0.0, 3_600_000.0) / 1e3,
        timeout_s=load.number("timeout_s", 10.0, 0.001, 3600.0),
        in_flight_max=_in_flight_max(load, phases, threads),
        watchers=watchers,
        watched_keys=watched,
        watch_connections=watch.integer("connections", 0, 0),
        preload=_preload(load, keys),
        threads=threads,
        session_timeout_s=load.number("session_timeout_s", 30.0, 1.0, 3600.0),
    )


def _clients(load: Table, phases: tuple[Phase, ...]) -> tuple[int, int]:
    clients = load.integer("clients", 1000, 1, 1_000_000)
    connections = load.integer("connections", min(100, clients), 1, 100_000)
    closed = any(phase.arrival == "closed" for phase in phases)
    if closed and connections > clients:
        blamed = "clients" if ("load", "clients") in load.document.options else "connections"
        load.fail(
            blamed,
            f"cannot be: {connections:,} connections for {clients:,} clients; in a closed loop a client uses one"
            f" connection, so {connections - clients:,} would stay idle (set both load.clients and load.connections)",
        )
    return clients, connections


def _threads(load: Table, connections: int) -> int:
    threads = load.integer("threads", 1, 1, 1024)
    if threads > connections:
        load.fail("threads", f"are {threads}, more than the {connections} connections: some would have nothing to do")
    return threads


def _in_flight_max(load: Table, phases: tuple[Phase, ...], threads: int) -> int:
    most = load.integer("max_in_flight", 0, 0, 1 << 20)
    if unused_shares(most, phases, threads):
        load.fail("max_in_flight", f"is {most}, less than the {threads} load threads: some would never send anything")
    return most


def _preload(load: Table, keys: Keys) -> int:
    """``preload``: true for every key, or how many."""
    value = load.values.get("preload", 0)
    if isinstance(value, bool):
        return keys.count if value else 0
    count = load.as_integer("preload", value, 0)
    if count > keys.count:
        load.fail("preload", f"is {count:,}, but there are only {keys.count:,} keys (keys.count)")
    return count


def _keys(table: Table) -> Keys:
    table.allow(KEYS)
    keys = Keys(
        count=table.integer("count", 1_000_000, 1, KEY_COUNT_MAX),
        size_bytes=table.integer("size_bytes", 256, 1, KEY_BYTES_MAX),
        prefix=table.text("prefix", "kvbench/"),
        distribution=table.choice("distribution", KEY_DISTRIBUTIONS, "uniform"),
        theta=table.number("theta", 0.99, 0.0, 100.0),
        scramble=table.flag("scramble", True),
        hot_keys=table.number("hot_keys", 0.2, 0.0, 1.0),
        hot_requests=table.number("hot_requests", 0.8, 0.0, 1.0),
        fanout=table.integer("fanout", 0, 0, KEY_COUNT_MAX),
    )
    _check_prefix(table, keys.prefix)
    needed = key_bytes_min(keys)
    if needed > keys.size_bytes:
        table.fail(
            "size_bytes",
            f'is {keys.size_bytes}, too small for {keys.count:,} different keys: the prefix "{keys.prefix}"'
            f" and the digits need {needed} bytes",
        )
    if keys.distribution in ("zipfian", "latest") and keys.theta in (0.0, 1.0):
        reason = "is the uniform distribution" if keys.theta == 0.0 else "makes the sums of the method divide by 0"
        table.fail("theta", f"cannot be {keys.theta:g}, which {reason}; 0.99 is the usual value")
    if keys.distribution == "hotspot" and keys.hot_keys in (0.0, 1.0):
        table.fail("hot_keys", f"is {keys.hot_keys:g}: a hotspot is a share of the keys between 0 and 1, such as 0.2")
    return keys


def key_bytes_min(keys: Keys) -> int:
    """The fewest bytes that tell ``count`` keys apart: prefix, decimal digits, and with fanout a directory's too."""
    digits = len(str(keys.count - 1))
    if keys.fanout:
        digits += len(str((keys.count - 1) // keys.fanout)) + 1
    return len(keys.prefix) + digits


def _check_prefix(table: Table, prefix: str) -> None:
    if not prefix:
        table.fail("prefix", "cannot be empty: kvbench only ever touches keys under a prefix of its own")
    if not all(" " < letter <= "~" for letter in prefix):
        table.fail("prefix", "has to be printable ASCII without blanks: it is part of every key and of znode paths")
    parts = prefix.split("/")
    if any(part in (".", "..") for part in parts) or "" in parts[:-1]:
        table.fail("prefix", f'is "{prefix}", which is no path for ZooKeeper: no leading or double /, no . or ..')


def _values(table: Table) -> Values:
    table.allow(VALUES)
    given = [key for key in ("size_bytes", "sizes_bytes") if key in table.values]
    if len(given) == 2:
        # --set values.size_bytes=8 over a file's list means the one that was typed last.
        typed = [key for key in given if (*table.path, key) in table.document.options]
        if len(typed) != 1:
            table.fail("sizes_bytes", "and size_bytes exclude each other")
        given = typed
    key = given[0] if given else "size_bytes"
    items = table.values.get(key, 256)
    sizes = tuple(
        table.as_integer(key, item, 0, VALUE_BYTES_MAX) for item in (items if isinstance(items, list) else [items])
    )
    weights = table.numbers("weights", 0.0)
    default = "weighted" if weights else "fixed" if len(sizes) == 1 else "uniform"
    distribution = table.choice("distribution", ("fixed", "uniform", "weighted"), default)
    if not sizes:
        table.fail(key, "names no size")
    if distribution == "fixed" and len(sizes) != 1:
        table.fail(key, f'has {len(sizes)} sizes, but the distribution "fixed" takes one')
    if distribution == "uniform" and (len(sizes) != 2 or sizes[0] > sizes[1]):
        table.fail(key, 'has to be [least, most] with the distribution "uniform"')
    if distribution == "weighted":
        if len(weights) != len(sizes):
            table.fail("weights", f"are {len(weights)}, but there are {len(sizes)} sizes")
        if sum(weights) == 0:
            table.fail("weights", "are all zero, so no size could ever be chosen")
    elif weights:
        table.fail("weights", f'mean nothing with the distribution "{distribution}"; "weighted" uses them')
    return Values(sizes, distribution, weights, table.number("compressibility", 0.0, 0.0, 1.0))


def _operations(table: Table, keys: Keys) -> tuple[Operation, ...]:
    """The mix; operations of weight 0 are left out. Empty only when the table is."""
    names = [name for name, kind in KINDS_BY_NAME.items() if kind not in NOT_IN_A_MIX]
    found = []
    for name, value in table.values.items():
        kind = KINDS_BY_NAME.get(name)
        if kind is None:
            table.fail_unknown(name, names)
        if kind in NOT_IN_A_MIX:
            table.fail(name, NOT_IN_A_MIX[kind])
        found.append(_operation(table, name, kind, value, keys))
    if found and sum(operation.weight for operation in found) == 0:
        table.fail(next(iter(table.values)), "and all other weights are zero, so no operation could ever be chosen")
    return tuple(operation for operation in found if operation.weight > 0)


def _operation(table: Table, name: str, kind: Kind, value: Any, keys: Keys) -> Operation:
    if not isinstance(value, dict):
        value = {"weight": value}
    inner = Table(table.document, (*table.path, name), value)
    allowed = KIND_OPTIONS.get(kind, ("weight",))
    inner.allow(allowed)
    operation = Operation(
        kind=kind,
        weight=inner.number("weight", 1.0, 0.0),
        limit=inner.integer("limit", 100, 1, 1_000_000) if kind == Kind.RANGE else 0,
        keys=inner.integer("keys", 2, 1, TXN_KEYS_MAX) if kind == Kind.TXN else 1,
        ttl_s=inner.integer("ttl_s", 60, 1, 9_000_000_000),
    )
    if operation.keys > keys.count:
        inner.fail("keys", f"are {operation.keys}, but there are only {keys.count:,} keys (keys.count)")
    return operation


def _phase(table: Table, mode: str, keys: Keys) -> Phase:
    table.allow(PHASE)
    name = table.text("name")
    if not name or name in OWN_PHASES:
        table.fail("name", f'cannot be "{name}": it has to be a name, and kvbench has phases of its own so called')
    arrival = table.choice("arrival", ARRIVALS, "closed" if mode == "closed" else "constant")
    rates = table.numbers("rates_ops_s", 0.0)
    if "rate_ops_s" in table.values:
        if rates:
            table.fail("rate_ops_s", "and rates_ops_s exclude each other")
        rates = (table.number("rate_ops_s", 0.0, 0.0),)
    phase = Phase(
        name=name,
        count=table.integer("count", 0, 0, 1 << 40),
        duration_s=table.number("duration_s", 0.0, 0.0, 1e6),
        measured=table.flag("measured", True),
        arrival=arrival,
        rates_ops_s=rates,
        operations=_operations(table.table("operations"), keys),
    )
    if not phase.count and not phase.duration_s:
        table.fail("duration_s", "and count are both missing or 0, so the phase would never end")
    _check_arrival(table, phase)
    return phase


def _check_arrival(table: Table, phase: Phase) -> None:
    rates = phase.rates_ops_s
    key = "rate_ops_s" if "rate_ops_s" in table.values else "rates_ops_s"
    if phase.arrival == "closed":
        if rates:
            table.fail(key, 'means nothing in a closed loop: set arrival = "constant", "poisson", "ramp" or "steps"')
        return
    if any(rate > 1e9 for rate in rates):
        table.fail(key, "can be at most 1,000,000,000 a second: due times are whole nanoseconds")
    if phase.arrival in ("constant", "poisson"):
        if len(rates) != 1:
            table.fail("rate_ops_s", f'is missing: the arrival "{phase.arrival}" has one rate')
        if rates[0] == 0:
            table.fail(key, "is 0, so no request would ever be due")
        return
    if not phase.duration_s:
        table.fail("duration_s", f'is missing: the arrival "{phase.arrival}" spreads its rates over a duration')
    if phase.arrival == "ramp" and len(rates) != 2:
        table.fail("rates_ops_s", 'has to be [first, last] for the arrival "ramp"')
    if not rates or sum(rates) == 0:
        table.fail("rates_ops_s", "has no rate above 0, so no request would ever be due")


def _check_phases(top: Table, phases: tuple[Phase, ...]) -> None:
    if not phases:
        raise ConfigError(f"{top.document.shown}: there is no [[phases]] table, so there is nothing to do")
    names = [phase.name for phase in phases]
    for position, table in enumerate(top.tables("phases")):
        if names[position] in names[:position]:
            table.fail("name", f'"{names[position]}" stands twice: phases are told apart by their names')
    if not any(phase.measured for phase in phases):
        raise ConfigError(f"{top.document.shown}: no phase is measured, so the run would have no result")
