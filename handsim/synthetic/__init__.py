"""Synthetic hands with exact truth: people, poses, cameras and pictures from a seed.

Poses alone need only numpy; torch is loaded when the first picture is rendered.
"""

from handsim.synthetic.config import (
    MotionConfig,
    PeopleConfig,
    SceneConfig,
    SyntheticConfig,
    ViewConfig,
)
from handsim.synthetic.filming import synthesise
from handsim.synthetic.labelled import LabelledPicture, synthesise_labelled
from handsim.synthetic.pooling import synthesise_pool
from handsim.synthetic.poses import SyntheticPoses, synthesise_poses
from handsim.synthetic.world import Samples, synthesise_video

__all__ = [
    "LabelledPicture",
    "MotionConfig",
    "PeopleConfig",
    "Samples",
    "SceneConfig",
    "SyntheticConfig",
    "SyntheticPoses",
    "ViewConfig",
    "synthesise",
    "synthesise_labelled",
    "synthesise_pool",
    "synthesise_poses",
    "synthesise_video",
]
