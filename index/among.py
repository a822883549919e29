"""Mining some hands of a version among themselves, as if the index held no others: those of a list, say.

Where they are few, a search of the graph goes far: one that admits a hand in a hundred reads hundreds of
others for each that it finds. They are then compared in memory, by the vectors that the version has of them.
Where they are many, the graph is searched, and other hands are passed over.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.pool.duplicates import DuplicateGroups
from index.bulk import BulkSearch
from index.mining import HandSearch
from index.query import DEFAULT_OPTIONS, FULL_SCAN_SHARE, Neighbors, SearchOptions
from index.version import IndexVersion


def search_among(
    version: IndexVersion, hand_ids: NDArray[np.uint64] | None, *, threads: int | None = None
) -> HandSearch:
    """The search of a version for some of its hands [M] alone (None: for all); ids that it lacks are ignored.

    ``threads`` (None: one for each core) compare them where they are few. Raises HandsimError where the
    version holds none of them.
    """
    if hand_ids is None:
        return version
    if len(hand_ids) > FULL_SCAN_SHARE * len(version):
        return _GraphSearch(version, np.sort(hand_ids))
    vectors, videos = version.find(hand_ids)
    is_here = ~np.isnan(vectors[:, 0])
    _, codes = np.unique(np.array(videos)[is_here], return_inverse=True)
    return BulkSearch(hand_ids[is_here], vectors[is_here], codes.astype(np.int32), threads=threads)


@dataclass(frozen=True)
class _GraphSearch:
    """Passes over other hands."""

    version: IndexVersion
    hand_ids: NDArray[np.uint64]
    """[M], rising."""

    def __len__(self) -> int:
        return len(self.version)

    def search_hands(
        self,
        hand_ids: NDArray[np.uint64],
        k: int = 10,
        *,
        other_video: bool = False,
        options: SearchOptions = DEFAULT_OPTIONS,
        duplicates: DuplicateGroups | None = None,
    ) -> Neighbors:
        return self.version.search_hands(
            hand_ids, k, other_video=other_video, options=options, duplicates=duplicates, among=self.hand_ids
        )
