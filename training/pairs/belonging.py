"""Whether an index and a pool belong together, and which hands pairs can be asked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.pool import Pool
from index.version import IndexVersion
from training.pairs.hand_set import HandSet
from training.pairs.live import hands_of


@dataclass(frozen=True, eq=False)
class Belonging:
    """The hands of a pool that pairs can be asked for."""

    anchors: NDArray[np.uint64]
    """[A] by rising id: those that the index holds and the pool has a picture of."""
    not_in_index: int
    """Hands of the pool that the index lacks: ingested since it was built."""
    without_picture: int
    """Hands of pool and index of which the pool has keypoints alone."""

    @property
    def left_out(self) -> int:
        """Hands of the pool that are no anchors."""
        return self.not_in_index + self.without_picture


def check_belongs(pool: Pool, version: IndexVersion) -> Belonging:
    """See that the pool holds every hand of an index version; raises HandsimError if it does not."""
    indexed = hands_of(version)
    held = HandSet(pool.hand_ids)
    missing = int((~held.holds(indexed.hand_ids)).sum())
    if missing:
        raise HandsimError(
            f"{missing:,} of the {len(indexed):,} hands of index version {version.info.name} are not in the "
            f"pool {pool.path}; `handsim index build` makes an index of it, or name the home of its own pool"
        )
    pictured = HandSet.pictured(pool).holds(indexed.hand_ids)
    return Belonging(
        anchors=indexed.hand_ids[pictured],
        not_in_index=len(held) - len(indexed),
        without_picture=int((~pictured).sum()),
    )
