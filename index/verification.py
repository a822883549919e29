"""Whether a version is whole and finds what there is to find."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.metrics.retrieval import recall_at_k
from index.options import SearchOptions
from index.points import Checksum
from index.version import IndexVersion

LEAST_RECALL: Final = 0.99
_TOP: Final = 10


@dataclass(frozen=True)
class Verification:
    """What a verification found; `dataclasses.asdict` of it is JSON."""

    verified_at: str
    """ISO 8601, UTC."""
    points: int
    """Hands in the version."""
    indexed_share: float
    """Share of them that are linked into the graph; the others are compared one by one: slower, and exact."""
    sample: int
    """Hands that were asked for."""
    recall_at_1: float
    """Share of the sample whose nearest hand of another video is found; ties count alike."""
    recall_at_10: float
    """Share of the ten truly nearest that are found."""
    duplicates: int | None
    """Hands that are there twice; None where not all hands were read."""
    altered: bool | None
    """Whether ids or vectors differ from what was written; None where not all hands were read."""
    missing_from_index: int | None
    """Hands of the pool that the version lacks; None without a pool."""
    missing_from_pool: int | None
    """Hands of the version that the pool lacks; None without a pool."""

    def problems(self, least_recall: float = LEAST_RECALL) -> list[str]:
        """What makes the version unfit to rely on, each with its remedy; hands to add are no such thing."""
        problems = []
        if self.recall_at_1 < least_recall:
            problems.append(
                f"recall@1 is {self.recall_at_1:.4f}, below {least_recall:.3g}; `handsim index build` again "
                f"with a larger --ef, --ef-construct or --m"
            )
        if self.duplicates:
            problems.append(f"{self.duplicates:,} hands are there twice; `handsim index build` again")
        if self.altered:
            problems.append("ids or vectors are not those that were written; `handsim index build` again")
        return problems


def verify(
    version: IndexVersion,
    *,
    sample: int = 2000,
    read_all: bool = False,
    pool_ids: NDArray[np.uint64] | None = None,
) -> Verification:
    """Compare a version with exact search on random hands and, where asked, read all of it.

    ``pool_ids`` [N] are compared with the hands that it holds. Raises HandsimError for a sample below 1.
    """
    hand_ids = version.sample(sample)
    top = min(_TOP, len(version))
    found = version.search_hands(hand_ids, top, other_video=True)
    true = version.search_hands(hand_ids, top, other_video=True, options=SearchOptions(exact=True))
    duplicates = altered = missing_from_index = missing_from_pool = None
    if read_all:
        held, checksum = _read_all(version)
        duplicates = len(held) - len(np.unique(held))
        altered = checksum != version.info.checksum
        if pool_ids is not None:
            missing_from_index = len(np.setdiff1d(pool_ids, held))
            missing_from_pool = len(np.setdiff1d(held, pool_ids))
    return Verification(
        verified_at=datetime.now(UTC).isoformat(timespec="seconds"),
        points=len(version),
        indexed_share=min(1.0, version.indexed_points() / len(version)),
        sample=len(hand_ids),
        recall_at_1=recall_at_k(found.distances, true.distances, 1),
        recall_at_10=recall_at_k(found.distances, true.distances, top),
        duplicates=duplicates,
        altered=altered,
        missing_from_index=missing_from_index,
        missing_from_pool=missing_from_pool,
    )


def _read_all(version: IndexVersion) -> tuple[NDArray[np.uint64], str]:
    """The ids of all hands, and the checksum of what is there."""
    checksum = Checksum()
    held = []
    for page in version.scroll(with_vectors=True, with_payload=False):
        checksum.add(page)
        held.append(page.hand_ids)
    return np.concatenate(held), checksum.digest
