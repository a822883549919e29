"""A column of repeated strings, kept as integer codes: two million rows for eight megabytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Categorical:
    """N strings or missing values; equal strings have equal codes."""

    codes: NDArray[np.int32]
    """[N] index into ``names``; -1 where there is no value."""
    names: tuple[str, ...]
    """The distinct values."""

    @classmethod
    def of(cls, values: Iterable[str | None]) -> "Categorical":
        """Encode values; codes count up in the order of first appearance."""
        known: dict[str, int] = {}
        codes = [-1 if value is None else known.setdefault(value, len(known)) for value in values]
        return cls(np.array(codes, dtype=np.int32), tuple(known))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str | None:
        code = int(self.codes[row])
        return None if code < 0 else self.names[code]

    def values(self, rows: Sequence[int] | NDArray[np.integer] | slice = slice(None)) -> list[str | None]:
        """The strings at ``rows``."""
        return [None if code < 0 else self.names[code] for code in self.codes[rows].tolist()]
