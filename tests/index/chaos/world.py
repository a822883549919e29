"""What versions may hold, so that every answer can be checked and no mixture of two passes for one."""

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
    def read(cls, world: Path, kind: str, suffix: str) -> "Contents":
        """What `write` of the siege left in a directory."""
        pool = Pool.open(world / f"{kind}{suffix}")
        embedding = PoseEmbedding.load(world / f"{kind}.json")
        videos = np.array([video or "" for video in pool.videos.values()])
        return cls(pool, embedding, embedding.embed(keypoints=pool.keypoints), videos)

    def rows(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Rows [n] of hands [n]; raises WrongAnswerError for one that is not of these."""
        order = np.argsort(self.pool.hand_ids)
        places = np.searchsorted(self.pool.hand_ids, hand_ids, sorter=order)
        rows: NDArray[np.intp] = order[np.minimum(places, len(order) - 1)]
        strangers = int((self.pool.hand_ids[rows] != hand_ids).sum())
        if strangers:
            raise WrongAnswerError(f"{strangers} of {len(hand_ids)} hands are not in this version")
        return rows

    def check(self, asked: NDArray[np.intp], found: Neighbors, *, exactly: bool) -> None:
        """Raise WrongAnswerError unless hands [Q, K] of other videos than rows [Q] were found, truly so far.

        With ``exactly`` the first must be the nearest there is.
        """
        if not found.is_found.all():
            raise WrongAnswerError(
                f"{int((~found.is_found).sum())} places of {found.is_found.size} are empty"
            )
        answered = self.rows(found.hand_ids.ravel()).reshape(found.hand_ids.shape)
        if (self.videos[answered] == self.videos[asked, None]).any():
            raise WrongAnswerError("a hand of the query's own video was answered")
        true = np.linalg.norm(self.vectors[answered] - self.vectors[asked, None], axis=2)
        if not np.allclose(true, found.distances, rtol=1e-4, atol=1e-4):
            raise WrongAnswerError(f"distances are off by up to {np.abs(true - found.distances).max():.4g}")
        if exactly:
            apart = np.linalg.norm(self.vectors - self.vectors[asked, None], axis=2)
            apart[self.videos == self.videos[asked, None]] = np.inf
            if not np.allclose(apart.min(axis=1), found.distances[:, 0], rtol=1e-4, atol=1e-4):
                raise WrongAnswerError("exact search passed over the nearest hand")


class World:
    """All that versions may hold."""

    def __init__(self, directory: Path) -> None:
        """Read it from a directory."""
        self.contents = {
            kind + suffix: Contents.read(directory, kind, suffix) for kind in KINDS for suffix in ("", GROWN)
        }

    def name_of(self, info: VersionInfo) -> str:
        """Which contents a version has; raises WrongAnswerError for none."""
        for name, contents in self.contents.items():
            if (info.embedding_fingerprint, info.points) == (
                contents.embedding.fingerprint,
                len(contents.pool),
            ):
                return name
        raise WrongAnswerError(f"nobody built {info.name} with {info.points} hands")

    def of(self, version: IndexVersion) -> Contents:
        """What an open version must hold."""
        return self.contents[self.name_of(version.info)]
