"""The option that writes the scripts' expected output anew."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scripts",
        action="store_true",
        help="write into tests/raft/scripts what the core does now (give tests/raft as a path), to read the difference",
    )
