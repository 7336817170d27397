"""The charts of a report. Each function draws one figure of small multiples, or returns None when nothing can be shown.

A target has one colour everywhere; repeats are thinner lines of the same colour; dashes tell members or times apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from kvbench.artifact import schema
from kvbench.ops.results import RESPONSE, SERVICE
from kvbench.report import style, views
from kvbench.report.views import PhaseView, ReportView, RunView, TargetView
from kvbench.stats import histograms, percentiles

OPERATIONS_MAX = 4
PANELS_MAX = 8
POINTS_MARKED_MAX = 90
"""Points that are told apart; a phase of one second is one point and has no line."""
MS = 1e6
MIB = float(1 << 20)
RESOURCE_AXES = ("resident memory (MiB)", "CPU (cores)", "disk writes (MiB/s)")
PERCENTILE_TITLES = {"p50": "p50", "p99": "p99", "p999": "p99.9"}


@dataclass(frozen=True)
class Chart:
    """A chart by name, with what it shows in words, for captions and for those who cannot see it."""

    name: str
    title: str
    description: str
    draw: Callable[[ReportView], Figure | None]


def throughput(view: ReportView) -> Figure | None:
    """Successes per second, all operations together; failures in a panel of their own when there are any."""
    failed = any(bool(phase.result.errors.any()) for phase in view.phases())
    figure, axes = style.grid(2 if failed else 1, 1, row_inches=2.7)
    extra = []
    top = [0.0]
    for target, run in _runs(view):
        times, values = views.throughput_series(run, "completed")
        top.append(float(np.nanmax(values, initial=0.0)))
        marker = "." if np.isfinite(values).sum() <= POINTS_MARKED_MAX else None
        axes[0][0].plot(times, values, color=target.colour, alpha=style.opacity(view), marker=marker, markersize=4)
        style.draw_marks(axes[0][0], target, run, named=True)
        if any(phase.entry["loop"] == "open" for phase in run.phases):
            times, offered = views.throughput_series(run, "offered")
            top.append(float(np.nanmax(offered, initial=0.0)))
            axes[0][0].plot(times, offered, color="#444444", linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
            extra = [Line2D([], [], color="#444444", linestyle=(0, (4, 2)), linewidth=1.0, label="offered load")]
        if failed:
            times, errors = views.throughput_series(run, "errors")
            axes[1][0].plot(times, errors, color=target.colour, alpha=style.opacity(view), marker=marker, markersize=4)
    _finish_throughput(axes, view, max(top), failed)
    style.legend_of_targets(figure, view, extra)
    return figure


def _finish_throughput(axes: list[list[Axes]], view: ReportView, top: float, failed: bool) -> None:
    axes[0][0].set(title="Throughput", ylabel="requests / s")
    style.plain_numbers(axes[0][0], [top])
    style.draw_phase_borders(axes[0][0], view, named=True)
    if failed:
        axes[1][0].set(title="Failed requests", ylabel="failures / s")
        axes[1][0].set_ylim(bottom=0)
        axes[1][0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes[-1][0].set_xlabel("time since the measured phase began (s)")
    axes[-1][0].set_xlim(0, _end_s(view))


def response_time(view: ReportView) -> Figure | None:
    """p50, p99 and p99.9 of response time of every second: a row per operation, or per percentile if there is one."""
    operations = view.operations[:OPERATIONS_MAX]
    if not operations:
        return None
    names = list(PERCENTILE_TITLES)
    single = len(operations) == 1
    rows, columns = (len(names), 1) if single else (len(operations), len(names))
    figure, axes = style.grid(rows, columns, row_inches=2.1 if single else 2.3)
    for row, operation in enumerate(operations):
        for column, name in enumerate(names):
            panel = axes[column][0] if single else axes[row][column]
            _response_panel(panel, view, operation, name, first=row + column == 0)
            title = f"Response time, {PERCENTILE_TITLES[name]} of each second"
            panel.set_title(title if single else f"{operation}: {PERCENTILE_TITLES[name]}")
    for panel in axes[-1]:
        panel.set_xlabel("time since the measured phase began (s)" if single else "time (s)")
    for line in axes:
        line[0].set_ylabel("response time (ms)")
    style.legend_of_targets(figure, view)
    return figure


def _response_panel(panel: Axes, view: ReportView, operation: str, name: str, first: bool) -> None:
    drawn: list[float] = []
    for target, run in _runs(view):
        times, values = views.time_series(run, operation, schema.time_column("response", name))
        marker = "." if np.isfinite(values).sum() <= POINTS_MARKED_MAX else None
        panel.plot(times, values / MS, color=target.colour, alpha=style.opacity(view), marker=marker, markersize=4)
        drawn += (values[np.isfinite(values)] / MS).tolist()
        style.draw_marks(panel, target, run, named=first)
    style.plain_numbers(panel, drawn)
    style.draw_phase_borders(panel, view)
    panel.set_xlim(0, _end_s(view))


def spectrum(view: ReportView) -> Figure | None:
    """The whole distribution of response time on a 1 / (1 - p) axis; service time dashed where the two differ."""
    panels = [(phase, operation) for operation in view.operations for phase in view.phase_names][:PANELS_MAX]
    if not panels:
        return None
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    figure, axes = style.grid(rows, columns, row_inches=3.6 if columns == 1 else 3.0, share_x=False, share_y=True)
    dashed = False
    drawn: list[float] = []
    for place, (phase, operation) in enumerate(panels):
        panel = axes[place // columns][place % columns]
        dashed |= _spectrum_panel(panel, view, phase, operation, drawn)
        panel.set_title(operation if len(view.phase_names) == 1 else f"{operation}, {phase}")
    for place in range(len(panels), rows * columns):
        axes[place // columns][place % columns].set_visible(False)
    style.plain_numbers(axes[0][0], drawn)
    for line in axes:
        line[0].set_ylabel("response time (ms)")
    extra = [
        Line2D([], [], color="#444444", label="response time"),
        Line2D([], [], color="#444444", linestyle=(0, (3, 2)), linewidth=1.1, label="service time"),
    ]
    style.legend_of_targets(figure, view, extra if dashed else ())
    return figure


def _spectrum_panel(panel: Axes, view: ReportView, phase_name: str, operation: str, drawn: list[float]) -> bool:
    """Adds what it draws to ``drawn``, for the scale that all panels share. Returns whether a service time is shown."""
    furthest = 10.0
    dashed = False
    for target, run in _runs(view):
        for phase in run.phases:
            if phase.name != phase_name or operation not in phase.result.operations:
                continue
            odds, values = _spectrum_of(phase, operation, RESPONSE)
            if len(odds) == 0:
                continue
            panel.step(odds, values, where="post", color=target.colour, alpha=style.opacity(view))
            furthest = max(furthest, float(odds[-1]))
            drawn += values.tolist()
            if _service_differs(phase, operation):
                dashed = True
                odds, values = _spectrum_of(phase, operation, SERVICE)
                panel.step(odds, values, where="post", color=target.colour, linestyle=(0, (3, 2)), linewidth=1.1)
                drawn += values.tolist()
    _odds_axis(panel, furthest)
    return dashed


def _spectrum_of(phase: PhaseView, operation: str, time: int) -> tuple[views.Floats, views.Floats]:
    place = phase.result.operations.index(operation)
    odds, values = percentiles.spectrum(*histograms.of(phase.result.histograms, time, place))
    return odds, values / MS


def _service_differs(phase: PhaseView, operation: str) -> bool:
    """Whether waiting shows in any percentile: a chart of two equal lines only raises questions."""
    entry = phase.entry["operations"][operation]
    response, service = entry["response_time_ns"], entry["service_time_ns"]
    return any(response[name] > 1.1 * service[name] > 0 for name in (*percentiles.PERCENTILES, "max"))


def _odds_axis(panel: Axes, furthest: float) -> None:
    """A logarithmic axis of 1 / (1 - p), labelled with the percentiles themselves."""
    panel.set_xscale("log")
    panel.set_xlim(1, furthest * 1.3)
    ticks = [1.0, 2.0] + [10.0**power for power in range(1, 10) if 10.0**power <= furthest * 1.3]
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda odds, _: _percent_of(odds)))
    panel.set_xlabel("percentile (%), on a 1 / (1 - p) scale")


def _percent_of(odds: float) -> str:
    nines = round(np.log10(odds), 6)
    return f"{100 - 100 / odds:.{max(0, int(nines) - 2)}f}"


def resources(view: ReportView) -> Figure | None:
    """Memory, CPU and disk writes of every member over time: a column per target, one scale per row."""
    targets = [target for target in view.targets if any(run.artifact.resource_rows for run in target.runs)]
    if not targets:
        return None
    figure, axes = style.grid(3, len(targets), row_inches=2.2, share_y="row")
    tallest = [0.0, 0.0, 0.0]
    for column, target in enumerate(targets):
        panels = [line[column] for line in axes]
        for run in target.runs:
            tops = _resource_lines(panels, view, target, run)
            tallest = [max(pair) for pair in zip(tallest, tops, strict=True)]
            for panel in panels:
                style.draw_marks(panel, target, run, named=False)
        panels[0].set_title(target.label, color=target.colour)
        panels[0].legend(loc="best", fontsize=9, handlelength=2.2, frameon=True, facecolor="white", edgecolor="none")
        panels[-1].set_xlabel("time since the measured phase began (s)" if len(targets) == 1 else "time (s)")
    for line, label, top in zip(axes, RESOURCE_AXES, tallest, strict=True):
        line[0].set_ylabel(label)
        style.plain_numbers(line[0], [top])
        line[0].set_xlim(0, _end_s(view))
    return figure


def _resource_lines(panels: list[Axes], view: ReportView, target: TargetView, run: RunView) -> list[float]:
    """Draws one run's members into (memory, CPU, disk) and returns the largest value of each panel."""
    tops = [0.0, 0.0, 0.0]
    members = [*views.member_names(run), schema.KVBENCH_MEMBER]
    for place, member in enumerate(members):
        own = member == schema.KVBENCH_MEMBER
        series = [
            views.member_series(run, member, "rss_bytes"),
            views.rate_series(run, member, ("cpu_user_s", "cpu_system_s")),
            (np.zeros(0), np.zeros(0)) if own else views.rate_series(run, member, ("write_bytes",)),
        ]
        for panel, (times, values), scale, row in zip(panels, series, (MIB, 1.0, MIB), range(3), strict=True):
            inside = (times >= 0) & (times <= run.end_s)
            if not inside.any():
                continue
            tops[row] = max(tops[row], float(values[inside].max()) / scale)
            panel.plot(
                times[inside], values[inside] / scale,
                color=views.CLIENT_COLOUR if own else target.colour,
                linestyle=style.DASHES[0 if own else place % len(style.DASHES)],
                linewidth=1.2 if own else 1.7,
                alpha=style.opacity(view),
                label=_member_label(member) if run is target.runs[0] else None,
            )  # fmt: skip
    return tops


def _member_label(member: str) -> str:
    return "kvbench (client)" if member == schema.KVBENCH_MEMBER else member


def load_curve(view: ReportView) -> Figure | None:
    """Response time against throughput, a point per measured phase: where the curve turns up is the knee."""
    if len(view.phase_names) < 3:
        return None
    names = list(PERCENTILE_TITLES)
    figure, axes = style.grid(1, len(names), row_inches=3.2)
    for panel, name in zip(axes[0], names, strict=True):
        drawn: list[float] = []
        for target, run in _runs(view):
            points = [point for phase in run.phases if (point := _load_point(phase, name))]
            if points:
                rates, times = zip(*points, strict=True)
                panel.plot(rates, times, color=target.colour, alpha=style.opacity(view), marker="o", markersize=4)
                drawn += times
        panel.set_title(PERCENTILE_TITLES[name])
        panel.set_xlabel("throughput (requests / s)")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        panel.set_xlim(left=0)
        style.plain_numbers(panel, drawn)
    axes[0][0].set_ylabel("response time (ms)")
    style.legend_of_targets(figure, view)
    return figure


def _load_point(phase: PhaseView, name: str) -> tuple[float, float] | None:
    """(throughput, response time in ms) over all operations of a phase."""
    buckets, counts = histograms.of(phase.result.histograms, RESPONSE)
    if len(counts) == 0 or phase.result.duration_ns <= 0:
        return None
    rate = float(phase.result.completed.sum()) * 1e9 / phase.result.duration_ns
    return rate, percentiles.value_at(buckets, counts, percentiles.PERCENTILES[name]) / MS


def _runs(view: ReportView) -> list[tuple[TargetView, RunView]]:
    return [(target, run) for target in view.targets for run in target.runs]


def _end_s(view: ReportView) -> float:
    return max((run.end_s for _, run in _runs(view)), default=1.0)


CHARTS = (
    Chart(
        "throughput",
        "Throughput over time",
        "Requests that succeeded in each second, failures apart. The last, partial second is left out.",
        throughput,
    ),
    Chart(
        "response-time",
        "Response time over time",
        "From when a request was due to its answer, by the second of the answer. A gap is a second without answers. "
        "Of many operations, the four most frequent.",
        response_time,
    ),
    Chart(
        "percentile-spectrum",
        "Percentile spectrum of response time",
        "How slow the slowest requests were: at 99.9 % one request in a thousand took longer than the line shows.",
        spectrum,
    ),
    Chart(
        "load-curve",
        "Response time against throughput",
        "Each point is one phase of the run at its own load. Where the line turns up, the target's limit begins.",
        load_curve,
    ),
    Chart(
        "memory-and-cpu",
        "Memory, CPU and disk of each member",
        "Resident memory, cores used and bytes written by each server process, and by kvbench itself in grey.",
        resources,
    ),
)
