"""Which operation a request is: a pure function of seed and index, by weight."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvbench.jit import kernel
from kvbench.load import streams
from kvbench.load.plan import Operation
from kvbench.rt import rng


class Mix(NamedTuple):
    """The operations of a phase, one array per property, in the order of the plan."""

    key: int
    """Key of the random stream."""
    thresholds: npt.NDArray[np.float64]
    """float64[n]: share of the weights up to and with each; 1 from the last with weight on"""
    kinds: npt.NDArray[np.int64]
    """int64[n]: ops.kinds.Kind"""
    limits: npt.NDArray[np.int64]
    """int64[n]: RANGE: most keys to return"""
    keys: npt.NDArray[np.int64]
    """int64[n]: TXN: keys written"""
    ttls_s: npt.NDArray[np.int64]
    """int64[n]: LEASE_GRANT: time to live"""


def new_mix(operations: Sequence[Operation], seed: int) -> Mix:
    """Arrays of a plan's operations. Raises ValueError without operations or when the weights are not a mix."""
    weights = np.array([operation.weight for operation in operations], np.float64)
    if not len(weights) or not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() <= 0:
        raise ValueError(f"operations need weights of at least 0, one of them above 0, not {weights.tolist()}")
    thresholds = np.cumsum(weights) / weights.sum()
    thresholds[np.flatnonzero(weights)[-1] :] = 1.0
    return Mix(
        key=rng.derive(seed, streams.MIX),
        thresholds=thresholds,
        kinds=np.array([operation.kind for operation in operations], np.int64),
        limits=np.array([operation.limit for operation in operations], np.int64),
        keys=np.array([operation.keys for operation in operations], np.int64),
        ttls_s=np.array([operation.ttl_s for operation in operations], np.int64),
    )


@kernel
def choose(mix: Any, index: int) -> int:
    """Position in the mix of request ``index``'s operation. One of weight 0 is never chosen."""
    if len(mix.thresholds) == 1:
        return 0
    drawn = rng.unit(mix.key, index)
    position = 0
    while drawn >= mix.thresholds[position]:
        position += 1
    return position
