"""Hands without pictures for the checks, and ways to break them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handsim.synthetic import SyntheticConfig
from handsim.synthetic.hand_model import MCPS_MM, PHALANGES_MM
from handsim.synthetic.video import Video, sample_video, see

MANO_PHALANGES_MM = np.array(
    [[31.0, 26, 25], [32.7, 23, 22], [31, 23.6, 23], [30.5, 23, 23], [21, 18, 20]], dtype=np.float64
)
"""Lengths of the fingers of MANO's mean hand, nearly: shorter than those of X-rays."""


def whole_hands(videos: int = 40, seed: int = 3) -> NDArray[np.float64]:
    """Joints [N, 21, 3] of right hands in the camera frame, five of each video, in mm."""
    config = SyntheticConfig(videos=videos, hands_per_video=5, seed=seed)
    return see([sample_video(config, index) for index in range(videos)]).joints_mm


def odd_hands(seed: int, noise_mm: float) -> NDArray[np.float64]:
    """The same of people whose bones are unlike everyone's, annotated badly."""
    rng = np.random.default_rng(seed)
    phalanges = (MANO_PHALANGES_MM if seed % 2 else PHALANGES_MM) * np.exp(0.15 * rng.standard_normal((5, 3)))
    mcps = MCPS_MM * [rng.uniform(0.85, 1.3), 1.0, 1.0]
    config = SyntheticConfig(videos=10, hands_per_video=5, seed=seed)
    videos = [_with_bones(sample_video(config, index), phalanges, mcps) for index in range(10)]
    joints = see(videos).joints_mm
    return joints + noise_mm * rng.standard_normal(joints.shape)


def _with_bones(video: Video, phalanges_mm: NDArray[np.float64], mcps_mm: NDArray[np.float64]) -> Video:
    scale = float(video.person.shape.scale)
    shape = replace(video.person.shape, phalanges_mm=phalanges_mm * scale, mcps_mm=mcps_mm * scale)
    return replace(video, person=replace(video.person, shape=shape))
