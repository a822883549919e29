"""What the colours of a map say."""

import zlib
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import PoseMap
from handsim.pool.categorical import Categorical

ColourBy = Literal["label", "source", "video", "distance"]

MOST_CLASSES: Final = 12
"""Names that a legend has room for, and eyes have colours for."""
HUES: Final = 48
"""Colours of names that are more than that."""
SHADES: Final = 64
"""Steps of a scale."""
OTHERS: Final = 254
"""The code of names that a legend has no room for."""
NOTHING: Final = 255
"""The code of a hand of which nothing is known."""
_OUTLIERS: Final = (2, 98)
"""Percentiles of the distances that a scale ends at; few hands would stretch it otherwise."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """A code for each hand, and what the codes mean."""

    kind: Literal["classes", "hues", "scale"]
    """``classes``: a code for each name, or each frequent one, told by a legend; ``hues``: names are too many
    for one, and share codes; ``scale``: codes rise with a number."""
    codes: NDArray[np.uint8]
    """[N]; `NOTHING` where nothing is known, `OTHERS` of a name that is none of the classes."""
    classes: tuple[tuple[str, int], ...] = ()
    """Name and number of hands for each code."""
    names: int = 0
    """How many different names there are."""
    ends: tuple[float, float] = (0.0, 0.0)
    """The numbers of the lowest and highest code of a scale; what lies beyond has them too."""
    others: int = 0
    """Hands with `OTHERS`."""
    unknown: int = 0
    """Hands with `NOTHING`."""


def colouring(of: PoseMap, by: ColourBy) -> Colouring:
    """Code the hands of a map."""
    if by == "distance":
        return _scale(of.distances)
    column = {"label": of.labels, "source": of.sources, "video": of.videos}[by]
    # A video among a thousand is not looked for in a legend; what it shares its colour with is far away.
    return _hues(column) if by == "video" and len(column.names) > MOST_CLASSES else _classes(column)


def _classes(column: Categorical) -> Colouring:
    """The most frequent names, coded in the order of the alphabet."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    frequent = np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist()
    chosen = sorted(frequent, key=column.names.__getitem__)
    of_names = np.full(len(column.names), OTHERS, dtype=np.uint8)
    of_names[chosen] = np.arange(len(chosen))
    codes = _coded(column, of_names)
    classes = tuple((column.names[code], int(counts[code])) for code in chosen)
    others, unknown = (int((codes == code).sum()) for code in (OTHERS, NOTHING))
    return Colouring("classes", codes, classes, len(column.names), others=others, unknown=unknown)


def _hues(column: Categorical) -> Colouring:
    hues = [zlib.crc32(name.encode()) % HUES for name in column.names]
    codes = _coded(column, np.array(hues, dtype=np.uint8))
    return Colouring("hues", codes, names=len(column.names), unknown=int((codes == NOTHING).sum()))


def _coded(column: Categorical, of_names: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # A missing value is -1, which takes the last entry.
    table = np.append(of_names, np.uint8(NOTHING))
    coded: NDArray[np.uint8] = table[column.codes]
    return coded


def _scale(values: NDArray[np.float32]) -> Colouring:
    known = np.isfinite(values)
    codes = np.full(len(values), NOTHING, dtype=np.uint8)
    if not known.any():
        return Colouring("scale", codes, unknown=len(values))
    low, high = (float(end) for end in np.percentile(values[known], _OUTLIERS))
    steps = (values[known] - low) / ((high - low) or 1.0) * SHADES
    codes[known] = np.clip(steps, 0, SHADES - 1).astype(np.uint8)
    return Colouring("scale", codes, ends=(low, high), unknown=int((~known).sum()))
