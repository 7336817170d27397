"""Records that the load engine and the protocol clients share. Aligned, so that numba reads fields in place."""

import numpy as np

OPERATION = np.dtype(
    [
        ("scheduled_ns", np.int64),  # when the schedule wanted it, CLOCK_MONOTONIC
        ("index", np.int64),  # position in the phase's sequence of requests, over all shares
        ("key_index", np.int64),  # which key, 0 <= key_index < key count (inserts go beyond)
        ("expected", np.int64),  # CAS: the mod revision (etcd) or version (ZooKeeper) to compare with; 0: absent
        ("lease_id", np.int64),  # lease operations: the lease meant, 0: none
        ("kind", np.int32),  # ops.kinds.Kind
        ("parent", np.int32),  # member of a transaction: position of its TXN operation; else -1
        ("step", np.int32),  # 0, or which further request of the same operation this is (client's OUTCOME.next_step)
        ("key_at", np.int32),  # the key's place in the payload
        ("key_bytes", np.int32),
        ("end_at", np.int32),  # RANGE: place and length of the first key beyond the range
        ("end_bytes", np.int32),
        ("value_at", np.int32),  # the value's place in the payload
        ("value_bytes", np.int32),
        ("limit", np.int32),  # RANGE: most keys to return
        ("ttl_s", np.int32),  # LEASE_GRANT: time to live
    ],
    align=True,
)
"""One request before it is encoded. A transaction is a TXN record followed by its members, each naming its parent.

The *payload* is a uint8 array that holds the bytes of keys and values while the request is being encoded.
"""

OUTCOME = np.dtype(
    [
        ("sent_ns", np.int64),  # WATCH: when the put that caused the event was sent; else 0
        ("revision", np.int64),  # etcd: the key's mod revision or the header's; ZooKeeper: the node's version or zxid
        ("lease_id", np.int64),  # LEASE_GRANT: the lease granted
        ("count", np.int64),  # keys found, written or deleted; 0 with code OK: there was no such key
        ("slot", np.int32),  # which request was answered; -1: an event that answers none (WATCH)
        ("kind", np.int32),  # ops.kinds.Kind of what was answered
        ("code", np.int32),  # ops.errors.ErrorCode
        ("next_step", np.int32),  # not 0: not finished, submit the same operation again with this step
    ],
    align=True,
)
"""One answer (or event) after it is decoded."""
