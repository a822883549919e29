"""Colour codes for all hands of a map, by one of their columns, and what the codes mean."""

import zlib
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.hand import format_hand_id
from handsim.pool.reader import Categorical

MAX_CLASSES: Final = 12
"""Names that a legend has room for, in colours that can be told apart."""
HUES: Final = 48
"""Colours for more names than that."""
SHADES: Final = 64
"""Steps of a scale."""
OTHERS: Final = 254
"""The code of names without a place in the legend."""
UNKNOWN: Final = 255
"""The code of hands whose value is unknown."""
_SCALE_PERCENTILES: Final = (2, 98)
"""The ends of a scale; a few outliers would stretch it otherwise."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """A code for each hand, and what the codes mean."""

    kind: Literal["classes", "hues", "scale"]
    """``classes``: a code for each name or each frequent one, with a legend. ``hues``: too many names for a
    legend; they share codes. ``scale``: codes rise with a number."""
    codes: NDArray[np.uint8]
    """[N]; `UNKNOWN` without a value, `OTHERS` for a name that is not among the classes."""
    classes: tuple[tuple[str, int], ...] = ()
    """Name and number of hands for each code."""
    name_count: int = 0
    """How many different names there are."""
    ends: tuple[float, float] = (0.0, 0.0)
    """The numbers at the lowest and the highest code of a scale; numbers beyond have these codes, too."""

    @property
    def others(self) -> int:
        return int((self.codes == OTHERS).sum())

    @property
    def unknown(self) -> int:
        return int((self.codes == UNKNOWN).sum())


def colour_classes(column: Categorical) -> Colouring:
    """The most frequent names, coded in alphabetical order."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    frequent = np.argsort(-counts, kind="stable")[: min(MAX_CLASSES, int((counts > 0).sum()))].tolist()
    classes = sorted(frequent, key=column.names.__getitem__)
    code_of_name = np.full(len(column.names), OTHERS, dtype=np.uint8)
    code_of_name[classes] = np.arange(len(classes))
    return Colouring(
        "classes",
        _encode(column, code_of_name),
        tuple((column.names[code], int(counts[code])) for code in classes),
        int((counts > 0).sum()),
    )


def colour_hues(column: Categorical) -> Colouring:
    """Classes if a legend has room for them; else hues that depend on the names alone.

    Nobody looks for one of a thousand videos in a legend. Those that share a hue are mostly far apart.
    """
    if len(column.names) <= MAX_CLASSES:
        return colour_classes(column)
    hues = [zlib.crc32(name.encode()) % HUES for name in column.names]
    codes = _encode(column, np.array(hues, dtype=np.uint8))
    return Colouring("hues", codes, name_count=len(column.names))


def colour_tracks(tracks: NDArray[np.uint64]) -> Colouring:
    """As `colour_hues`, of numbers [N]; 0 is no track."""
    names, codes = np.unique(tracks, return_inverse=True)
    has_none = int(len(names) > 0 and names[0] == 0)
    texts = tuple(format_hand_id(int(name)) for name in names[has_none:])
    return colour_hues(Categorical(codes.astype(np.int32) - has_none, texts))


def colour_scale(values: NDArray[np.float32]) -> Colouring:
    """Numbers [N]; NaN is unknown."""
    is_known = np.isfinite(values)
    codes = np.full(len(values), UNKNOWN, dtype=np.uint8)
    if not is_known.any():
        return Colouring("scale", codes)
    low, high = (float(end) for end in np.percentile(values[is_known], _SCALE_PERCENTILES))
    steps = (values[is_known] - low) / ((high - low) or 1.0) * SHADES
    codes[is_known] = np.clip(steps, 0, SHADES - 1).astype(np.uint8)
    return Colouring("scale", codes, ends=(low, high))


def _encode(column: Categorical, code_of_name: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # A missing value is -1, which selects the last entry.
    codes: NDArray[np.uint8] = np.append(code_of_name, np.uint8(UNKNOWN))[column.codes]
    return codes
