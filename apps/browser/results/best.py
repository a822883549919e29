"""Which rows of a table are best in what."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

Numbers = Sequence[float | None]

BEST: Final = "Best"
BEST_PX: Final = 250
"""Room for the names of four columns."""
STAR: Final = "★"
_UNIT: Final = " ("


def best_in(columns: Mapping[str, tuple[Numbers, bool]], rows: int) -> list[str]:
    """For each of ``rows`` a star and the names of the columns, without units, that it is best in.

    A column is its numbers and whether higher ones are better. Where all are equal, none is best.
    """
    names: list[list[str]] = [[] for _ in range(rows)]
    for column, (numbers, higher_is_better) in columns.items():
        known = {number for number in numbers if number is not None}
        if len(known) < 2:
            continue
        top = max(known) if higher_is_better else min(known)
        for row, number in enumerate(numbers):
            if number == top:
                names[row].append(column.split(_UNIT)[0])
    return [f"{STAR} {', '.join(row)}" if row else "" for row in names]


def best_column(columns: Mapping[str, tuple[Numbers, bool]], rows: int, below: int = 0) -> dict[str, Any]:
    """What `best_in` says as a table's column, with blank rows ``below``; nothing where no row is best."""
    best = best_in(columns, rows)
    return {BEST: pa.array([*best, *[""] * below], pa.string())} if any(best) else {}
