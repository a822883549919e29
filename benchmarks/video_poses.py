"""Synthetic poses that look like video, as files that any number of processes map at once."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.detection import Detection
from handsim.embedding import PoseEmbedding
from handsim.pool import Categorical
from handsim.synthetic.generate import synthesise_poses
from handsim.tracking import MotionFilter, Tracker

HANDS_PER_VIDEO = 100
_WAVER = 0.004
"""How much the keypoints of a hand held still waver, in crop widths: a pixel of 224."""
_HAND_PX = 100.0
_EMBEDDING = "embedding.json"
_COLUMNS = ("hand_ids", "keypoints", "video", "frames", "scores", "vectors")


@dataclass(frozen=True, eq=False)
class VideoPoses:
    """N poses without pictures, in runs of nearly the same frame: an `index.points.HandColumns`."""

    hand_ids: NDArray[np.uint64]
    """[N] drawn at random, as hashes are."""
    keypoints: NDArray[np.float32]
    """[N, 21, 3] in the crop's unit square."""
    video: NDArray[np.int32]
    """[N] number of the video, rising: a video's hands lie in a run."""
    frames: NDArray[np.int64]
    """[N]."""
    scores: NDArray[np.float32]
    """[N]."""
    vectors: NDArray[np.float32]
    """[N, D] where `embedding` places them."""
    embedding: PoseEmbedding
    """Fitted on these poses."""

    @classmethod
    def make(cls, points: int, seed: int, still: int = 10) -> "VideoPoses":
        """Synthesise that many poses, `HANDS_PER_VIDEO` in a video, each held for ``still`` frames.

        A hand held still differs from frame to frame by what a detector wavers. ``still`` divides
        `HANDS_PER_VIDEO`; with 1 the hand moves on between all frames.
        """
        assert HANDS_PER_VIDEO % still == 0, f"{still} does not divide {HANDS_PER_VIDEO}"
        random = np.random.default_rng(seed)
        poses = synthesise_poses(-(-points // HANDS_PER_VIDEO), HANDS_PER_VIDEO // still, seed)
        keypoints = np.repeat(poses.keypoints, still, axis=0)[:points]
        if still > 1:
            keypoints += _WAVER * random.standard_normal(keypoints.shape, dtype=np.float32)
        embedding = PoseEmbedding.fit(keypoints)
        return cls(
            hand_ids=random.choice(2**63 - 1, points, replace=False).astype(np.uint64),
            keypoints=keypoints,
            video=np.repeat(poses.video, still)[:points],
            frames=np.arange(points) % HANDS_PER_VIDEO,
            scores=random.random(points, dtype=np.float32),
            vectors=embedding.transform(keypoints),
            embedding=embedding,
        )

    def moving(self, min_motion: float) -> "VideoPoses":
        """Those that an ingest with ``--min-motion`` keeps of videos that are sampled once a second."""
        rows: list[int] = []
        for _, hands in groupby(range(len(self)), key=self.video.__getitem__):
            tracker, motion_filter = Tracker(), MotionFilter(min_motion)
            for row in hands:
                hand = Detection("right", 1.0, self.keypoints[row] * np.float32(_HAND_PX))
                (track,) = tracker.update(float(self.frames[row]), [hand])
                if motion_filter.keeps(track, hand):
                    rows.append(row)
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return VideoPoses(**columns, embedding=self.embedding)

    def save(self, folder: Path) -> None:
        """Write a file for each column."""
        folder.mkdir(parents=True)
        self.embedding.save(folder / _EMBEDDING)
        for column in _COLUMNS:
            np.save(folder / f"{column}.npy", getattr(self, column))

    @classmethod
    def open(cls, folder: Path) -> "VideoPoses":
        """Map what `save` wrote: the columns count as memory only where they are read."""
        columns = {column: np.load(folder / f"{column}.npy", mmap_mode="r") for column in _COLUMNS}
        return cls(**columns, embedding=PoseEmbedding.load(folder / _EMBEDDING))

    @cached_property
    def videos(self) -> Categorical:
        """[N]."""
        return Categorical(self.video, tuple(f"video_{number:06d}" for number in range(self.video[-1] + 1)))

    @cached_property
    def sources(self) -> Categorical:
        """[N] one of two, by video."""
        return Categorical(self.video % 2, ("ego4d", "100doh"))

    @cached_property
    def labels(self) -> Categorical:
        """[N] none."""
        return Categorical(np.full(len(self), -1, dtype=np.int32), ())

    @cached_property
    def is_left(self) -> NDArray[np.bool_]:
        """[N] every third video."""
        left: NDArray[np.bool_] = self.video % 3 == 0
        return left

    @cached_property
    def tracks(self) -> NDArray[np.uint64]:
        """[N] one in each video."""
        return self.video.astype(np.uint64) + np.uint64(1)

    @property
    def has_side(self) -> NDArray[np.bool_]:
        """[N] true."""
        return np.ones(len(self), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.hand_ids)
