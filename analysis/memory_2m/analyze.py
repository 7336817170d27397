"""Memory of the built-in store's members before and during 2,000,000 puts, and how soon they serve the keys again.

    python analysis/memory_2m/analyze.py results/memory_2m/DATE [--restart]

Reads the results of ``kvbench run ... --keep-data``. With ``--restart`` the members of each run are started again on
the data that was kept, with the commands that the run started them with; then killed, and started once more.
"""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil

from kvbench.artifact.errors import ArtifactError
from kvbench.artifact.reader import Artifact, read, read_result

MB = 1_000_000
SAMPLE_S = 0.02
SETTLED_S = 2.0
STOP_S = 60.0
START_S = 300.0


def memory_of(run: Artifact) -> pd.DataFrame:
    """A row per member: resident MB before the first put (the first sample), at most, and at the end."""
    rows = run.resources[run.resources["member"].isin(run.manifest["target"]["commands"])]
    by_member = rows.dropna(subset=["rss_bytes"]).sort_values("t_ns").groupby("member")["rss_bytes"]
    return pd.DataFrame({"empty": by_member.first(), "peak": by_member.max(), "end": by_member.last()}) / MB


class Members:
    """The members of a run, started again."""

    def __init__(self, commands: dict[str, list[str]]) -> None:
        """``commands``: by member, from the run's manifest. All are started at once."""
        self.began = time.monotonic()
        self.processes = {
            name: psutil.Popen(command, stdout=subprocess.PIPE, text=True) for name, command in commands.items()
        }
        self.ready_s: dict[str, float] = {}
        self.peak = dict.fromkeys(commands, 0)
        self._waiting = [threading.Thread(target=self._wait, args=(name,), daemon=True) for name in commands]
        for thread in self._waiting:
            thread.start()

    def _wait(self, name: str) -> None:
        """The line that a member writes once it serves: it knows a leader and has applied all that was committed."""
        if self.processes[name].stdout.readline().startswith("ready"):
            self.ready_s[name] = time.monotonic() - self.began

    def look(self) -> None:
        """Note how much memory they have."""
        for name, process in self.processes.items():
            self.peak[name] = max(self.peak[name], process.memory_info().rss)

    def wait(self) -> None:
        """Until all serve, and a little more. Raises psutil.Error when one ends instead, TimeoutError."""
        settled_at = 0.0
        while not settled_at or time.monotonic() < settled_at:
            self.look()
            time.sleep(SAMPLE_S)
            if not settled_at and len(self.ready_s) == len(self.processes):
                settled_at = time.monotonic() + SETTLED_S
            if time.monotonic() - self.began > START_S:
                raise TimeoutError(f"not all members serve after {START_S:.0f} s")

    def end(self, number: signal.Signals) -> None:
        """End all of them."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(number)
        for process in self.processes.values():
            process.wait(STOP_S)
            process.stdout.close()
        for thread in self._waiting:
            thread.join()


def restart(commands: dict[str, list[str]], number: signal.Signals) -> pd.DataFrame:
    """Start the members and end them with a signal: a row per member."""
    members = Members(commands)
    try:
        members.wait()
        now = {name: process.memory_info().rss for name, process in members.processes.items()}
    finally:
        members.end(number)
    seen = {"serves after s": pd.Series(members.ready_s), "peak": pd.Series(members.peak) / MB}
    return pd.DataFrame({**seen, "then": pd.Series(now) / MB})


def main(arguments: list[str]) -> int:
    """Print the tables. Returns the exit code."""
    folders = [one for one in arguments if one != "--restart"]
    if len(folders) != 1:
        print("usage: analyze.py FOLDER-OF-RESULTS [--restart]", file=sys.stderr)
        return 2
    try:
        root = Path(folders[0])
        entries = read_result(root).summary["runs"]
        runs = [read(root / str(entry["artifact"])) for entry in entries]
    except ArtifactError as error:
        print(f"{error.what}\n  {error.remedy}", file=sys.stderr)
        return 2
    for entry, run in zip(entries, runs, strict=True):
        print(f"{run.folder.name}: {entry['client']['keys_touched']:,} keys; resident MB (10^6 bytes)")
        print(memory_of(run).round(1).to_string())
        if "--restart" in arguments:
            commands = run.manifest["target"]["commands"]
            for title, number in (("was stopped", signal.SIGKILL), ("was killed", signal.SIGTERM)):
                print(f"started again after it {title}")
                print(restart(commands, number).round(2).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
