"""One video of a synthetic world: a person's hand, its motion, the view of it. Geometry only, no pixels.

One video of a synthetic world, filmed: hands with exact truth.

Everything is told as for a **right** hand, as in a pool: a left hand is its mirror image, so where ``side``
is ``left`` the picture, the joints and K are those of the mirrored camera picture, and agree with each
other. `Samples.as_seen` turns the left hands back into what the camera saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import mirror_points
from handsim.hand import Side
from handsim.synthetic.camera import (
    View,
    crop_intrinsics,
    project,
    sample_view,
    squares_around,
    unit_keypoints,
)
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.hand_model import Person, Posture, bend, sample_person, stack_shapes
from handsim.synthetic.motion import nearest_labels, sample_motion
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


FRAMES_AT_ONCE: Final = 32
"""Frames of a video that are rendered together, whatever the size of the batches asked for."""


@dataclass(frozen=True, eq=False)
class Samples:
    """B hands with their crops (side S pixels) and their truth."""

    images: NDArray[np.uint8]
    """[B, S, S, 3] RGB crops: the square around the joints' box, enlarged 1.3 times."""
    keypoints: NDArray[np.float32]
    """[B, 21, 3] in the crop's unit square, as `Hand.keypoints`."""
    keypoints_px: NDArray[np.float32]
    """[B, 21, 2] in the crop's pixels: the projection of ``joints_mm`` by ``intrinsics``."""
    joints_mm: NDArray[np.float32]
    """[B, 21, 3] in the camera frame: x right, y down, z into the picture."""
    intrinsics: NDArray[np.float64]
    """[B, 3, 3] K of the crop, in its pixels."""
    box_px: NDArray[np.float32]
    """[B, 4] tight box of the joints in the camera's whole picture, never mirrored."""
    visible: NDArray[np.bool_]
    """[B, 21] nothing stands between the joint and the camera: no thing, no other part of the hand."""
    video: NDArray[np.int32]
    """[B] number of the video."""
    frame: NDArray[np.int64]
    """[B] frame in the video."""
    person: NDArray[np.int32]
    """[B] number of the person."""
    side: NDArray[np.str_]
    """[B] ``left`` or ``right``: the hand the camera saw."""
    label: NDArray[np.object_]
    """[B] name of the prototype the hand shows, or None where it is close to none."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice) -> "Samples":
        return Samples(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def as_seen(self) -> "Samples":
        """The same hands as the camera saw them: left ones mirrored back, picture and truth alike."""
        left = self.side == "left"
        size = self.images.shape[2]
        images, intrinsics, joints = self.images.copy(), self.intrinsics.copy(), self.joints_mm.copy()
        keypoints, keypoints_px = self.keypoints.copy(), self.keypoints_px.copy()
        images[left] = images[left][:, :, ::-1]
        intrinsics[left, 0, 2] = size - intrinsics[left, 0, 2]
        joints[left, :, 0] *= -1
        keypoints[left] = mirror_points(keypoints[left], 1)
        keypoints_px[left] = mirror_points(keypoints_px[left], size)
        return replace(
            self,
            images=images,
            intrinsics=intrinsics,
            joints_mm=joints,
            keypoints=keypoints,
            keypoints_px=keypoints_px,
        )


def synthesise_video(config: SyntheticConfig, index: int) -> Samples:
    """Film video ``index`` of a world: all its frames in order."""
    # Only pixels need torch; poses and settings are to be had without it.
    import torch

    from handsim.synthetic.render import joints_in_sight, render

    video = sample_video(config, index)
    scene = sample_surroundings(config, video)
    sight = see([video])
    frames = config.hands_per_video
    intrinsics = sight.unit_intrinsics.copy()
    intrinsics[:, :2] *= config.size_px
    grain = (config.seed, GRAIN, index)
    images, visible = [], []
    for first in range(0, frames, FRAMES_AT_ONCE):
        some = slice(first, min(first + FRAMES_AT_ONCE, frames))
        with torch.no_grad():
            pictures = render(
                video, scene, sight.posture[some], intrinsics[some], some, config.size_px, grain
            )
        images.append(pictures.images)
        visible.append(joints_in_sight(pictures, sight.joints_mm[some], intrinsics[some], video.person.shape))
    return Samples(
        images=np.concatenate(images),
        keypoints=unit_keypoints(sight.joints_mm, sight.unit_intrinsics),
        keypoints_px=project(sight.joints_mm, intrinsics).astype(np.float32),
        joints_mm=sight.joints_mm.astype(np.float32),
        intrinsics=intrinsics,
        box_px=_boxes_as_seen(config, video, project(sight.joints_mm, video.view.intrinsics)),
        visible=np.concatenate(visible),
        video=np.full(frames, index, dtype=np.int32),
        frame=np.arange(frames, dtype=np.int64) * FRAME_STEP,
        person=np.full(frames, video.person_index, dtype=np.int32),
        side=np.full(frames, video.side),
        label=np.array(nearest_labels(video.angles_deg), dtype=object),
    )


def _boxes_as_seen(
    config: SyntheticConfig, video: Video, points_px: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Tight boxes [N, 4] in the camera's picture of joints [N, 21, 2] in the right hand's."""
    if video.side == "left":
        points_px = mirror_points(points_px, config.view.picture_px[0])
    return np.concatenate([points_px.min(axis=1), points_px.max(axis=1)], axis=1).astype(np.float32)
