"""What ``--target`` means: the text of a target, parsed. The options are described in README.md, "Targets"."""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote


@dataclass(frozen=True)
class TargetSpec:
    """A target as asked for, before any server is looked for."""

    kind: str
    """"etcd", "zookeeper" or "raft"."""
    addresses: tuple[str, ...] = ()
    """host:port of the members of an existing cluster; empty: start one locally."""
    version: str = ""
    """Empty: the newest found."""
    members: int = 1
    snapshots: str = "on"
    """"on" (the server's own default), "off", or a count in digits."""
    fsync: bool = True
    heap_bytes: int = 0
    """JVM heap, 0: kvbench's default for the machine (said in the manifest)."""
    quota_bytes: int = 8 << 30
    cpus: tuple[int, ...] = ()
    """Cores that the members are pinned to; empty: not pinned."""
    endpoints: str = "all"
    """Which members the load's connections go to: "all", "leader" or "followers"."""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = ()
    """Target-specific options that none of the fields above holds."""

    @property
    def is_local(self) -> bool:
        """Whether kvbench starts the servers itself."""
        return not self.addresses


@dataclass
class TargetSpecError(Exception):
    """A target's text that makes no sense. ``remedy`` says what to write instead. Exit code 2."""

    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.what


KINDS = ("etcd", "zookeeper", "raft")
DEFAULT_PORTS = {"etcd": 2379, "zookeeper": 2181}

_LOCAL, _EXISTING, _BOTH = "local", "existing", "both"
_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "version": (_LOCAL, KINDS),
    "members": (_LOCAL, KINDS),
    "snapshots": (_LOCAL, KINDS),
    "fsync": (_LOCAL, KINDS),
    "cpus": (_LOCAL, KINDS),
    "port": (_LOCAL, KINDS),
    "heap": (_LOCAL, ("zookeeper",)),
    "quota": (_LOCAL, ("etcd", "raft")),
    "endpoints": (_BOTH, KINDS),
    "user": (_BOTH, ("etcd", "zookeeper")),
    "password": (_BOTH, ("etcd", "zookeeper")),
    "ca": (_EXISTING, ("etcd",)),
    "cert": (_EXISTING, ("etcd",)),
    "key": (_EXISTING, ("etcd",)),
}
"""Option: where it means something, and for which kinds."""

_WHY_NOT = {
    ("heap", "etcd"): "etcd is no Java program and has no heap to set",
    ("heap", "raft"): "the built-in store is no Java program and has no heap to set",
    ("quota", "zookeeper"): "ZooKeeper has no quota on its whole data; its limit is the heap",
    ("ca", "zookeeper"): "kvbench speaks to ZooKeeper without TLS only",
    ("cert", "zookeeper"): "kvbench speaks to ZooKeeper without TLS only",
    ("key", "zookeeper"): "kvbench speaks to ZooKeeper without TLS only",
}
_INSTEAD = {
    "heap": "leave it out; what bounds etcd is quota=, such as quota=8GiB",
    "quota": "leave it out; give the heap instead, such as heap=4g",
    "ca": "use a port of the cluster that takes plain connections",
}
_INSTEAD["cert"] = _INSTEAD["key"] = _INSTEAD["ca"]


_NOT_SPOKEN = {"sasl": "SASL", "kerberos": "SASL", "tls": "TLS", "ssl": "TLS"}


def parse_target(text: str, environment: Mapping[str, str] | None = None) -> TargetSpec:
    """Parse the text of ``--target``.

    Local servers: ``etcd``, ``zookeeper?members=3,snapshots=off``; an existing cluster:
    ``etcd://host:2379,host:2379?ca=ca.pem,user=bench``. Options are separated by "," or "&"; a value may hold
    either as %2C or %26. The password is taken from ``KVBENCH_PASSWORD`` in ``environment`` (default: this process's)
    when a user is given without one. Raises TargetSpecError.
    """
    head, _, query = text.strip().partition("?")
    kind, separator, hosts = head.partition("://")
    if kind not in KINDS:
        raise TargetSpecError(f"unknown target {kind!r}", _nearest(kind, KINDS, "targets are"))
    if separator and kind == "raft":
        raise TargetSpecError(
            "raft:// is no target: the built-in store speaks etcd's protocol",
            f"write etcd://{hosts or 'host:2379'}",
        )
    spec = TargetSpec(kind, _parse_addresses(kind, hosts) if separator else ())
    seen: set[str] = set()
    for name, value in _split_options(query):
        _check_applies(spec, name)
        if name in seen:
            raise TargetSpecError(f"option {name!r} is given twice in {text!r}", "keep one of them")
        seen.add(name)
        spec = _PARSERS[name](spec, value)
    return _complete(spec, seen, os.environ if environment is None else environment)


def _nearest(word: str, known: tuple[str, ...], all_are: str) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"{all_are} {', '.join(known)}"


def _split_options(query: str) -> list[tuple[str, str]]:
    pairs = []
    for item in re.split(r"[,&]", query):
        if not item:
            continue
        name, separator, value = item.partition("=")
        if not separator or not value:
            raise TargetSpecError(f"option {item!r} has no value", f"write {name or 'name'}=value")
        pairs.append((name.strip(), unquote(value.strip())))
    return pairs


def _check_applies(spec: TargetSpec, name: str) -> None:
    if spec.kind == "zookeeper" and name.lower() in _NOT_SPOKEN:
        raise TargetSpecError(
            f"kvbench does not speak {_NOT_SPOKEN[name.lower()]} to ZooKeeper",
            "use a port that takes plain connections; user= and password= log in by digest",
        )
    if name not in _OPTIONS:
        where = _LOCAL if spec.is_local else _EXISTING
        known = tuple(n for n, (scope, kinds) in _OPTIONS.items() if scope in (where, _BOTH) and spec.kind in kinds)
        raise TargetSpecError(f"{spec.kind} has no option {name!r}", _nearest(name, known, "options are"))
    scope, kinds = _OPTIONS[name]
    if spec.kind not in kinds:
        why = _WHY_NOT.get((name, spec.kind), f"{spec.kind} has no such setting")
        raise TargetSpecError(f"{name}= makes no sense for {spec.kind}: {why}", _INSTEAD.get(name, "leave it out"))
    if scope == _LOCAL and not spec.is_local:
        raise TargetSpecError(
            f"{name}= is for servers that kvbench starts; {spec.kind}://{','.join(spec.addresses)} runs already",
            f"leave it out, or let kvbench start one: {spec.kind}?{name}=...",
        )
    if scope == _EXISTING and spec.is_local:
        raise TargetSpecError(
            f"{name}= is for an existing cluster; servers that kvbench starts take plain connections",
            f"leave it out, or give the cluster: {spec.kind}://host:{DEFAULT_PORTS.get(spec.kind, 2379)}?{name}=...",
        )


def _complete(spec: TargetSpec, seen: set[str], environment: Mapping[str, str]) -> TargetSpec:
    if spec.user and not spec.password:
        spec = replace(spec, password=environment.get("KVBENCH_PASSWORD", ""))
        if not spec.password:
            raise TargetSpecError(
                f"user={spec.user} has no password", "set KVBENCH_PASSWORD in the environment, or add password=..."
            )
    if spec.password and not spec.user:
        raise TargetSpecError("password= is given without user=", "add user=...")
    if spec.kind == "etcd" and spec.is_local and "user" in seen:
        raise TargetSpecError(
            "user= is for an existing cluster; an etcd that kvbench starts has no users",
            "leave out user= and password=",
        )
    if bool(spec.tls_cert) != bool(spec.tls_key):
        given, other = ("cert", "key") if spec.tls_cert else ("key", "cert")
        raise TargetSpecError(f"{given}= is given without {other}=", f"add {other}=file.pem")
    if spec.endpoints == "followers" and (spec.members if spec.is_local else len(spec.addresses)) == 1:
        raise TargetSpecError(
            "endpoints=followers, but a single member has no followers", "use members=3, or endpoints=all"
        )
    return spec


def _parse_addresses(kind: str, hosts: str) -> tuple[str, ...]:
    addresses = tuple(_parse_address(kind, host.strip()) for host in hosts.rstrip("/").split(",") if host.strip())
    if not addresses:
        raise TargetSpecError(
            f"{kind}:// names no host", f"write {kind}://host:{DEFAULT_PORTS[kind]}, or {kind} alone to start one"
        )
    repeated = next((address for address in addresses if addresses.count(address) > 1), None)
    if repeated is not None:
        raise TargetSpecError(f"the address {repeated} is given twice", "give each member once")
    return addresses


def _parse_address(kind: str, address: str) -> str:
    found = re.match(r"^(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+)(?::(\d+))?$", address)
    if found is None:
        raise TargetSpecError(
            f"{address!r} is no host:port", f"write {kind}://host:{DEFAULT_PORTS[kind]}; user and password are options"
        )
    port = int(found.group(2) or DEFAULT_PORTS[kind])
    if not 0 < port < 65536:
        raise TargetSpecError(
            f"port {port} of {address!r} is not between 1 and 65535", "give the cluster's client port"
        )
    return f"{found.group(1)}:{port}"


def parse_bytes(text: str) -> int:
    """ "8GiB", "512m", "2g", "1.5 GB": bytes. B, k, m, g, t and KiB... are powers of 1,024; KB, MB, GB, TB of 1,000."""
    found = re.match(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)$", text.strip().lower())
    if found is None:
        raise ValueError(text)
    number, scale, suffix = found.groups()
    base = 1000 if suffix == "b" and scale else 1024
    return int(float(number) * base ** " kmgt".index(scale or " "))


def parse_cpus(text: str) -> tuple[int, ...]:
    """ "0-1+4": (0, 1, 4). "+" separates, since "," separates options. Raises ValueError."""
    cores: set[int] = set()
    for part in text.split("+"):
        found = re.match(r"^(\d+)(?:-(\d+))?$", part)
        if found is None:
            raise ValueError(text)
        first, last = int(found.group(1)), int(found.group(2) or found.group(1))
        if last < first or last > 4095:
            raise ValueError(text)
        cores.update(range(first, last + 1))
    return tuple(sorted(cores))


def _version(spec: TargetSpec, value: str) -> TargetSpec:
    version = value.removeprefix("v")
    if not re.match(r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$", version):
        raise TargetSpecError(f"version={value} is not a full version", "give three numbers, such as version=3.7.3")
    return replace(spec, version=version)


def _members(spec: TargetSpec, value: str) -> TargetSpec:
    if value not in ("1", "3", "5"):
        raise TargetSpecError(
            f"members={value} is not possible", "use 1, 3 or 5: an even number survives no more failures"
        )
    return replace(spec, members=int(value))


def _snapshots(spec: TargetSpec, value: str) -> TargetSpec:
    if value not in ("on", "off") and not (value.isascii() and value.isdigit() and 2 <= int(value) <= 2_000_000_000):
        near = "snapshots=on, snapshots=off, or a count of writes from 2 to 2,000,000,000 such as snapshots=10000"
        raise TargetSpecError(f"snapshots={value} is not possible", f"write {near}")
    return replace(spec, snapshots=value if value in ("on", "off") else str(int(value)))


def _fsync(spec: TargetSpec, value: str) -> TargetSpec:
    if value not in ("on", "off"):
        raise TargetSpecError(f"fsync={value} is not possible", "write fsync=on or fsync=off")
    return replace(spec, fsync=value == "on")


def _bytes_at_least(option: str, field_name: str, at_least: int, example: str) -> "_Parser":
    def parse(spec: TargetSpec, value: str) -> TargetSpec:
        try:
            size_bytes = parse_bytes(value)
        except ValueError:
            raise TargetSpecError(f"{option}={value} is no size", f"write {option}={example}") from None
        if size_bytes < at_least:
            raise TargetSpecError(f"{option}={value} is too small for a server to start", f"write {option}={example}")
        return replace(spec, **{field_name: size_bytes})  # type: ignore[arg-type]

    return parse


def _cpus(spec: TargetSpec, value: str) -> TargetSpec:
    try:
        return replace(spec, cpus=parse_cpus(value))
    except ValueError:
        raise TargetSpecError(
            f"cpus={value} is no list of cores", "write cpus=0-1 or cpus=0+2 ('+' separates)"
        ) from None


def _port(spec: TargetSpec, value: str) -> TargetSpec:
    if not (value.isascii() and value.isdigit() and 1024 <= int(value) <= 65000):
        raise TargetSpecError(f"port={value} is not possible", "give a client port from 1024 to 65000, or leave it out")
    return replace(spec, options=(*spec.options, ("port", value)))


def _endpoints(spec: TargetSpec, value: str) -> TargetSpec:
    known = ("all", "leader", "followers")
    if value not in known:
        raise TargetSpecError(f"endpoints={value} is not possible", _nearest(value, known, "it is one of"))
    return replace(spec, endpoints=value)


def _text(field_name: str) -> "_Parser":
    return lambda spec, value: replace(spec, **{field_name: value})  # type: ignore[arg-type]


_Parser = Callable[[TargetSpec, str], TargetSpec]
_PARSERS: dict[str, _Parser] = {
    "version": _version,
    "members": _members,
    "snapshots": _snapshots,
    "fsync": _fsync,
    "cpus": _cpus,
    "port": _port,
    "heap": _bytes_at_least("heap", "heap_bytes", 32 << 20, "2g"),
    "quota": _bytes_at_least("quota", "quota_bytes", 1 << 20, "8GiB"),
    "endpoints": _endpoints,
    "user": _text("user"),
    "password": _text("password"),
    "ca": _text("tls_ca"),
    "cert": _text("tls_cert"),
    "key": _text("tls_key"),
}
