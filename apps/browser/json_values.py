"""Values out of JSON files that anybody may have written: what they should be, or None."""

import math
from typing import Final

_MOST: Final = 2**63 - 1
"""What a column of a table holds."""


def text(value: object) -> str | None:
    """A string."""
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    """A finite number; None for an integer too that no float is as large as."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        told = float(value)
    except OverflowError:
        return None
    return told if math.isfinite(told) else None


def whole(value: object) -> int | None:
    """An integer from 0 on, of no more than 63 bits."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST else None
