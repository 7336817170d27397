"""How charts look: one legible style, axes with units, few lines and no clutter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from kvbench.report.views import EventMark, ReportView, RunView, TargetView

WIDTH_INCHES = 10.0
DPI = 130
LOG_RATIO_MIN = 15.0
"""Values that span more than this are drawn on a logarithmic axis."""
PHASES_NAMED_MAX = 10
MARKS_MAX = 8
"""More events than this are drawn without their names."""
Dash = tuple[int, tuple[float, ...]]
DASHES: tuple[Dash, ...] = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 3)))

SETTINGS: Any = {
    "font.size": 10.5,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


Sharing = bool | Literal["row", "col"]


@contextmanager
def styled() -> Iterator[None]:
    """The style, for as long as charts are made."""
    with plt.rc_context(SETTINGS):
        yield


def grid(
    rows: int, columns: int, row_inches: float = 2.5, share_y: Sharing = False, share_x: Sharing = True
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of small multiples as a list of rows of axes."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH_INCHES, row_inches * rows + 0.9), squeeze=False, sharex=share_x,
        sharey=share_y, layout="constrained",
    )  # fmt: skip
    return figure, [list(row) for row in axes]


def plain_numbers(axes: Axes, values: Sequence[float]) -> None:
    """A y axis that begins at 0, or a logarithmic one, which says so, when the values span decades."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) / min(positive) > LOG_RATIO_MIN:
        axes.set_yscale("log")
        decades = max(positive) / min(positive) > 1e4
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title("log scale", loc="right", fontsize=9, fontweight="normal", color="#565656")
    else:
        axes.set_ylim(0, 1.08 * max(positive, default=1.0))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def legend_of_targets(figure: Figure, view: ReportView, extra: Sequence[Line2D] = ()) -> None:
    """One legend above all panels: every target in its colour, then what the dashes mean."""
    handles = [Line2D([], [], color=target.colour, label=target.label, linewidth=2.4) for target in view.targets]
    handles += list(extra)
    figure.legend(handles=handles, loc="outside upper left", ncols=min(4, len(handles)))


def draw_marks(axes: Axes, target: TargetView, run: RunView, named: bool) -> None:
    """Events of a run as vertical lines in its target's colour, with their names when there are few."""
    marks = run.marks()
    for mark in marks:
        axes.axvline(mark.at_s, color=target.colour, linewidth=0.9, linestyle=(0, (1, 2)), alpha=0.9, zorder=1)
    if named and len(marks) <= MARKS_MAX:
        for mark in marks:
            name_mark(axes, mark, target.colour)


def name_mark(axes: Axes, mark: EventMark, colour: str) -> None:
    """The name of an event along its line."""
    axes.annotate(
        mark.kind.replace("_", " "), (mark.at_s, 1.0), xycoords=("data", "axes fraction"), xytext=(2, -3),
        textcoords="offset points", rotation=90, va="top", ha="left", fontsize=8.5, color=colour,
    )  # fmt: skip


def draw_phase_borders(axes: Axes, view: ReportView, named: bool = False) -> None:
    """Where one measured phase follows another, and the phases' names when they fit."""
    if len(view.phase_names) < 2 or not view.targets:
        return
    longest = max((run for target in view.targets for run in target.runs), key=lambda run: len(run.phases))
    for phase in longest.phases:
        axes.axvline(phase.start_s, color="#999999", linewidth=0.8, zorder=1)
        if named and len(longest.phases) <= PHASES_NAMED_MAX:
            axes.annotate(
                phase.name, (phase.start_s, 0.0), xycoords=("data", "axes fraction"), xytext=(4, 4),
                textcoords="offset points", fontsize=9, color="#444444",
            )  # fmt: skip


def opacity(view: ReportView) -> float:
    """Lines of several repeats lie over each other."""
    return 0.95 if view.repeats < 2 else max(0.35, 1.0 / view.repeats**0.5)
