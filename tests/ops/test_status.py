"""Statuses and texts of refusals: kernels and Python say the same, in a form that a grpc-message can carry."""

import numpy as np
import pytest

from kvbench.ops import status
from kvbench.ops.errors import ErrorCode
from kvbench.ops.status import GRPC_STATUS, TEXT, StoreError
from kvbench.rt import codes


@pytest.mark.parametrize("error", list(StoreError))
def test_kernels_say_the_same_as_python(error: StoreError) -> None:
    assert error in codes.STATUS
    assert status.is_store_error(int(error))
    assert status.grpc_status(int(error)) == GRPC_STATUS[error]
    buf = np.full(128, 0xEE, np.uint8)
    end = status.write_text(buf, 3, int(error))
    assert bytes(buf[3:end]).decode() == TEXT[error]
    assert (buf[end:] == 0xEE).all()
    assert end - 3 == status.text_bytes(int(error)) <= status.TEXT_BYTES_MAX


def test_no_other_number_is_a_store_error() -> None:
    assert [int(error) for error in StoreError] == [status.FIRST - i for i in range(status.ERRORS)]
    for number in (0, 5, -1, status.FIRST + 1, status.FIRST - status.ERRORS):
        assert not status.is_store_error(number)


def test_texts_need_no_escape_and_differ() -> None:
    assert len(set(TEXT.values())) == len(TEXT)
    assert all(32 <= ord(letter) < 127 and letter != "%" for text in TEXT.values() for letter in text)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (StoreError.EMPTY_KEY, ErrorCode.INVALID_ARGUMENT, "etcdserver: key is not provided"),
        (StoreError.COMPACTED, ErrorCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
        (StoreError.NO_SPACE, ErrorCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
        (StoreError.LEASE_EXISTS, ErrorCode.FAILED_PRECONDITION, "etcdserver: lease already exists"),
        (StoreError.LEADER_CHANGED, ErrorCode.UNAVAILABLE, "etcdserver: leader changed"),
        (StoreError.BAD_LEADER_TRANSFEREE, ErrorCode.FAILED_PRECONDITION, "etcdserver: bad leader transferee"),
        (StoreError.DUPLICATE_WATCH_ID, ErrorCode.INVALID_ARGUMENT,
         "mvcc: duplicate watch ID provided on the WatchStream"),
        (StoreError.TIMEOUT_LEADER_TRANSFER, ErrorCode.UNKNOWN,
         "etcdserver: request timed out, leader transfer took too long"),
    ],
)  # fmt: skip
def test_names_stand_for_the_right_texts(error: StoreError, code: ErrorCode, text: str) -> None:
    assert (GRPC_STATUS[error], TEXT[error]) == (code, text)
