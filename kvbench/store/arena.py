"""Records of any size in an array of bytes: taken from lists of freed ones by size class, else from the untouched rest.

A SPACE says what of the array is used. Nothing moves and no record says that it is one, so freed neighbours are not
joined; when the untouched rest becomes small, larger free records are split instead.
"""

from typing import Any

from kvbench.jit import kernel
from kvbench.rt.bits import bit_length
from kvbench.rt.buffer import load_le32, store_le32
from kvbench.store.records import CLASSES, SMALL_UNITS, UNIT_BYTES


@kernel
def class_of(units: int) -> int:
    """The class that records of so many units (1 or more) are taken from."""
    if units <= SMALL_UNITS:
        return units
    shift = bit_length(units - 1) - 4
    return SMALL_UNITS + 1 + ((shift - 5) << 3) + ((units - 1) >> shift) - 8


@kernel
def class_units(kind: int) -> int:
    """How large the records of a class are."""
    if kind <= SMALL_UNITS:
        return kind
    step = kind - SMALL_UNITS - 1
    return ((step & 7) + 9) << ((step >> 3) + 5)


@kernel
def allocate(space: Any, area: Any, size: int) -> int:
    """Reference of a new record of ``size`` bytes (1 or more), its content undefined; 0 when there is no room."""
    kind = class_of((size + UNIT_BYTES - 1) >> 2)
    units = class_units(kind)
    reference = int(space["free"][kind])
    top = int(space["top"])
    if reference != 0:
        space["free"][kind] = load_le32(area, reference * UNIT_BYTES)
        space["free_units"] -= units
    elif top + units <= space["soft_units"]:
        reference = top
        space["top"] = top + units
    else:
        reference = _split(space, area, kind, units)
        if reference == 0:
            if top + units > space["units"]:
                return 0
            reference = top
            space["top"] = top + units
    space["used_units"] += units
    return reference


@kernel
def release(space: Any, area: Any, reference: int, size: int) -> None:
    """Give back a record of ``size`` bytes."""
    kind = class_of((size + UNIT_BYTES - 1) >> 2)
    _keep(space, area, reference, kind)
    space["used_units"] -= class_units(kind)


@kernel
def room_bytes(space: Any) -> int:
    """Bytes that can surely be had, in records of any sizes (those of over 1 KiB take up to an eighth more)."""
    return (int(space["units"]) - int(space["top"])) * UNIT_BYTES


@kernel
def _keep(space: Any, area: Any, reference: int, kind: int) -> None:
    """Put a record into its class's list."""
    store_le32(area, reference * UNIT_BYTES, int(space["free"][kind]))
    space["free"][kind] = reference
    space["free_units"] += class_units(kind)


@kernel
def _split(space: Any, area: Any, kind: int, units: int) -> int:
    """A record cut from a free one of a larger class, the rest of which is kept in pieces; 0 when there is none."""
    larger = kind + 1
    while larger < CLASSES and space["free"][larger] == 0:
        larger += 1
    if larger == CLASSES:
        return 0
    reference = int(space["free"][larger])
    space["free"][larger] = load_le32(area, reference * UNIT_BYTES)
    left = class_units(larger)
    space["free_units"] -= left
    at = reference + units
    left -= units
    while left > 0:
        piece = class_of(left)
        if class_units(piece) > left:
            piece -= 1
        _keep(space, area, at, piece)
        at += class_units(piece)
        left -= class_units(piece)
    return reference
