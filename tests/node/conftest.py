"""These tests run interpreted: a whole member takes a minute to compile, and the simulator drives it compiled."""

import os
from pathlib import Path

import pytest

from kvbench.jit import JIT_ENABLED

HERE = Path(__file__).parent
WANTED = "KVBENCH_TEST_COMPILED_NODE"
"""Environment variable that has them run compiled too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave this folder's tests out where kernels are compiled."""
    if not JIT_ENABLED or os.environ.get(WANTED):
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"run interpreted, or with {WANTED}=1"))
