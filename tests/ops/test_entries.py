"""An entry's prefix: each field where ENTRY_PREFIX says it is, and nothing outside its 32 bytes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.ops import entries
from kvbench.ops.entries import ENTRY_PREFIX, PREFIX_BYTES, EntryKind

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.sampled_from(EntryKind), st.integers(0, 255), st.integers(0, (1 << 32) - 1), INT64, INT64, INT64,
    st.integers(0, 9),
)  # fmt: skip
def test_fields(kind: EntryKind, origin: int, boot: int, request: int, time_ns: int, lease_id: int, at: int) -> None:
    buf = np.full(48, 0xEE, np.uint8)
    assert entries.write_prefix(buf, at, int(kind), origin, boot, request, time_ns, lease_id) == at + PREFIX_BYTES
    written = buf[at : at + PREFIX_BYTES].copy().view(ENTRY_PREFIX)[0]
    assert written.tolist() == (kind, origin, 0, boot, request, time_ns, lease_id)
    assert set(buf[:at].tolist() + buf[at + PREFIX_BYTES :].tolist()) == {0xEE}
    assert entries.kind_of(buf, at) == kind
    assert entries.origin_of(buf, at) == origin
    assert entries.boot_of(buf, at) == boot
    assert entries.request_of(buf, at) == request
    assert entries.time_of(buf, at) == time_ns
    assert entries.lease_of(buf, at) == lease_id


def test_the_prefix_is_as_long_as_its_record() -> None:
    assert ENTRY_PREFIX.itemsize == PREFIX_BYTES
