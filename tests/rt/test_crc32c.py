"""CRC32C: the published values, the same by instruction, by table and bit by bit, on any machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench import jit
from kvbench.jit import JIT_ENABLED
from kvbench.rt.crc32c import crc32c, crc32c_by_table, has_instruction
from tests.naive import crc32c as naive

FUNCTIONS: list[Callable[[Any, int, int, int], int]] = [crc32c, crc32c_by_table]
ISCSI_READ = bytes.fromhex("01c00000" + "00" * 12 + "14000000" + "00000400" + "00000014" + "00000018" + "28000000" + "00" * 4 + "02000000" + "00" * 4)  # fmt: skip  # noqa: E501
PUBLISHED = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (ISCSI_READ, 0xD9963A56),
    (b"123456789", 0xE3069283),
    (b"", 0),
]
"""RFC 3720, appendix B.4; and the usual check value of the catalogues."""


def array_of(data: bytes) -> Any:
    return np.frombuffer(data + bytes(1), np.uint8).copy()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("data", "checksum"), PUBLISHED)
def test_published_values(function: Callable[[Any, int, int, int], int], data: bytes, checksum: int) -> None:
    assert function(array_of(data), 0, len(data), 0) == checksum == naive.crc32c(data)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.binary(max_size=70), at=st.integers(0, 9), seed=st.integers(0, (1 << 32) - 1))
def test_any_bytes_anywhere(function: Callable[[Any, int, int, int], int], data: bytes, at: int, seed: int) -> None:
    buf = array_of(bytes(at) + data)
    assert function(buf, at, len(data), seed) == naive.crc32c(data, seed)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.binary(max_size=40), st.data())
def test_in_two_pieces(function: Callable[[Any, int, int, int], int], data: bytes, more: st.DataObject) -> None:
    split = more.draw(st.integers(0, len(data)))
    buf = array_of(data)
    first = function(buf, 0, split, 0)
    assert function(buf, split, len(data) - split, first) == naive.crc32c(data)


PROBE = """
import numpy as np
from kvbench.rt import crc32c
data = np.arange(100, dtype=np.uint8)
print(crc32c.has_instruction(), crc32c.crc32c(data, 1, 99, 7))
"""


@pytest.mark.parametrize(("name", "features"), [("generic", "+sse2"), ("generic", "+sse2,+sse4.2,+crc32")])
def test_other_machines(tmp_path: Path, name: str, features: str) -> None:
    """Code for a machine without the instruction compiles, and gives the same."""
    if not JIT_ENABLED:
        assert not has_instruction()
        return
    machine = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "KVBENCH_CACHE": str(tmp_path)}
    root = jit.PACKAGE_ROOT.parent
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=os.environ | machine, cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str("+crc32" in features), str(naive.crc32c(bytes(range(1, 100)), 7))]
