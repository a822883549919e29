"""What versions may hold, so that every answer can be checked, and a mixture of two versions is found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim import Pool, PoseEmbedding
from index import IndexVersion, VersionInfo
from index.query import Neighbors

KINDS: Final = ("plain", "other")
"""Two embeddings of different dimension over pools of different hands."""
GROWN: Final = "-grown"
"""Of either kind there is a second pool: the same hands and some more, to be added."""


class WrongAnswerError(Exception):
    """An answer that no single version gives."""


@dataclass(frozen=True, eq=False)
class Contents:
    """The hands of a version, and where its embedding places them."""

    pool: Pool
    embedding: PoseEmbedding
    vectors: NDArray[np.float32]
    """[N, D]."""
    videos: NDArray[np.str_]
    """[N]."""

    @classmethod
    def read(cls, directory: Path, kind: str, suffix: str) -> "Contents":
        """Read what `stress.write_pools` wrote."""
        pool = Pool.open(directory / f"{kind}{suffix}")
        embedding = PoseEmbedding.load(directory / f"{kind}.json")
        videos = np.array([video or "" for video in pool.videos.values()])
        return cls(pool, embedding, embedding.embed(keypoints=pool.keypoints), videos)

    def rows(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Rows [n] of hands [n]; raises WrongAnswerError for one that is not of these."""
        order = np.argsort(self.pool.hand_ids)
        places = np.searchsorted(self.pool.hand_ids, hand_ids, sorter=order)
        rows: NDArray[np.intp] = order[np.minimum(places, len(order) - 1)]
        unknown = int((self.pool.hand_ids[rows] != hand_ids).sum())
        if unknown:
            raise WrongAnswerError(f"{unknown} of {len(hand_ids)} hands are not in this version")
        return rows

    def check(self, rows: NDArray[np.intp], neighbors: Neighbors, *, exactly: bool) -> None:
        """Raise WrongAnswerError unless the neighbours [Q, K] of rows [Q] are of other videos, so far away.

        With ``exactly`` the first must be the nearest of all.
        """
        if not neighbors.is_found.all():
            raise WrongAnswerError(
                f"{int((~neighbors.is_found).sum())} places of {neighbors.is_found.size} are empty"
            )
        others = self.rows(neighbors.hand_ids.ravel()).reshape(neighbors.hand_ids.shape)
        if (self.videos[others] == self.videos[rows, None]).any():
            raise WrongAnswerError("a hand of the query's own video is among the neighbours")
        distances = np.linalg.norm(self.vectors[others] - self.vectors[rows, None], axis=2)
        if not np.allclose(distances, neighbors.distances, rtol=1e-4, atol=1e-4):
            raise WrongAnswerError(
                f"distances are off by up to {np.abs(distances - neighbors.distances).max():.4g}"
            )
        if exactly:
            apart = np.linalg.norm(self.vectors - self.vectors[rows, None], axis=2)
            apart[self.videos == self.videos[rows, None]] = np.inf
            if not np.allclose(apart.min(axis=1), neighbors.distances[:, 0], rtol=1e-4, atol=1e-4):
                raise WrongAnswerError("exact search passed over the nearest hand")


class KnownContents:
    """Everything that a version may hold."""

    def __init__(self, directory: Path) -> None:
        """Read it from a directory."""
        self.contents = {
            kind + suffix: Contents.read(directory, kind, suffix) for kind in KINDS for suffix in ("", GROWN)
        }

    def name_of(self, info: VersionInfo) -> str:
        """Which contents a version has; raises WrongAnswerError for others."""
        for name, contents in self.contents.items():
            if (info.embedding_fingerprint, info.points) == (
                contents.embedding.fingerprint,
                len(contents.pool),
            ):
                return name
        raise WrongAnswerError(f"nobody built {info.name} with {info.points} hands")

    def of(self, version: IndexVersion) -> Contents:
        """The contents of an open version."""
        return self.contents[self.name_of(version.info)]
