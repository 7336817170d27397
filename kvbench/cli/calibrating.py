"""``kvbench calibrate``: the instrument's own limits on this machine."""

import json
import sys
from collections.abc import Iterable
from statistics import median

from rich import box
from rich.table import Table

from kvbench.calibrate import Ceiling, Setting, calibrate
from kvbench.cli import consoles
from kvbench.run.interrupt import Interruption
from kvbench.yardstick import TOOL, Comparison, Side, compare

ENGINES = {"etcd": ("fast", "grpcio"), "zookeeper": ("fast",)}
COLUMNS = (
    "ops/s",
    "CPU/request",
    "of the bare loop",
    "load thread",
    "wait p50",
    "wait p99",
    "response p99",
    "errors",
)


def calibrate_command(
    protocols: Iterable[str], engine: str, seconds: float, rate: float, rounds: int, as_json: bool
) -> None:
    """Measure each protocol with each engine that speaks it, ``rounds`` times in turn."""
    setting = Setting(seconds=seconds, rate_ops_s=rate)
    cases = [
        (protocol, each)
        for protocol in tuple(protocols) or ENGINES
        for each in ENGINES[protocol]
        if engine in (each, "all")
    ]
    numbers = range(1, rounds + 1)
    with Interruption():
        found = [(number, calibrate(*case, _progress)) for number in numbers for case in _with(cases, setting)]
    if as_json:
        print(json.dumps([{"round": number, **each.as_dict()} for number, each in found], indent=2))
        return
    consoles.stdout().print(_table(found, medians=rounds > 1))


def _with(cases: list[tuple[str, str]], setting: Setting) -> list[tuple[str, Setting, str]]:
    return [(protocol, setting, engine) for protocol, engine in cases]


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _table(found: list[tuple[int, Ceiling]], medians: bool) -> Table:
    title = "against a null server that parses and answers, but stores nothing"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in ("round", "protocol", "engine", "operation"):
        table.add_column(column)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for number, each in found:
        table.add_row(str(number), each.protocol, each.engine, each.operation, *_cells(_figures(each)))
    if medians:
        for protocol, engine in dict.fromkeys((each.protocol, each.engine) for _, each in found):
            group = [each for _, each in found if (each.protocol, each.engine) == (protocol, engine)]
            middle = [median(column) for column in zip(*(_figures(each) for each in group), strict=True)]
            table.add_row("median", protocol, engine, group[0].operation, *_cells(middle), style="bold")
    return table


def _figures(each: Ceiling) -> list[float]:
    """The columns' numbers of one measurement."""
    wait, response = each.times_ns["wait"], each.times_ns["response"]
    return [
        each.throughput_ops_s,
        each.cpu_ns_per_request,
        each.share_of_bare,
        each.load_thread_cpu_share,
        wait["p50"],
        wait["p99"],
        response["p99"],
        each.errors,
    ]


def _cells(figures: list[float]) -> list[str]:
    throughput, cpu, share, thread, wait_p50, wait_p99, response_p99, errors = figures
    return [
        f"{throughput:,.0f}",
        f"{cpu / 1e3:.2f} µs",
        f"{100 * share:.0f} %" if share else "-",
        f"{100 * thread:.1f} %" if thread else "-",
        f"{wait_p50 / 1e3:,.0f} µs",
        f"{wait_p99 / 1e3:,.0f} µs",
        f"{response_p99 / 1e3:,.0f} µs",
        f"{errors:,.0f}",
    ]


def yardstick_command(rounds: int, total: int, version: str, settings: list[str], as_json: bool) -> None:
    """kvbench beside etcd's own benchmark tool, on fresh servers, in interleaved rounds."""
    with Interruption():
        found = compare(rounds, total, version, settings, _progress)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    consoles.stdout().print(_yardstick_table(found))


def _yardstick_table(found: Comparison) -> Table:
    title = f"workload put on etcd {found.etcd_version}, fresh servers: kvbench and {TOOL} {found.tool_version}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in ("round", "first", "tool"):
        table.add_column(column)
    for column in ("put/s", "client CPU/put", "p50", "p99", "throughput, ratio", "CPU, ratio"):
        table.add_column(column, justify="right")
    for each in found.rounds:
        ratios = (f"{each.throughput_ratio:.2f}", f"1/{each.cpu_ratio:.1f}")
        table.add_row(str(each.number), each.first, "kvbench", *_side(each.kvbench), *ratios)
        table.add_row("", "", TOOL, *_side(each.tool), "", "")
    middle = found.medians()
    table.add_row(
        "median",
        "",
        "kvbench",
        f"{middle['kvbench_throughput_ops_s']:,.0f}",
        f"{middle['kvbench_cpu_ns_per_request'] / 1e3:.2f} µs",
        "",
        "",
        f"{middle['throughput_ratio']:.2f}",
        f"1/{middle['cpu_ratio']:.1f}",
        style="bold",
    )
    throughput, cpu = middle["tool_throughput_ops_s"], middle["tool_cpu_ns_per_request"]
    table.add_row("", "", TOOL, f"{throughput:,.0f}", f"{cpu / 1e3:.2f} µs", "", "", "", "", style="bold")
    return table


def _side(side: Side) -> list[str]:
    return [
        f"{side.throughput_ops_s:,.0f}",
        f"{side.cpu_ns_per_request / 1e3:.2f} µs",
        f"{side.p50_ns / 1e6:.1f} ms",
        f"{side.p99_ns / 1e6:.1f} ms",
    ]
