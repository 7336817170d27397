"""Workload files: what they become, and what is said of each mistake."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.config import ConfigError, effective, key_bytes_min, load_workload, with_load
from kvbench.config_source import key_lines
from kvbench.load.plan import Keys
from kvbench.ops.kinds import Kind

GOOD = """\
# How fast is it?
question = "How fast is it?"

[load]
clients = 10
connections = 5

[keys]
count = 1000
size_bytes = 32

[values]
size_bytes = 100

[operations]
put = 3
range = { weight = 1, limit = 7 }

[[phases]]
name = "warm-up"
duration_s = 1
measured = false

[[phases]]
name = "measure"
duration_s = 2
count = 500
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def refusal(folder: Path, text: str, *options: str) -> str:
    """The error without the folder's name, which differs from test to test."""
    with pytest.raises(ConfigError) as caught:
        load_workload(write(folder, text), options)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_file_becomes_a_plan(tmp_path: Path) -> None:
    workload = load_workload(write(tmp_path, GOOD))
    plan = workload.plan
    assert workload.name == "mine" and workload.question == "How fast is it?"
    assert (plan.clients, plan.connections, plan.keys.count, plan.keys.size_bytes) == (10, 5, 1000, 32)
    assert plan.values.sizes_bytes == (100,) and plan.values.distribution == "fixed"
    assert [(item.kind, item.weight, item.limit) for item in plan.operations] == [(Kind.PUT, 3, 0), (Kind.RANGE, 1, 7)]
    assert [(item.name, item.duration_s, item.count, item.measured) for item in plan.phases] == [
        ("warm-up", 1, 0, False),
        ("measure", 2, 500, True),
    ]
    assert plan.preload == 0 and plan.timeout_s == 10.0


def test_settings_replace_values(tmp_path: Path) -> None:
    options = [
        "phases.measure.duration_s=5", "phases.0.count=7", "operations.put=0", "operations.range.limit=9",
        "operations.get=1", "load.preload=true", "values.size_bytes=8", "keys.prefix=mine/", "load.think_time_ms=1.5",
    ]  # fmt: skip
    plan = load_workload(write(tmp_path, GOOD), options).plan
    assert plan.phases[1].duration_s == 5 and plan.phases[0].count == 7
    assert {item.kind for item in plan.operations} == {Kind.RANGE, Kind.GET}
    assert plan.operations[0].limit == 9
    assert plan.preload == 1000 and plan.values.sizes_bytes == (8,) and plan.keys.prefix == "mine/"
    assert plan.think_time_s == 0.0015


def test_a_weight_given_in_short_can_get_options(tmp_path: Path) -> None:
    text = GOOD.replace("put = 3\n", "txn = 2\n")
    plan = load_workload(write(tmp_path, text), ["operations.txn.keys=4"]).plan
    assert plan.operations[0].weight == 2 and plan.operations[0].keys == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clients = 10", "client = 10", 'mine.toml:5: unknown key "load.client"; did you mean "clients"?'),
        ("clients = 10", "clients = 0", "mine.toml:5: load.clients has to be at least 1, is 0"),
        ("clients = 10", 'clients = "10"', 'mine.toml:5: load.clients has to be a number, is "10"'),
        ("clients = 10", "clients = 2.5", "mine.toml:5: load.clients has to be a whole number, is 2.5"),
        ("clients = 10", "clients = true", "mine.toml:5: load.clients has to be a number, is true"),
        ("clients = 10", "clients = nan", "mine.toml:5: load.clients has to be a number, is nan"),
        ("connections = 5", "connections = 20", "mine.toml:6: load.connections cannot be: 20 connections for"),
        ("[load]", "clients = 5\n[load]", 'mine.toml:4: unknown key "clients"; did you mean "load.clients"?'),
        ("[keys]", "[kyes]", 'mine.toml:8: unknown key "kyes"; did you mean "keys"?'),
        ("size_bytes = 32", "size_bytes = 10", "mine.toml:10: keys.size_bytes is 10, too small for 1,000 different"),
        ("size_bytes = 32", 'size_bytes = 32\nprefix = ""', "mine.toml:11: keys.prefix cannot be empty"),
        ("size_bytes = 32", 'size_bytes = 32\nprefix = "/a"', 'mine.toml:11: keys.prefix is "/a", which is no path'),
        ("size_bytes = 32", 'size_bytes = 32\nprefix = "a b"', "mine.toml:11: keys.prefix has to be printable ASCII"),
        (
            "size_bytes = 32",
            'size_bytes = 32\ndistribution = "zipfian"\ntheta = 1.0',
            "mine.toml:12: keys.theta cannot be 1, which makes",
        ),
        (
            "size_bytes = 32",
            'size_bytes = 32\ndistribution = "unifrom"',
            'mine.toml:11: keys.distribution cannot be "unifrom"; did you mean "uniform"?',
        ),
        (
            "size_bytes = 32",
            'size_bytes = 32\ndistribution = "hotspot"\nhot_keys = 1',
            "mine.toml:12: keys.hot_keys is 1: a hotspot is a share",
        ),
        ("put = 3", "putt = 3", 'mine.toml:16: unknown key "operations.putt"; did you mean "put"?'),
        ("put = 3", "watch = 3", "mine.toml:16: operations.watch is not sent by the mix"),
        ("put = 3", "put = -3", "mine.toml:16: operations.put.weight has to be at least 0, is -3"),
        ("put = 3", "put = { weight = 1, limit = 3 }", 'mine.toml:16: unknown key "operations.put.limit"'),
        ("put = 3\nrange = { weight = 1, limit = 7 }", "put = 0", "mine.toml:16: operations.put and all other weights"),
        ("put = 3", "txn = { weight = 1, keys = 129 }", "mine.toml:16: operations.txn.keys can be at most 128, is 129"),
        ("duration_s = 2\ncount = 500", "", "mine.toml:24: phases.measure.duration_s and count are both missing"),
        ("duration_s = 2", "duration_s = 2\nrate_ops_s = 5", "mine.toml:27: phases.measure.rate_ops_s means nothing"),
        (
            "duration_s = 2",
            'duration_s = 2\narrival = "constant"\nrate_ops_s = 0',
            "mine.toml:28: phases.measure.rate_ops_s is 0, so no request would ever be due",
        ),
        (
            "duration_s = 2",
            'duration_s = 2\narrival = "poisson"',
            "mine.toml:24: phases.measure.rate_ops_s is missing",
        ),
        (
            "duration_s = 2",
            'duration_s = 2\narrival = "ramp"\nrates_ops_s = [1]',
            "mine.toml:28: phases.measure.rates_ops_s has to be [first, last]",
        ),
        ('name = "measure"', 'name = "warm-up"', 'mine.toml:25: phases.warm-up.name "warm-up" stands twice'),
        ('name = "measure"', "", 'mine.toml:24: the key "phases.1.name" is missing'),
        ("count = 500", "count = 500\nmeasured = false", "mine.toml: no phase is measured"),
        ("size_bytes = 100", "sizes_bytes = [1, 2]\nweights = [0, 0]", "mine.toml:14: values.weights are all zero"),
        ("size_bytes = 100", "sizes_bytes = [5, 2]", "mine.toml:13: values.sizes_bytes has to be [least"),
        ("size_bytes = 100", "sizes_bytes = [5]\nweights = [1, 2]", "mine.toml:14: values.weights are 2, but there"),
        ("[operations]", "[watch]\nkeys = 2000\nwatchers = 1\n[operations]", "mine.toml:16: watch.keys are 2,000"),
        ("[operations]", "[watch]\nconnections = -1\n[operations]", "mine.toml:16: watch.connections has to be"),
        ("size_bytes = 100", "size_bytes = 8\n[watch]\nwatchers = 1", "mine.toml:13: values.size_bytes has to be"),
        ("# How fast is it?", "# How slow is it?", "mine.toml:1: the first line has to state the question"),
        ("clients = 10", "clients = = 10", "mine.toml:5: not valid TOML: "),
        ("[load]", "[load", "mine.toml:4: not valid TOML: "),
        ("connections = 5", "connections = 5\nthreads = 6", "mine.toml:7: load.threads are 6, more than the 5"),
        ("connections = 5", "connections = 5\npreload = 1001", "mine.toml:7: load.preload is 1,001, but"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) >= 1
    assert refusal(tmp_path, GOOD.replace(old, new, 1)).startswith(message)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("load.client=5", '--set load.client=5: unknown key "load.client"; did you mean "clients"?'),
        ("load.clients", "--set load.clients: is not of the form key=value"),
        ("=5", "--set =5: is not of the form key=value"),
        ("phases.mesure.count=5", '--set phases.mesure.count=5: there is no element "mesure"; did you mean "measure"?'),
        ("load.clients.x=5", '--set load.clients.x=5: "load.clients" is not a table, so it has no key "x"'),
        ("load.clients.x.y=5", '--set load.clients.x.y=5: "load.clients" is not a table'),
        ("load.clients=4", "--set load.clients=4: load.clients cannot be: 5 connections for 4 clients"),
        ("keys.count=10000000000000000000", "--set keys.count=10000000000000000000: keys.count can be at most"),
        ("load=5", "--set load=5: load has to be a table, is 5"),
        ("phases=[1]", "--set phases=[1]: phases has to be an array of tables"),
    ],
)
def test_a_mistaken_option_is_named(tmp_path: Path, option: str, message: str) -> None:
    assert refusal(tmp_path, GOOD, option).startswith(message)


def test_unknown_workloads_get_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='unknown workload "ycsba"; did you mean "ycsb-a"'):
        load_workload("ycsba")
    with pytest.raises(ConfigError, match="there is no such file"):
        load_workload(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"# \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_workload(str(tmp_path / "bytes.toml"))


def test_what_the_load_options_change(tmp_path: Path) -> None:
    workload = load_workload(write(tmp_path, GOOD))
    changed = with_load(workload, threads=2, cpus=(0, 1), seed=9).plan
    assert (changed.threads, changed.cpus, changed.seed) == (2, (0, 1), 9)
    assert with_load(workload) == workload
    with pytest.raises(ConfigError, match="--load-threads 6: has to be from 1 to the number of connections, 5"):
        with_load(workload, threads=6)


def test_a_cap_has_a_request_for_every_load_thread(tmp_path: Path) -> None:
    paced = 'duration_s = 2\narrival = "constant"\nrate_ops_s = 5'
    text = GOOD.replace("connections = 5", "connections = 5\nmax_in_flight = 2").replace("duration_s = 2", paced)
    workload = load_workload(write(tmp_path, text))
    assert with_load(workload, threads=2).plan.in_flight_max == 2
    with pytest.raises(ConfigError, match="--load-threads 3: at most 2 requests in flight"):
        with_load(workload, threads=3)
    refused = refusal(tmp_path, text.replace("max_in_flight = 2", "max_in_flight = 2\nthreads = 3"))
    assert refused.startswith("mine.toml:7: load.max_in_flight is 2, less than the 3 load threads")


def test_the_effective_workload_holds_every_value_but_the_password(tmp_path: Path) -> None:
    plain = effective(load_workload(write(tmp_path, GOOD), ["load.clients=20"]))
    assert plain["settings"] == ["load.clients=20"]
    assert plain["plan"]["clients"] == 20 and plain["plan"]["timeout_s"] == 10.0
    assert plain["plan"]["operations"][1] == {"kind": "range", "weight": 1.0, "limit": 7, "keys": 1, "ttl_s": 60}
    assert "password" not in plain["plan"]


@settings(deadline=None)
@given(st.integers(1, 10**9), st.integers(0, 1000))
def test_the_key_size_check_leaves_room_for_every_key(count: int, fanout: int) -> None:
    needed = key_bytes_min(Keys(count=count, prefix="p/", fanout=fanout))
    last = count - 1
    name = f"{last // fanout}/{last}" if fanout else str(last)
    assert needed == len(f"p/{name}")


def test_lines_are_found_in_every_form_of_toml() -> None:
    text = (
        'a = 1\ntext = """\n[not]\nnot = 1\n"""\n[t]\n"quoted" = 2 # [x]\nlist = [\n  1,\n  2,\n]\nafter = 1\n'
        "[[p]]\nx = 1\n[p.inner]\ny = 2\n[[p]]\nx.z = '''one\nnot = 2'''\nlast = { k = 1 }\n"
    )
    tomllib.loads(text)
    assert key_lines(text) == {
        ("a",): 1, ("text",): 2, ("t",): 6, ("t", "quoted"): 7, ("t", "list"): 8, ("t", "after"): 12,
        ("p", 0): 13, ("p", 0, "x"): 14, ("p", 0, "inner"): 15, ("p", 0, "inner", "y"): 16,
        ("p", 1): 17, ("p", 1, "x", "z"): 18, ("p", 1, "last"): 20,
    }  # fmt: skip


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,6}", fullmatch=True),
        st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), st.integers(0, 9), min_size=1),
        min_size=1,
    )
)
def test_every_key_is_found_on_its_own_line(tables: dict[str, dict[str, int]]) -> None:
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for table, keys in tables.items():
        lines.append(f"[{table}]")
        expected[(table,)] = len(lines)
        for key, value in keys.items():
            lines.append(f"{key} = {value}")
            expected[(table, key)] = len(lines)
    assert key_lines("\n".join(lines)) == expected
