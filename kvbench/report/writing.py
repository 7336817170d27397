"""Puts a report together and writes it."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import jinja2
from matplotlib import pyplot as plt

from kvbench.artifact.errors import ArtifactError, cannot_write
from kvbench.artifact.reader import Result, read_result
from kvbench.report import page, style
from kvbench.report.charts import CHARTS, Chart
from kvbench.report.views import ReportView, view_of

PAGE = "report.html"
TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Drawing:
    """A chart that was drawn."""

    chart: Chart
    png: bytes

    @property
    def file_name(self) -> str:
        return f"{self.chart.name}.png"


def write(folder_of_runs: Path, out: Path) -> list[Path]:
    """See ``kvbench.report.write``."""
    result = read_result(folder_of_runs)
    view = view_of(result)
    drawings = draw(view)
    text = render(view, result, drawings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    contents = {PAGE: text.encode(), **{drawing.file_name: drawing.png for drawing in drawings}}
    written = []
    for name, content in contents.items():
        path = out / name
        try:
            path.write_bytes(content)
        except OSError as error:
            raise cannot_write(path, error) from error
        written.append(path)
    return written


def draw(view: ReportView) -> list[Drawing]:
    """All charts that this result has something for."""
    if not view.phases():
        return []
    drawings = []
    with style.styled():
        for chart in CHARTS:
            figure = chart.draw(view)
            if figure is None:
                continue
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=style.DPI, metadata={"Software": None})
            plt.close(figure)
            drawings.append(Drawing(chart, buffer.getvalue()))
    return drawings


def render(view: ReportView, result: Result, drawings: list[Drawing]) -> str:
    """The page, with its charts inside it."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    try:
        template = environment.get_template(TEMPLATE)
    except jinja2.TemplateNotFound as error:
        raise ArtifactError(f"kvbench is installed without {TEMPLATE}", "install kvbench again") from error
    rows = page.rows_of(view)
    return template.render(
        title=title_of(view),
        question=page.question_of(view),
        unfinished=[artifact.folder.name for artifact in result.artifacts.values() if not artifact.is_complete],
        rows=rows,
        has_runs=any(row.run for row in rows),
        has_repeats=view.repeats > 1,
        has_ratios=len(view.targets) > 1,
        comparisons=page.comparisons_of(view),
        limits=page.limits_of(view),
        charts=[
            {
                "title": drawing.chart.title,
                "description": drawing.chart.description,
                "png": base64.b64encode(drawing.png).decode("ascii"),
            }
            for drawing in drawings
        ],
        facts=page.facts_of(view),
    )


def title_of(view: ReportView) -> str:
    """The workload, and the targets while their names fit in a line."""
    names = [target.label for target in view.targets]
    if not names:
        return f"kvbench: {view.workload}"
    listed = " against ".join(names) if len(names) <= 3 else f"{len(names)} targets"
    return f"{view.workload}: {listed}"
