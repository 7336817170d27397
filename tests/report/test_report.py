"""Whole reports from whole results: files, words, colours, and what an unusual result does to them."""

import base64
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from kvbench import report
from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.reader import read_result
from kvbench.report import charts, page, style, views
from tests.report import results

pytestmark = pytest.mark.filterwarnings("error")

PROJECT = Path(__file__).parents[2]


class PageReader(HTMLParser):
    """Collects text and images, and whether every element is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append({name: value or "" for name, value in attrs})
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read_page(path: Path) -> tuple[str, list[dict[str, str]]]:
    reader = PageReader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return " ".join(" ".join(reader.text).split()), reader.images


def png_size(content: bytes) -> tuple[int, int]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_a_comparison_of_two_targets(tmp_path: Path) -> None:
    results.write(tmp_path / "result")
    written = report.write(tmp_path / "result", tmp_path / "out")
    assert [path.name for path in written] == [
        "report.html", "throughput.png", "response-time.png", "percentile-spectrum.png", "memory-and-cpu.png",
    ]  # fmt: skip
    assert all(min(png_size(path.read_bytes())) > 300 for path in written[1:])
    text, images = read_page(written[0])
    assert "put: etcd 3.7.3 against zookeeper 3.9.5 (3 members)" in text
    assert "How many puts can a cluster take from 1,000 clients?" in text
    assert "UNAVAILABLE 9" in text and "m3 486 MiB" in text
    assert "The server was the limit (server-bound)" in text
    assert "1 of 20 seconds had no success" in text
    assert "latency" not in text.lower()
    embedded = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in images]
    assert embedded == [path.read_bytes() for path in written[1:]]
    assert all(len(image["alt"]) > 40 for image in images)


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=3)
    text = report.write(tmp_path / "result", tmp_path / "out")[0].read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "url(" not in text and "<script" not in text


def test_repeats_become_medians_with_intervals(tmp_path: Path) -> None:
    results.write(tmp_path / "result", repeats=3, seconds=3)
    view = views.view_of(read_result(tmp_path / "result"))
    lines = page.comparisons_of(view)
    assert [line.figure for line in lines][:2] == ["put: throughput (requests / s)", ""]
    assert lines[0].ratio == "1 (reference)"
    assert re.fullmatch(r"0\.\d\d x \(0\.\d\d to 0\.\d\d\)", lines[1].ratio)
    assert " to " in lines[0].spread
    assert {row.run for row in page.rows_of(view)} == {"run 1", "run 2", "run 3"}
    assert len(page.limits_of(view)) == 6


@pytest.mark.parametrize(("keys", "compared"), [((500_000, 504_000), True), ((500_000, 510_000), False)])
def test_memory_is_compared_at_equal_keys_only(tmp_path: Path, keys: tuple[int, int], compared: bool) -> None:
    results.write(tmp_path / "result", seconds=2, keys=keys)
    lines = page.comparisons_of(views.view_of(read_result(tmp_path / "result")))
    assert lines[-1].median.endswith("GiB")
    assert lines[-1].ratio.endswith(" x") == compared
    assert ("different numbers of keys" in lines[-1].ratio) != compared


def test_what_belongs_to_a_whole_run_stands_in_its_first_line(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), operations=("put", "get"), seconds=2)
    put, get = page.rows_of(views.view_of(read_result(tmp_path / "result")))
    assert (put.client_cpu, put.verdict) == ("5.00", "server-bound") and len(put.memory) == 1
    assert (get.client_cpu, get.verdict, get.memory) == ("", "", ())


def test_a_single_run_compares_with_nothing(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=3)
    view = views.view_of(read_result(tmp_path / "result"))
    assert page.comparisons_of(view) == []
    assert page.rows_of(view)[0].run == ""


def test_one_artifact_alone_is_a_result(tmp_path: Path) -> None:
    results.write(tmp_path / "result", seconds=3)
    text, _ = read_page(report.write(tmp_path / "result" / "etcd-1", tmp_path / "out")[0])
    assert "put: etcd 3.7.3" in text and "zookeeper 3.9.5" not in text


def test_a_stored_summary_of_another_version_does_not_matter(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=2)
    (tmp_path / "result" / "summary.json").write_text('{"schema": 1, "runs": [{}]}')
    text, _ = read_page(report.write(tmp_path / "result", tmp_path / "out")[0])
    assert "put: etcd 3.7.3" in text


def test_steps_of_load_add_a_curve(tmp_path: Path) -> None:
    steps = ("1,000/s", "2,000/s", "3,000/s")
    results.write(tmp_path / "result", phases=steps, arrival="constant", seconds=3, kinds=("etcd",))
    written = report.write(tmp_path / "result", tmp_path / "out")
    assert "load-curve.png" in [path.name for path in written]
    text, _ = read_page(written[0])
    assert all(step in text for step in steps)


def test_a_comparison_of_one_of_several_phases_names_it(tmp_path: Path) -> None:
    results.write(tmp_path / "result", phases=("low", "high"), seconds=3)
    view = views.view_of(read_result(tmp_path / "result"))
    titles = [line.figure for line in page.comparisons_of(view) if line.figure]
    assert titles[0] == "put, high: throughput (requests / s)" and all("high" in title for title in titles)


def test_a_phase_of_one_second_is_one_point(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=1)
    (phase,) = views.view_of(read_result(tmp_path / "result")).phases()
    assert phase.seconds == 1 and len(phase.result.completed) == 2


def test_failures_of_the_last_partial_second_are_shown(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=2)
    (target,) = views.view_of(read_result(tmp_path / "result")).targets
    (run,) = target.runs
    run.phases[0].result.errors[2, 0, 14] = 5
    assert np.nansum(views.throughput_series(run, "errors")[1]) == 5
    assert len(views.throughput_series(run, "errors")[0]) == len(views.throughput_series(run, "completed")[0]) + 1


def test_a_run_that_was_cut_off_is_reported_as_such(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=3, finish=False)
    text, images = read_page(report.write(tmp_path / "result", tmp_path / "out")[0])
    assert "Not all of this came to its end: etcd-1" in text
    assert "the phase was interrupted" in text
    assert len(images) == 4


def test_a_run_that_never_measured_says_so(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), phases=(), seconds=3)
    written = report.write(tmp_path / "result", tmp_path / "out")
    assert [path.name for path in written] == ["report.html"]
    assert "nothing to show" in read_page(written[0])[0]


def test_names_from_a_workload_cannot_become_markup(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), phases=("<b>fast</b> & more", "b"), seconds=2)
    text, _ = read_page(report.write(tmp_path / "result", tmp_path / "out")[0])
    assert "<b>fast</b> & more" in text


def test_targets_keep_their_colours_and_labels_stay_apart() -> None:
    assert len(set(views.COLOURS)) == len(views.COLOURS) >= 6
    same = {"kind": "etcd", "version": "3.7.3"}
    assert views._labels([{**same, "text": "etcd?cpus=0"}, {**same, "text": "etcd?cpus=1"}]) == [
        "etcd 3.7.3 [etcd?cpus=0]", "etcd 3.7.3 [etcd?cpus=1]",
    ]  # fmt: skip
    assert views.label_of({**same, "members": 3, "snapshots": "off", "fsync": False}) == (
        "etcd 3.7.3 (3 members, snapshots off, no fsync)"
    )


def test_axes_have_units_and_a_stall_is_a_gap(tmp_path: Path) -> None:
    results.write(tmp_path / "result")
    view = views.view_of(read_result(tmp_path / "result"))
    with style.styled():
        figures = [chart.draw(view) for chart in charts.CHARTS]
    drawn = [figure for figure in figures if figure is not None]
    labels = {axes.get_ylabel() for figure in drawn for axes in figure.axes} - {""}
    assert labels == {
        "requests / s", "failures / s", "response time (ms)", "resident memory (MiB)", "CPU (cores)",
        "disk writes (MiB/s)",
    }  # fmt: skip
    zookeeper = view.targets[1].runs[0]
    times, values = views.time_series(zookeeper, "put", "response_time_ns_p50")
    missing = times[values != values]
    assert missing.tolist() == [10.5, 20.0]
    _, counts = views.throughput_series(zookeeper, "completed")
    assert counts[10] == 0.0


def test_panels_of_one_spectrum_share_their_scale(tmp_path: Path) -> None:
    # "get" spans decades behind the stall, "cas" alone would not: one scale must serve both.
    results.write(tmp_path / "result", kinds=("zookeeper",), operations=("put", "get", "cas"), seconds=3)
    view = views.view_of(read_result(tmp_path / "result"))
    with style.styled():
        figure = charts.spectrum(view)
    assert figure is not None
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 3
    assert len({(axes.get_yscale(), axes.get_ylim()) for axes in shown}) == 1
    drawn = [np.asarray(line.get_ydata(), dtype=np.float64) for axes in shown for line in axes.lines]
    assert shown[0].get_ylim()[1] >= max(float(values.max()) for values in drawn)


def test_event_marks_stand_where_the_event_was(tmp_path: Path) -> None:
    results.write(tmp_path / "result")
    zookeeper = views.view_of(read_result(tmp_path / "result")).targets[1].runs[0]
    assert zookeeper.marks() == [views.EventMark(10.0, "leader_changed")]


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_results_is_named(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    with pytest.raises(ArtifactError, match="nothing holds no results"):
        report.write(folder, tmp_path / "out")


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    results.write(tmp_path / "result", kinds=("etcd",), seconds=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write results to"):
        report.write(tmp_path / "result", tmp_path / "file" / "out")


def test_importing_artifacts_and_reports_loads_no_heavy_package() -> None:
    script = (
        "import sys, kvbench.report, kvbench.artifact.writer, kvbench.artifact.reader, kvbench.artifact.summary\n"
        "print([name for name in ('matplotlib', 'pandas', 'pyarrow', 'jinja2', 'numba') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
