"""Where the hands of an index version lie on the map."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.pool.categorical import Categorical
from index import VersionInfo

_SHUFFLE_SEED: Final = 0


@dataclass(frozen=True, eq=False)
class PoseMap:
    """The hands of one index version, or a random part of them, laid flat."""

    version: str
    """The version's name."""
    checksum: str
    """The version's, see `index.points.Checksum`: versions of other indexes bear the same names."""
    hands_in_version: int
    """How many hands it holds; a part of them may be on the map."""
    hand_ids: NDArray[np.uint64]
    """[N], rising."""
    places: NDArray[np.float32]
    """[N, 2] in the unit square, x right, y down; near means alike."""
    distances: NDArray[np.float32]
    """[N] Euclidean in the embedding, to the nearest hand of another video; NaN where there is none."""
    sources: Categorical
    """[N]."""
    videos: Categorical
    """[N]."""
    labels: Categorical
    """[N], missing where people gave none."""

    def __len__(self) -> int:
        return len(self.hand_ids)

    def is_of(self, info: VersionInfo) -> bool:
        """Whether it shows just the hands of a version."""
        return (self.version, self.checksum) == (info.name, info.checksum)

    @cached_property
    def drawing_order(self) -> NDArray[np.intp]:
        """[N] rows in an order drawn at random, always the same: its beginning is a sample of any size."""
        return np.random.default_rng(_SHUFFLE_SEED).permutation(len(self))

    def row_of(self, hand_id: int) -> int | None:
        """A hand's row; None where it is not on the map."""
        row = int(np.searchsorted(self.hand_ids, np.uint64(hand_id)))
        return row if row < len(self) and int(self.hand_ids[row]) == hand_id else None
