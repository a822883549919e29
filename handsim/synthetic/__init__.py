"""Synthetic hands with exact truth: people, poses, cameras and pictures from a seed.

Poses alone need only numpy; torch is loaded when the first picture is rendered.
"""

from handsim.synthetic.config import MotionConfig, PeopleConfig, SceneConfig, SyntheticConfig, ViewConfig
from handsim.synthetic.generate import (
    LabelledPicture,
    SyntheticPoses,
    synthesise,
    synthesise_labelled,
    synthesise_pool,
    synthesise_poses,
)
from handsim.synthetic.video import Samples, synthesise_video

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
