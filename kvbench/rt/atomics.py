"""Loads, stores and additions that another thread sees: flags and counters shared between threads.

A plain ``while flags[0] == 0`` in a kernel is hoisted out of the loop and never ends; these are not. Each takes an
int64 array and a position. Interpreted, they are plain reads and writes, which the GIL orders.
"""

from typing import Any

from numba.core import cgutils, errors, types
from numba.core.typing import signature
from numba.extending import intrinsic, overload


def _slot(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """LLVM pointer to one element of an array."""
    view = context.make_array(array_type)(context, builder, array)
    return builder.gep(view.data, [index])


def _require_int64(array: Any) -> None:
    """Refuse to compile for anything but one-dimensional, contiguous int64 arrays."""
    if not isinstance(array, types.Array) or (array.dtype, array.ndim, array.layout) != (types.int64, 1, "C"):
        raise errors.TypingError(f"rt.atomics works on contiguous int64 arrays, not on {array}")


@intrinsic
def _load(typing_context: Any, array: Any, index: Any) -> Any:
    _require_int64(array)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _slot(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(pointer, "acquire", 8)

    return signature(types.int64, array, types.int64), generate


@intrinsic
def _store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    _require_int64(array)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _slot(context, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], pointer, "release", 8)
        return cgutils.get_null_value(context.get_value_type(types.none))

    return signature(types.none, array, types.int64, types.int64), generate


@intrinsic
def _add(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    _require_int64(array)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _slot(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, args[2], "acq_rel")

    return signature(types.int64, array, types.int64, types.int64), generate


def load(array: Any, index: int) -> int:
    """Element ``index`` of an int64 array, read with acquire ordering."""
    return int(array[index])


def store(array: Any, index: int, value: int) -> None:
    """Write element ``index`` of an int64 array with release ordering."""
    array[index] = value


def add(array: Any, index: int, value: int) -> int:
    """Add to element ``index`` of an int64 array; returns what it was before."""
    before = int(array[index])
    array[index] = before + value
    return before


@overload(load, strict=False)
def _overload_load(array: Any, index: Any) -> Any:
    return lambda array, index: _load(array, index)


@overload(store, strict=False)
def _overload_store(array: Any, index: Any, value: Any) -> Any:
    return lambda array, index, value: _store(array, index, value)


@overload(add, strict=False)
def _overload_add(array: Any, index: Any, value: Any) -> Any:
    return lambda array, index, value: _add(array, index, value)
