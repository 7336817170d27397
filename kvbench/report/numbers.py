"""Numbers as people read them: three digits that matter, with their unit."""

import math
from collections.abc import Mapping
from typing import Any

MISSING = "–"  # noqa: RUF001
UNITS_NS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
UNITS_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def significant(value: float, digits: int = 3) -> str:
    """Rounded to so many significant digits, thousands grouped, never in powers of ten."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else MISSING
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def count(value: float | None) -> str:
    """A whole number with grouped thousands."""
    return MISSING if value is None else f"{value:,.0f}"


def duration(value_ns: float | None) -> str:
    """A time in the unit that leaves one to three digits before the point."""
    return _scaled(value_ns, UNITS_NS)


def milliseconds(value_ns: float | None) -> str:
    """A time in ms, for columns in which sizes are compared by eye."""
    return MISSING if value_ns is None else significant(value_ns / 1e6)


def size(value_bytes: float | None) -> str:
    """A size in binary units."""
    return _scaled(value_bytes, UNITS_BYTES)


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if value is None:
        return MISSING
    for scale, unit in units:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"0 {units[-1][1]}"


def percent(share: float | None) -> str:
    """A share of 1 in per cent."""
    return MISSING if share is None else f"{100 * share:.0f} %"


def percentile_ms(distribution: Mapping[str, Any], name: str) -> str:
    """A percentile of a summary in ms; with "?" when too few values lie beyond it, or a dash when there are none."""
    if not distribution["count"]:
        return MISSING
    doubt = "\N{NO-BREAK SPACE}?" if name in distribution["insufficient"] else ""
    return milliseconds(float(distribution[name])) + doubt
