"""Small synthetic sets in official layouts, and their truth by geometry alone."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.synthetic import PeopleConfig, SyntheticConfig, ViewConfig
from handsim.synthetic.camera import project
from handsim.synthetic.video import sample_video, see

SYNTHETIC = SyntheticConfig(videos=12, hands_per_video=2, seed=2, size_px=64, people=PeopleConfig(count=8))
FREIHAND = SyntheticConfig(videos=6, hands_per_video=2, seed=3)
VIEW = ViewConfig(picture_px=(80, 64), focal_px=(60.0, 90.0))
DEXYCB = SyntheticConfig(videos=14, hands_per_video=2, seed=5, view=VIEW)
ASSEMBLYHANDS = SyntheticConfig(videos=10, hands_per_video=6, seed=5, view=VIEW)


def told_as_right(
    world: SyntheticConfig, video: int, side: Side, focal_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Joints [F, 21, 3] in mm, projections [F, 21, 2] in px and K [3, 3] of a video, as records have them.

    The synthetic world is that of right hands, and a left hand's picture its mirror image: nothing is to be
    mirrored here, whichever side the camera saw.
    """
    motion = replace(world.motion, left_share=float(side == "left"))
    view = replace(world.view, focal_px=(focal_px, focal_px))
    filmed = sample_video(replace(world, motion=motion, view=view), video)
    joints, intrinsics = see([filmed]).joints_mm, filmed.view.intrinsics
    return joints, project(joints, intrinsics), intrinsics
