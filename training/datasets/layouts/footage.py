"""What one camera films of one hand, for the layouts of other datasets."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.synthetic import SyntheticConfig


@dataclass(frozen=True, eq=False)
class Footage:
    """F frames of one hand as the camera saw it: never mirrored."""

    images: NDArray[np.uint8]
    """[F, H, W, 3] RGB."""
    joints_mm: NDArray[np.float64]
    """[F, 21, 3] in the camera frame."""
    intrinsics: NDArray[np.float64]
    """[3, 3] K of all frames."""


def film_hand(config: SyntheticConfig, video: int, side: Side, focal_px: float) -> Footage:
    """Film video ``video`` of a world again with a hand of this side and a camera of this focal length."""
    import torch

    from handsim.synthetic.render import render
    from handsim.synthetic.video import GRAIN, sample_surroundings, sample_video, see

    size = config.size_px
    world = replace(
        config,
        motion=replace(config.motion, left_share=float(side == "left")),
        view=replace(config.view, focal_px=(focal_px, focal_px), picture_px=(size, size)),
    )
    filmed = sample_video(world, video)
    scene = sample_surroundings(world, filmed)
    sight = see([filmed])
    frames = slice(0, world.hands_per_video)
    intrinsics = np.repeat(filmed.view.intrinsics[None], world.hands_per_video, axis=0)
    with torch.no_grad():
        pictures = render(filmed, scene, sight.posture, intrinsics, frames, size, (world.seed, GRAIN, video))
    images, joints, k = pictures.images, sight.joints_mm.copy(), filmed.view.intrinsics.copy()
    if side == "left":
        images = images[:, :, ::-1]
        joints[..., 0] *= -1
        k[0, 2] = size - k[0, 2]
    return Footage(images, joints, k)
