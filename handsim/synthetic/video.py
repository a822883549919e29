"""One video of a synthetic world: a person's hand, its motion, the view of it. Geometry only, no pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.synthetic.camera import View, crop_intrinsics, project, sample_view, squares_around
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.kinematics import Posture, bend
from handsim.synthetic.motion import sample_motion
from handsim.synthetic.person import Person, sample_person, stack_shapes
from handsim.synthetic.scene import Scene, sample_scene

FRAME_STEP: Final = 30
"""Frames of a 30 fps video from one sampled hand to the next: one a second."""

PERSON, MOTION, VIEW, SCENE, GRAIN, DETECTOR = range(6)
"""The streams of randomness. Each is apart, so that poses alone are those of the pictures too."""


@dataclass(frozen=True, eq=False)
class Video:
    """What happens in one video, told as for a right hand (a left one is this world seen in a mirror)."""

    index: int
    """Its number in the world."""
    person_index: int
    """Whose hand it is: the same index, the same person."""
    person: Person
    """Lengths, widths and colours."""
    side: Side
    """The hand that the camera really saw."""
    holding: bool
    """Whether the hand holds something."""
    angles_deg: NDArray[np.float64]
    """[frames, 24], see `kinematics.ANGLES`."""
    view: View
    """Camera, rotation and place of each frame."""


def stream(config: SyntheticConfig, which: int, index: int) -> np.random.Generator:
    """The generator of one stream of one video or person; nothing else draws from it."""
    return np.random.default_rng(np.random.SeedSequence((config.seed, which, index)))


def sample_video(config: SyntheticConfig, index: int) -> Video:
    """Draw video ``index`` of a world."""
    person_index = index % config.people.count if config.people.count else index
    person = sample_person(stream(config, PERSON, person_index), config.people)
    rng = stream(config, MOTION, index)
    side: Side = "left" if rng.random() < config.motion.left_share else "right"
    holding = bool(rng.random() < config.motion.holding_share)
    angles = sample_motion(rng, config.motion, config.hands_per_video, holding=holding)
    view = sample_view(stream(config, VIEW, index), config.view, config.hands_per_video)
    return Video(index, person_index, person, side, holding, angles, view)


def sample_surroundings(config: SyntheticConfig, video: Video) -> Scene:
    """Draw what is around the hand of a video."""
    rng = stream(config, SCENE, video.index)
    return sample_scene(
        rng,
        config.scene,
        config.hands_per_video,
        holding=video.holding,
        scale=float(video.person.shape.scale),
    )


@dataclass(frozen=True, eq=False)
class Sight:
    """What the camera sees of N hands, and the crops around them; right hands all."""

    posture: Posture
    """The hands in the hand frame."""
    joints_mm: NDArray[np.float64]
    """[N, 21, 3] in the camera frame."""
    squares_px: NDArray[np.float64]
    """[N, 4] the crops in the picture."""
    unit_intrinsics: NDArray[np.float64]
    """[N, 3, 3] K of the crops, each spanning [0, 1]."""


def see(videos: Sequence[Video]) -> Sight:
    """Bend, place and project all frames of equally long videos, one video after the other."""
    shapes = stack_shapes([video.person.shape for video in videos], len(videos[0].angles_deg))
    posture = bend(shapes, np.concatenate([video.angles_deg for video in videos]))
    rotation = np.concatenate([video.view.rotation for video in videos])
    wrist = np.concatenate([video.view.wrist_mm for video in videos])
    intrinsics = np.repeat([v.view.intrinsics for v in videos], len(videos[0].angles_deg), axis=0)
    joints = posture.joints_mm @ rotation.swapaxes(-1, -2) + wrist[:, None]
    squares = squares_around(project(joints, intrinsics))
    return Sight(posture, joints, squares, crop_intrinsics(intrinsics, squares, 1.0))
