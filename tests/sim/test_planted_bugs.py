"""The simulator finds bugs that are planted in a copy of the package: a check that never fails proves nothing."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import kvbench

PACKAGE = Path(kvbench.__file__).parent
SEEDS = 1000
"""Within so many a bug must be found."""


@dataclass(frozen=True)
class Patch:
    """A piece of a file of the package, and what is in its place in the copy."""

    file: str
    old: str
    new: str


NUMBER = [
    Patch("node/records.py", "NODE = np.dtype(\n    [\n", 'NODE = np.dtype(\n    [\n        ("bug", np.int64),\n'),
    Patch("raft/records.py", "RAFT = np.dtype(\n    [\n", 'RAFT = np.dtype(\n    [\n        ("bug", np.int64),\n'),
    Patch(
        "node/state.py",
        '    state["leader"] = NO_MEMBER\n',
        '    state["leader"] = NO_MEMBER\n    import os\n'
        '    state["bug"] = node.raft.state[0]["bug"] = int(os.environ["PLANTED"])\n',
    ),
]
"""The copy has all bugs, and a number that says which of them is in force: it is compiled once."""

BUGS = {
    "a log write is not synced": Patch(
        "node/disk.py",
        'command["sync"] = state["fsync"]',
        'command["sync"] = 0 if state["bug"] == 1 and purpose == 1 else int(state["fsync"])',
    ),
    "an entry of an earlier term is committed by counting": Patch(
        "raft/progress.py",
        'if index > state["commit"] and term_of(raft, index) == state["term"]:',
        'if index > state["commit"] and (state["bug"] == 2 or term_of(raft, index) == state["term"]):',
    ),
    "a read is confirmed without asking a majority": Patch(
        "raft/reading.py",
        '    if state["quorum"] == 1:\n        state["round_confirmed"]',
        '    if state["quorum"] == 1 or state["bug"] == 3:\n        state["round_confirmed"]',
    ),
    "a vote is forgotten in a restart": Patch(
        "node/recovery.py",
        'term, vote, boot = int(noted["term"]), int(noted["vote"]), int(noted["boot"])',
        'term, vote, boot = int(noted["term"]), -1 if state["bug"] == 4 else int(noted["vote"]), int(noted["boot"])',
    ),
    "leases are not taken over by a new leader": Patch(
        "node/leases.py",
        '    for slot in range(int(node.store.state[0]["lease_top"])):\n        if node.store',
        '    for slot in range(int(node.store.state[0]["lease_top"])):\n'
        '        if node.state[0]["bug"] != 5 and node.store',
    ),
    "a follower acknowledges before its sync": Patch(
        "node/receiving.py",
        '            node.statistics[0]["appended"] += 1\n        at += size\n',
        '            node.statistics[0]["appended"] += 1\n        at += size\n'
        '    if node.state[0]["bug"] == 6:\n'
        "        core.persisted(node.raft, last, core.term_of(node.raft, last))\n",
    ),
    "a received snapshot is not synced": Patch(
        "node/incoming.py",
        "        issue(node, SYNC, SNAPSHOT_QUEUE, FOREIGN_FILE, 0, FOREIGN, SYNCED)\n",
        "        place = issue(node, SYNC, SNAPSHOT_QUEUE, FOREIGN_FILE, 0, FOREIGN, SYNCED)\n"
        '        if state["bug"] == 7:\n            node.disk[place]["sync"] = 0\n',
    ),
    "an answer to an earlier life's read is taken": Patch(
        "raft/reading.py",
        'if message["hint_index"] != raft.state[0]["boot"]:',
        'if message["hint_index"] != raft.state[0]["boot"] and raft.state[0]["bug"] != 8:',
    ),
    "watchers miss an event when a snapshot is installed": Patch(
        "node/loading.py",
        '    node.statistics[0]["snapshots_loaded"] += 1\n',
        '    node.statistics[0]["snapshots_loaded"] += 1\n'
        '    for watcher in range(int(node.store.state[0]["watcher_top"])):\n'
        '        node.store.watchers[watcher]["next_revision"] += 1 if state["bug"] == 9 else 0\n',
    ),
    "whose the alarm of a full disk is is forgotten in a restart": Patch(
        "node/recovery.py",
        'state["mark_alarm"] = noted["disk_alarm"]',
        'state["mark_alarm"] = 0 if state["bug"] == 10 else noted["disk_alarm"]',
    ),
}


def apply(patch: Patch, package: Path) -> None:
    """Change a file of the copy."""
    path = package / patch.file
    text = path.read_text()
    assert text.count(patch.old) == 1, f"{patch.file} does not have the lines that are to be replaced, or twice"
    path.write_text(text.replace(patch.old, patch.new))


def simulate(folder: Path, number: int, seeds: int) -> subprocess.CompletedProcess[str]:
    """Run seeds of the copy in ``folder``, with bug ``number`` in force, until one proves it wrong."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PLANTED": str(number)}
    command = [sys.executable, "-m", "kvbench.sim", "--jobs", "1", "--count", str(seeds), "--until-wrong"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_planted_bugs_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(PACKAGE, tmp_path / "kvbench", ignore=shutil.ignore_patterns("__pycache__"))
    for patch in [*NUMBER, *BUGS.values()]:
        apply(patch, tmp_path / "kvbench")
    harmless = simulate(tmp_path, 0, 20)
    assert harmless.returncode == 0, harmless.stdout[:500] + harmless.stderr[-500:]
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda number: simulate(tmp_path, number, SEEDS), range(1, len(BUGS) + 1))
        for name, run in zip(BUGS, runs, strict=True):
            assert run.returncode == 1, f"{name}: {run.stdout[-300:]}{run.stderr[-300:]}"
            with capsys.disabled():
                print(f"\n{name}: {run.stdout.splitlines()[0][:150]}")
