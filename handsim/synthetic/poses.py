"""Poses without pictures: as many hands as an index should be tried with, in seconds and without torch."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handsim.skeleton import JOINT_COUNT
from handsim.synthetic.camera import unit_keypoints
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.video import FRAME_STEP, sample_video, see

CHUNK_HANDS = 16384


class SyntheticPoses(NamedTuple):
    """N poses, video after video."""

    keypoints: NDArray[np.float32]
    """[N, 21, 3] as `Hand.keypoints`: the unit square of the crop, as seen for a right hand."""
    video: NDArray[np.int32]
    """[N] number of the video."""
    frame: NDArray[np.int64]
    """[N] frame in the video: one hand a second at 30 fps."""


def synthesise_poses(
    videos: int, hands_per_video: int, seed: int, config: SyntheticConfig | None = None
) -> SyntheticPoses:
    """The poses of a world: those that `synthesise` renders for the same seed.

    ``config`` tells what the world is like; its numbers of videos and hands and its seed are replaced.
    The N = videos x hands_per_video hands of one video follow each other at one a second, so neighbours
    are near-identical. Works in chunks: beyond the result, memory does not grow with N.
    """
    config = replace(config or SyntheticConfig(), videos=videos, hands_per_video=hands_per_video, seed=seed)
    keypoints = np.empty((videos * hands_per_video, JOINT_COUNT, 3), dtype=np.float32)
    step = max(1, CHUNK_HANDS // hands_per_video)
    for first in range(0, videos, step):
        some = [sample_video(config, index) for index in range(first, min(first + step, videos))]
        sight = see(some)
        start = first * hands_per_video
        keypoints[start : start + len(sight.joints_mm)] = unit_keypoints(
            sight.joints_mm, sight.unit_intrinsics
        )
    return SyntheticPoses(
        keypoints,
        np.repeat(np.arange(videos, dtype=np.int32), hands_per_video),
        np.tile(np.arange(hands_per_video, dtype=np.int64) * FRAME_STEP, videos),
    )
