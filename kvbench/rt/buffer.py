"""Bytes in flat uint8 arrays: copy, compare, fill, and integers of either byte order at any offset.

Compiled code reads and writes where it is told, so callers check room first. Interpreted, and compiled with
NUMBA_BOUNDSCHECK=1, an access that is not wholly within its array raises IndexError: what numba's own checks do for
subscripts.
"""

import struct
from typing import Any

from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.core.typing import signature
from numba.extending import intrinsic, overload

from kvbench.jit import BOUNDSCHECK, kernel


@kernel
def check(array: Any, at: int, size: int) -> None:
    """Raise IndexError unless bytes ``at`` to ``at + size`` are all in ``array``."""
    if at < 0 or size < 0 or at + size > len(array):
        raise IndexError("bytes outside of the array")


def _require_bytes(*arrays: Any) -> None:
    """Refuse to compile for anything but one-dimensional, contiguous uint8 arrays."""
    for array in arrays:
        if not isinstance(array, types.Array) or (array.dtype, array.ndim, array.layout) != (types.uint8, 1, "C"):
            raise errors.TypingError(f"rt.buffer works on contiguous uint8 arrays, not on {array}")


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return builder.gep(view.data, [offset])


@intrinsic
def _copy(typing_context: Any, target: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    _require_bytes(target, source)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to = _pointer(context, builder, sig.args[0], args[0], args[1])
        origin = _pointer(context, builder, sig.args[2], args[2], args[3])
        cgutils.raw_memmove(builder, to, origin, args[4], 1)
        return context.get_dummy_value()

    return signature(types.none, target, types.int64, source, types.int64, types.int64), generate


@intrinsic
def _fill(typing_context: Any, target: Any, at: Any, size: Any, byte: Any) -> Any:
    _require_bytes(target)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to = _pointer(context, builder, sig.args[0], args[0], args[1])
        value = builder.trunc(args[3], ir.IntType(8))
        cgutils.memset(builder, to, args[2], value)
        return context.get_dummy_value()

    return signature(types.none, target, types.int64, types.int64, types.int64), generate


def _make_load(bits: int, swap: bool) -> Any:
    @intrinsic
    def load(typing_context: Any, array: Any, offset: Any) -> Any:
        _require_bytes(array)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
            integer = ir.IntType(bits)
            value = builder.load(builder.bitcast(pointer, integer.as_pointer()), align=1)
            if swap:
                value = builder.bswap(value)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return signature(types.int64, array, types.int64), generate

    return load


def _make_store(bits: int, swap: bool) -> Any:
    @intrinsic
    def store(typing_context: Any, array: Any, offset: Any, value: Any) -> Any:
        _require_bytes(array)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
            integer = ir.IntType(bits)
            value = args[2] if bits == 64 else builder.trunc(args[2], integer)
            if swap:
                value = builder.bswap(value)
            builder.store(value, builder.bitcast(pointer, integer.as_pointer()), align=1)
            return context.get_dummy_value()

        return signature(types.none, array, types.int64, types.int64), generate

    return store


def copy(target: Any, at: int, source: Any, start: int, size: int) -> None:
    """Copy ``size`` bytes from ``source[start:]`` to ``target[at:]``; the two may overlap."""
    check(target, at, size)
    check(source, start, size)
    target[at : at + size] = source[start : start + size].copy()


def fill(target: Any, at: int, size: int, byte: int) -> None:
    """Set ``size`` bytes of ``target`` from ``at`` on to ``byte``."""
    check(target, at, size)
    target[at : at + size] = byte


def equal(left: Any, left_at: int, right: Any, right_at: int, size: int) -> bool:
    """Whether ``size`` bytes of two arrays are the same."""
    check(left, left_at, size)
    check(right, right_at, size)
    return bool((left[left_at : left_at + size] == right[right_at : right_at + size]).all())


def compare(left: Any, left_at: int, left_size: int, right: Any, right_at: int, right_size: int) -> int:
    """-1, 0 or 1: how the bytes of two arrays are ordered, as Python orders bytes."""
    check(left, left_at, left_size)
    check(right, right_at, right_size)
    here, there = bytes(left[left_at : left_at + left_size]), bytes(right[right_at : right_at + right_size])
    return (here > there) - (here < there)


def load_be16(array: Any, offset: int) -> int:
    """Big-endian uint16 as int64."""
    return _unpack(">H", array, offset)


def load_be32(array: Any, offset: int) -> int:
    """Big-endian uint32 as int64 (0 to 2**32 - 1)."""
    return _unpack(">I", array, offset)


def load_be64(array: Any, offset: int) -> int:
    """Big-endian int64."""
    return _unpack(">q", array, offset)


def load_le32(array: Any, offset: int) -> int:
    """Little-endian uint32 as int64."""
    return _unpack("<I", array, offset)


def load_le64(array: Any, offset: int) -> int:
    """Little-endian int64."""
    return _unpack("<q", array, offset)


def store_be16(array: Any, offset: int, value: int) -> None:
    """Write the low 16 bits of ``value``, big-endian."""
    _pack(">H", array, offset, int(value) & 0xFFFF)


def store_be32(array: Any, offset: int, value: int) -> None:
    """Write the low 32 bits of ``value``, big-endian."""
    _pack(">I", array, offset, int(value) & 0xFFFFFFFF)


def store_be64(array: Any, offset: int, value: int) -> None:
    """Write an int64, big-endian."""
    _pack(">q", array, offset, value)


def store_le32(array: Any, offset: int, value: int) -> None:
    """Write the low 32 bits of ``value``, little-endian."""
    _pack("<I", array, offset, int(value) & 0xFFFFFFFF)


def store_le64(array: Any, offset: int, value: int) -> None:
    """Write an int64, little-endian."""
    _pack("<q", array, offset, value)


def _unpack(code: str, array: Any, offset: int) -> int:
    check(array, offset, struct.calcsize(code))
    return int(struct.unpack_from(code, array, offset)[0])


def _pack(code: str, array: Any, offset: int, value: int) -> None:
    check(array, offset, struct.calcsize(code))
    struct.pack_into(code, array, offset, value)


@overload(copy, strict=False)
def _overload_copy(target: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    def checked(target, at, source, start, size):  # type: ignore[no-untyped-def]
        check(target, at, size)
        check(source, start, size)
        _copy(target, at, source, start, size)

    return checked if BOUNDSCHECK else lambda target, at, source, start, size: _copy(target, at, source, start, size)


@overload(fill, strict=False)
def _overload_fill(target: Any, at: Any, size: Any, byte: Any) -> Any:
    def checked(target, at, size, byte):  # type: ignore[no-untyped-def]
        check(target, at, size)
        _fill(target, at, size, byte)

    return checked if BOUNDSCHECK else lambda target, at, size, byte: _fill(target, at, size, byte)


def _register_load(function: Any, bits: int, swap: bool) -> Any:
    """Have compiled code do ``function`` by one load instruction, which is returned."""
    compiled = _make_load(bits, swap)
    size = bits // 8

    @overload(function, strict=False)
    def choose(array: Any, offset: Any) -> Any:
        def checked(array, offset):  # type: ignore[no-untyped-def]
            check(array, offset, size)
            return compiled(array, offset)

        return checked if BOUNDSCHECK else lambda array, offset: compiled(array, offset)

    return compiled


def _register_store(function: Any, bits: int, swap: bool) -> None:
    """Have compiled code do ``function`` by one store instruction."""
    compiled = _make_store(bits, swap)
    size = bits // 8

    @overload(function, strict=False)
    def choose(array: Any, offset: Any, value: Any) -> Any:
        def checked(array, offset, value):  # type: ignore[no-untyped-def]
            check(array, offset, size)
            compiled(array, offset, value)

        return checked if BOUNDSCHECK else lambda array, offset, value: compiled(array, offset, value)


_register_load(load_be16, 16, True)
_register_load(load_be32, 32, True)
_load_be64 = _register_load(load_be64, 64, True)
_register_load(load_le32, 32, False)
_load_le64 = _register_load(load_le64, 64, False)
_register_store(store_be16, 16, True)
_register_store(store_be32, 32, True)
_register_store(store_be64, 64, True)
_register_store(store_le32, 32, False)
_register_store(store_le64, 64, False)


@overload(equal, strict=False)
def _overload_equal(left: Any, left_at: Any, right: Any, right_at: Any, size: Any) -> Any:
    def compare(left, left_at, right, right_at, size):  # type: ignore[no-untyped-def]
        if BOUNDSCHECK:
            check(left, left_at, size)
            check(right, right_at, size)
        position = 0
        while position + 8 <= size:
            if _load_le64(left, left_at + position) != _load_le64(right, right_at + position):
                return False
            position += 8
        while position < size:
            if left[left_at + position] != right[right_at + position]:
                return False
            position += 1
        return True

    return compare


_SIGN_BIT = -(1 << 63)


@overload(compare, strict=False)
def _overload_compare(left: Any, left_at: Any, left_size: Any, right: Any, right_at: Any, right_size: Any) -> Any:
    sign = _SIGN_BIT

    def order(left, left_at, left_size, right, right_at, right_size):  # type: ignore[no-untyped-def]
        if BOUNDSCHECK:
            check(left, left_at, left_size)
            check(right, right_at, right_size)
        size = min(left_size, right_size)
        position = 0
        while position + 8 <= size:
            here = _load_be64(left, left_at + position)
            there = _load_be64(right, right_at + position)
            if here != there:
                return -1 if here ^ sign < there ^ sign else 1
            position += 8
        while position < size:
            if left[left_at + position] != right[right_at + position]:
                return -1 if left[left_at + position] < right[right_at + position] else 1
            position += 1
        if left_size == right_size:
            return 0
        return -1 if left_size < right_size else 1

    return order
