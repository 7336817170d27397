"""Single machine instructions that Python has no operator for."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing import signature
from numba.extending import intrinsic, overload


@intrinsic
def _bit_length(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return signature(types.int64, types.int64), generate


def bit_length(value: int) -> int:
    """Bits needed for a value >= 0; 0 for 0. Same as int.bit_length."""
    return int(value).bit_length()


@overload(bit_length, strict=False)
def _overload_bit_length(value: Any) -> Any:
    return lambda value: _bit_length(value)
