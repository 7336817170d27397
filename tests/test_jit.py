"""Compiled code on disk: kept, shared between processes, and thrown away exactly when a source below it changed."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite.binding import parse_bitcode
from numba import int64

from kvbench import jit
from kvbench.rt import histogram

PACKAGES = ("rt", "ops", "load", "report")
"""Enough of the package for kernels of ``load``, and one that they do not depend on."""

PROBE = """
import json, sys
import numpy as np
from kvbench import jit
from kvbench.load import mix
from kvbench.load.plan import Operation
from kvbench.ops.kinds import Kind
from kvbench.rt import histogram, rng

chosen = mix.new_mix([Operation(Kind.PUT, 1.0), Operation(Kind.GET, 1.0)], 1)
reports = []
jit.compile_for(mix.choose, (chosen, 5), "probe", reports.append)
again = jit.compile_for(mix.choose, (chosen, 5), "probe")
histogram.bucket_of(5000)
result = {"choice": int(mix.choose(chosen, 7)), "again": again}
for name, each in (("choose", mix.choose), ("unit", rng.unit), ("bucket_of", histogram.bucket_of)):
    stats = each.stats
    result[name] = [sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]
print(json.dumps(result))
"""
"""Calls one kernel of ``load`` (which calls one of ``rt``) and one of ``rt``; says hits and misses of the cache."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package's sources that a test may edit."""
    target = tmp_path / "tree" / "kvbench"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        source = jit.PACKAGE_ROOT / name
        if source.exists():
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            (target / name).mkdir(parents=True)
    for name in ("__init__.py", "jit.py", "jit_tuples.py"):
        shutil.copy(jit.PACKAGE_ROOT / name, target / name)
    (target / "report" / "page.py").write_text("COLOUR = 1\n")
    return target


def start(tree: Path, cache: Path, probe: str = PROBE, **changed: str) -> subprocess.Popen[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment = plain | {"PYTHONPATH": str(tree.parent), "KVBENCH_CACHE": str(cache)} | changed
    return subprocess.Popen(
        [sys.executable, "-c", probe],
        cwd=tree.parent,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """What the probe printed, and its standard error."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(output), errors


def probe(tree: Path, cache: Path, **changed: str) -> dict[str, Any]:
    return finish(start(tree, cache, **changed))[0]


COMPILED, LOADED = [0, 1], [1, 0]


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tree: Path, tmp_path: Path) -> None:
    first, second = probe(tree, tmp_path / "cache"), probe(tree, tmp_path / "cache")
    assert first["choose"] == first["bucket_of"] == COMPILED
    assert second["choose"] == second["bucket_of"] == LOADED
    assert second["unit"] == [0, 0]  # its code is part of its caller's
    assert first["choice"] == second["choice"]
    assert first["again"] == second["again"] == 0.0


@pytest.mark.slow
def test_an_edit_below_recompiles_what_is_above_and_an_edit_elsewhere_nothing(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    probe(tree, cache)
    (tree / "report" / "page.py").write_text("COLOUR = 2\n")
    assert probe(tree, cache)["choose"] == LOADED
    edited = tree / "rt" / "rng.py"
    edited.write_text(edited.read_text() + "\nCHANGED = 1\n")
    after = probe(tree, cache)
    assert after["choose"] == after["bucket_of"] == COMPILED
    edited = tree / "load" / "plan.py"
    edited.write_text(edited.read_text() + "\nCHANGED = 1\n")
    after = probe(tree, cache)
    assert after["choose"] == COMPILED
    assert after["bucket_of"] == LOADED


@pytest.mark.slow
def test_an_edit_of_a_callee_changes_what_its_caller_does(tree: Path, tmp_path: Path) -> None:
    """What numba's own cache gets wrong: the caller's file did not change."""
    cache = tmp_path / "cache"
    assert probe(tree, cache)["choice"] in (0, 1)
    edited = tree / "rt" / "rng.py"
    for drawn, choice in (("0.0", 0), ("0.75", 1)):
        edited.write_text(edited.read_text() + f"\n@kernel\ndef unit(key, counter):\n    return {drawn}\n")
        assert probe(tree, cache)["choice"] == choice


ENTRY = """

@entry
def far(numbers, step):
    numbers[0] += step
    return int(numbers[0])
"""
CALLERS = """
from kvbench.jit import kernel
from kvbench.rt.rng import far

@kernel
def twice(numbers):
    return far(numbers, 1) + far(numbers, numbers[1])

@kernel
def once(numbers):
    return far(numbers, 5)
"""
ENTRY_PROBE = """
import json
import numpy as np
from kvbench.load import callers
from kvbench.rt import rng

numbers = np.array([1, 10], np.int64)
result = {"results": [callers.twice(numbers), callers.once(numbers), int(rng.far(numbers, 2))]}
for name, each in (("twice", callers.twice), ("once", callers.once), ("far", rng.far)):
    result[name] = [sum(each.stats.cache_hits.values()), sum(each.stats.cache_misses.values())]
print(json.dumps(result))
"""


@pytest.mark.slow
def test_an_entry_is_compiled_once_and_found_by_what_calls_it(tree: Path, tmp_path: Path) -> None:
    edited = tree / "rt" / "rng.py"
    plain = edited.read_text().replace("import kernel", "import entry, kernel")
    edited.write_text(plain + ENTRY)
    (tree / "load" / "callers.py").write_text(CALLERS)
    results = [2 + 12, 17, 19]
    first = finish(start(tree, tmp_path / "cache", ENTRY_PROBE))[0]
    assert first == {"results": results, "twice": COMPILED, "once": COMPILED, "far": COMPILED}
    second = finish(start(tree, tmp_path / "cache", ENTRY_PROBE))[0]
    assert second == {"results": results, "twice": LOADED, "once": LOADED, "far": LOADED}
    edited.write_text(plain + ENTRY.replace("+= step", "+= 2 * step"))
    third = finish(start(tree, tmp_path / "cache", ENTRY_PROBE))[0]
    assert third == {"results": [3 + 23, 33, 37], "twice": COMPILED, "once": COMPILED, "far": COMPILED}


@pytest.mark.slow
def test_an_entry_whose_code_is_gone_is_compiled_for_what_calls_it(tree: Path, tmp_path: Path) -> None:
    edited = tree / "rt" / "rng.py"
    edited.write_text(edited.read_text().replace("import kernel", "import entry, kernel") + ENTRY)
    (tree / "load" / "callers.py").write_text(CALLERS)
    first = finish(start(tree, tmp_path / "cache", ENTRY_PROBE))[0]
    for kept in (tmp_path / "cache").rglob("rng.far*"):
        kept.unlink()
    second = finish(start(tree, tmp_path / "cache", ENTRY_PROBE))[0]
    assert second == {**first, "twice": LOADED, "once": LOADED}


@pytest.mark.slow
def test_two_processes_at_once_compile_once(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [start(tree, cache), start(tree, cache)]
    results = [finish(process)[0] for process in both]
    for name in ("choose", "bucket_of"):  # under a group's lock, and under its own alone
        assert sorted(result[name] for result in results) == [COMPILED, LOADED]
    assert results[0]["choice"] == results[1]["choice"]


@pytest.mark.slow
def test_each_mode_has_code_of_its_own(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert probe(tree, cache)["choose"] == COMPILED
    assert probe(tree, cache, NUMBA_BOUNDSCHECK="1")["choose"] == COMPILED
    assert probe(tree, cache)["choose"] == LOADED


@pytest.mark.slow
def test_edits_do_not_pile_up_code(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    edited = tree / "rt" / "rng.py"
    counts = []
    for line in range(3):
        edited.write_text(f"# {line}\n" + edited.read_text())
        probe(tree, cache)
        counts.append(len(list(cache.rglob("*.nbc"))))
    assert counts[0] == counts[1] == counts[2] > 0


@pytest.mark.slow
def test_damaged_code_is_compiled_anew(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    probe(tree, cache)
    for damaged in (*cache.rglob("*.nbc"), *cache.rglob("*.nbi")):
        damaged.write_bytes(damaged.read_bytes()[:20])
    assert probe(tree, cache)["choose"][0] == 0
    assert probe(tree, cache)["choose"] == LOADED


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_said_once_and_stops_nothing(tree: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    result, errors = finish(start(tree, blocked / "cache"))
    assert result["choice"] in (0, 1)
    assert errors.count("cannot keep compiled code") == 1
    assert "KVBENCH_CACHE" in errors and "Not a directory" in errors


@pytest.mark.slow
def test_a_full_disk_is_said_and_stops_nothing(tree: Path, tmp_path: Path) -> None:
    """The kernels' files may grow to 1,000 bytes at most, as if the disk were full."""
    limited = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    result, errors = finish(start(tree, tmp_path / "cache", limited + PROBE))
    assert result["choice"] in (0, 1)
    assert errors.count("cannot keep compiled code") == 1


@pytest.mark.slow
def test_interpreted_there_is_nothing_to_compile(tree: Path, tmp_path: Path) -> None:
    """No dispatcher, so no statistics; and the choice is the compiled one's."""
    plain = PROBE.split("for name, each")[0] + "print(json.dumps(result))"
    interpreted, _ = finish(start(tree, tmp_path / "cache", plain, NUMBA_DISABLE_JIT="1"))
    assert interpreted == {"choice": probe(tree, tmp_path / "cache")["choice"], "again": 0.0}


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KVBENCH_CACHE", str(tmp_path / "own"))
    assert jit.cache_root() == tmp_path / "own"
    monkeypatch.delenv("KVBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.cache_root() == tmp_path / "xdg" / "kvbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jit.cache_root() == tmp_path / ".cache" / "kvbench"


def test_long_work_is_reported_while_it_lasts() -> None:
    """Reports come from another thread until the work is over, with the time it has taken so far."""
    reports: list[float] = []
    with jit.reporting(reports.append, every_s=0.001):
        while len(reports) < 3:
            pass
    known = len(reports)
    assert reports == sorted(reports) and reports[0] > 0
    with jit.reporting(None):
        assert len(reports) == known


def test_nobody_reads_code_while_another_process_writes_it() -> None:
    """A reader waits for the folder's lock, which is by open file: another thread is as good as another process."""
    if not jit.JIT_ENABLED:
        assert jit.is_compiled(histogram.lowest_of)
        return
    kept = jit.KernelCache(histogram.lowest_of.py_func)  # type: ignore[attr-defined]
    context = histogram.lowest_of.targetctx  # type: ignore[attr-defined]
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(kept.load_overload((int64,), context)))
    with open(Path(kept.cache_path) / jit.LOCK_NAME, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reader.start()
        reader.join(timeout=0.2)
        assert not found
    reader.join()
    assert len(found) == 1


@jit.kernel
def outside(value: int) -> int:
    """A kernel that is not the package's."""
    return value + 1


def test_kernels_outside_the_package_are_not_kept() -> None:
    assert outside(1) == 2
    assert jit.is_compiled(outside)
    if jit.JIT_ENABLED:
        assert not any(outside.stats.cache_hits.values())  # type: ignore[attr-defined]
        assert type(outside._cache).__name__ == "NullCache"  # type: ignore[attr-defined]


@jit.kernel
def scaled(value: int, factor: int = 10) -> int:
    """Called from Python and, with several constants, from kernels."""
    return value * factor


@jit.kernel
def sums_of_scaled(value: int) -> int:
    """Calls it by position, by name and by default."""
    return scaled(value, 3) + scaled(value, factor=5) + scaled(value)


@jit.kernel
def divided(numerator: float, denominator: float) -> float:
    """A division that kernels may make."""
    return numerator / denominator


def test_long_types_make_short_names() -> None:
    short = jit.short_name("f", [int64])
    assert short == jit.short_name("f", [int64]) != jit.short_name("g", [int64])
    names = set()
    for count in (50, 51):
        kind = numba.typeof(np.zeros(1, np.dtype([(f"field_{i}", np.int64) for i in range(count)])))
        assert len(str(kind)) > 1000
        names |= {jit.short_name("f", [kind]), jit.short_name("f", [kind, int64]), jit.short_name("f", [kind], uid=1)}
    assert len(names) == 6
    assert max(map(len, names)) < 100


@pytest.mark.skipif(not jit.JIT_ENABLED, reason="there is no machine code")
def test_what_is_kept_is_machine_code_and_names_alone() -> None:
    kernel: Any = numba.njit(pipeline_class=jit.WholeCompiler, **jit.OPTIONS)(lambda value: value + 1)
    kernel.compile((int64,))
    _, form, (machine_code, names) = kernel.overloads[(int64,)].library.serialize_using_object_code()
    assert form == "object"
    assert machine_code.startswith(b"\x7fELF")
    functions = parse_bitcode(names).functions
    assert len(list(functions)) == 3  # itself, and what Python and C call
    assert all(len(list(function.blocks)) == 1 for function in functions)


def test_a_kernel_is_the_same_from_python_and_within_another() -> None:
    assert sums_of_scaled(2) == 2 * (3 + 5 + 10)
    assert scaled(2, 3) == 6 and scaled(2) == 20
    assert sums_of_scaled(scaled(1, 1 << 40)) == 18 << 40


WIDTHS = np.dtype([("i64", np.int64), ("i32", np.int32), ("u32", np.uint32), ("u8", np.uint8)], align=True)


@jit.kernel
def doubled(value: int) -> int:
    """Called with fields of every width."""
    return int(value) * 2


@jit.kernel
def sum_of_doubled(rows: Any) -> int:
    """Calls it with each field."""
    row = rows[0]
    return doubled(row["i64"]) + doubled(row["i32"]) + doubled(row["u32"]) + doubled(row["u8"])


def test_fields_of_every_width_share_a_kernels_code() -> None:
    rows = np.array([(-(1 << 40), -5, (1 << 32) - 1, 255)], WIDTHS)
    assert sum_of_doubled(rows) == 2 * (-(1 << 40) - 5 + (1 << 32) - 1 + 255)
    if jit.JIT_ENABLED:
        part = doubled.get_overload.__self__  # type: ignore[attr-defined]
        assert list(part.overloads) == [(int64,)]


@jit.entry
def far(rows: Any, factor: int) -> int:
    """Called where it is."""
    return int(rows[0]["i64"]) * factor


@jit.kernel
def sum_of_far(rows: Any) -> int:
    """Calls it with a constant and with a narrow field."""
    return far(rows, 3) + far(rows, rows[0]["u8"])


def test_an_entry_is_the_same_from_python_and_within_a_kernel_and_compiled_once() -> None:
    rows = np.array([(7, -5, 1, 4)], WIDTHS)
    assert sum_of_far(rows) == 7 * 3 + 7 * 4
    assert far(rows, 2) == 14
    if jit.JIT_ENABLED:
        assert len(far.overloads) == 1  # type: ignore[attr-defined]
        (caller,) = sum_of_far.overloads.values()  # type: ignore[attr-defined]
        (called,) = far.overloads.values()  # type: ignore[attr-defined]
        assert caller.library._final_module.get_function(called.fndesc.llvm_func_name).is_declaration


def test_compiled_division_by_zero_does_not_raise() -> None:
    if jit.JIT_ENABLED:
        assert divided(1.0, 0.0) == float("inf")
    else:
        with pytest.raises(ZeroDivisionError):
            divided(1.0, 0.0)
