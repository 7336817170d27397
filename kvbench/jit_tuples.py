"""How a subsystem's arrays travel from kernel to kernel: a NamedTuple of arrays is passed by its address.

numba passes a NamedTuple as all the numbers that its arrays consist of, seven for each: a member of the store would be
500 arguments of each of its functions. Here it is one: the address of a block, filled when Python calls, that holds
each array's address and length, and the blocks of the tuples in it. A block never changes, and LLVM is told so
(``invariant.load``): it keeps what it has read of a block, whatever is written elsewhere.

Such a tuple is made by Python alone. In kernels its fields are read; it is not indexed, compared, made or returned.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.boxing import unbox_tuple
from numba.core.datamodel import models, registry
from numba.core.extending import NativeValue, lower_getattr_generic, unbox
from numba.core.imputils import impl_ret_borrowed

LENGTH = ir.IntType(64)


ANY_TYPES: Any = types
NAMED_TUPLE = ANY_TYPES.NamedTuple
ARRAY_OR_TUPLE = (ANY_TYPES.Array, ANY_TYPES.BaseNamedTuple)


def is_vector(kind: Any) -> bool:
    """Whether a type is an array that its address and length say all of."""
    return isinstance(kind, types.Array) and kind.ndim == 1 and kind.layout == "C"


def is_block(kind: Any) -> bool:
    """Whether a type is passed by address: a NamedTuple of arrays, and of such tuples."""
    if not isinstance(kind, NAMED_TUPLE):
        return False
    return all(isinstance(each, ARRAY_OR_TUPLE) for each in kind.types)


class Block(models.DataModel):  # type: ignore[misc]
    """The model of a tuple that is passed by address. Its value is the block's address, whatever is done with it."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind)
        self.layout = ir.LiteralStructType([self.place(each) for each in kind.types])

    def place(self, kind: Any) -> Any:
        """What a field of type ``kind`` is within the block."""
        model = self._dmm.lookup(kind)
        if is_vector(kind):
            return ir.LiteralStructType([self._dmm.lookup(ANY_TYPES.CPointer(kind.dtype)).get_value_type(), LENGTH])
        return model.layout if isinstance(model, Block) else model.get_data_type()

    def get_value_type(self) -> Any:
        """Of this, the types of data, argument and return value are the same."""
        return self.layout.as_pointer()

    def as_data(self, builder: Any, value: Any) -> Any:
        """The address as it is; so are all conversions."""
        return value

    as_argument = as_return = from_data = from_argument = from_return = as_data


def model_of(manager: Any, kind: Any) -> Any:
    """The model of a NamedTuple: by address, or numba's."""
    return Block(manager, kind) if is_block(kind) else models.TupleModel(manager, kind)


registry.register_default(NAMED_TUPLE)(model_of)


def load(builder: Any, address: Any) -> Any:
    """Read from a block."""
    value = builder.load(address)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def vector(context: Any, builder: Any, kind: Any, place: Any) -> Any:
    """numba's array from its place in a block."""
    data = load(builder, cgutils.gep_inbounds(builder, place, 0, 0))
    length = load(builder, cgutils.gep_inbounds(builder, place, 0, 1))
    item_bytes = LENGTH(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    whole = ir.Constant(context.get_value_type(kind), None)
    fields = context.data_model_manager.lookup(kind)._fields
    one = ir.ArrayType(LENGTH, 1)
    values = {
        "nitems": length,
        "itemsize": item_bytes,
        "data": data,
        "shape": builder.insert_value(ir.Constant(one, None), length, 0),
        "strides": ir.Constant(one, [item_bytes]),
    }
    for name, value in values.items():
        whole = builder.insert_value(whole, value, fields.index(name))
    return whole


@lower_getattr_generic(NAMED_TUPLE)
def read_field(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    """``tuple.name``"""
    position = kind.fields.index(name)
    field = kind.types[position]
    if not is_block(kind):
        found = builder.extract_value(value, position)
    else:
        place = cgutils.gep_inbounds(builder, value, 0, position)
        if is_vector(field):
            found = vector(context, builder, field, place)
        elif is_block(field):
            found = place
        else:
            found = context.data_model_manager.lookup(field).from_data(builder, load(builder, place))
    return impl_ret_borrowed(context, builder, field, found)


def hidden(builder: Any, address: Any) -> Any:
    """The same address, of which LLVM cannot know what was written there before: a block is whole when it is seen."""
    kind = ir.FunctionType(address.type, [address.type])
    return builder.asm(kind, "", "=r,0,~{memory}", [address], side_effect=True)


def fill(kind: Any, values: Any, place: Any, calling: Any, cleanups: list[Any], failed: Any) -> None:
    """Fill a block from Python's tuple ``values``; ``failed`` becomes true where that cannot be."""
    builder, context = calling.builder, calling.context
    for position, field in enumerate(kind.types):
        value = calling.pyapi.tuple_getitem(values, position)
        to = cgutils.gep_inbounds(builder, place, 0, position)
        if is_block(field):
            fill(field, value, to, calling, cleanups, failed)
            continue
        native = calling.unbox(field, value)
        with builder.if_then(native.is_error, likely=False):
            builder.store(cgutils.true_bit, failed)
        if native.cleanup is not None:
            cleanups.append(native.cleanup)
        if is_vector(field):
            array = context.make_array(field)(context, builder, native.value)
            builder.store(array.data, cgutils.gep_inbounds(builder, to, 0, 0))
            builder.store(builder.extract_value(array.shape, 0), cgutils.gep_inbounds(builder, to, 0, 1))
        else:
            builder.store(context.data_model_manager.lookup(field).as_data(builder, native.value), to)


@unbox(NAMED_TUPLE)
def from_python(kind: Any, values: Any, calling: Any) -> Any:
    """A tuple that Python passes to a kernel."""
    if not is_block(kind):
        return unbox_tuple(kind, values, calling)
    builder = calling.builder
    block = cgutils.alloca_once(builder, calling.context.data_model_manager.lookup(kind).layout)
    failed = cgutils.alloca_once_value(builder, cgutils.false_bit)
    cleanups: list[Any] = []
    fill(kind, values, block, calling, cleanups, failed)

    def cleanup() -> None:
        for each in reversed(cleanups):
            each()

    return NativeValue(hidden(builder, block), cleanup=cleanup if cleanups else None, is_error=builder.load(failed))
