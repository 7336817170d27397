"""kvbench calibrate as a process: whatever ends it, no null server is left."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
MARK = "KVBENCH_TEST_MARK"
PATIENCE_S = 60.0


def marked(mark: str) -> list[psutil.Process]:
    """Every process that inherited ``mark`` and runs, the watchdog among them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "starting the null server"),
        (signal.SIGTERM, "warm-up"),
        (signal.SIGINT, "bare loop"),
        (signal.SIGKILL, "starting the null server"),
        (signal.SIGKILL, "warm-up"),
    ],
)
def test_no_null_server_is_left(number: signal.Signals, said: str, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    seconds = "0.5" if said == "bare loop" else "600"
    process = subprocess.Popen(
        [sys.executable, "-m", "kvbench", "calibrate", "--protocol", "zookeeper", "--seconds", seconds],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), MARK: mark},
    )
    with process:
        try:
            assert process.stderr is not None
            lines: list[str] = []
            while said not in (lines[-1:] or [""])[0]:
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
            process.send_signal(number)
            rest = process.stderr.read()
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
    _, alive = psutil.wait_procs(marked(mark), PATIENCE_S)
    assert alive == []
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert (code, rest.splitlines()[-1]) == (130, "interrupted")
        assert "Traceback" not in rest
