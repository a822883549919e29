"""One video of a synthetic world: its random draw, the geometry of its hands, and rendered crops with truth.

Everything is that of a **right** hand, as in a pool. A left hand is its mirror image: where ``side`` is
``left`` the picture, the joints and K are those of the mirrored camera picture, and agree with each other.

Each kind of randomness has a generator of its own (`make_rng`), so that poses alone, without pictures, are
the poses that the pictures show.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import CROP_ENLARGEMENT, mirror_points
from handsim.hand import Side
from handsim.synthetic.camera import (
    View,
    crop_intrinsics,
    project,
    sample_view,
    squares_around,
    unit_keypoints,
)
from handsim.synthetic.config import Floats, SyntheticConfig
from handsim.synthetic.hand_model import Person, Posture, forward_kinematics, sample_person, stack_shapes
from handsim.synthetic.motion import nearest_labels, sample_motion
from handsim.synthetic.scene import Scene, sample_scene

FRAME_STEP: Final = 30
"""Frames of a 30 fps video from one sampled hand to the next: one a second."""

_FRAMES_AT_ONCE: Final = 32
"""Most frames of a video that are rendered together, whatever the size of the batches."""
_PIXELS_AT_ONCE: Final = 4 * 640 * 640
"""Most pixels of a video that are rendered together: bounds a core's memory to some 500 MB."""

PERSON, MOTION, VIEW, SCENE, GRAIN, DETECTOR = range(6)
"""The kinds of randomness, see `make_rng`."""


@dataclass(frozen=True, eq=False)
class Video:
    """What happens in one video."""

    index: int
    person_index: int
    """Whose hand it is: the same index, the same person."""
    person: Person
    side: Side
    """The hand that the camera really saw."""
    holding: bool
    angles_deg: Floats
    """[frames, 24], see `hand_model.ANGLES`."""
    view: View


def make_rng(config: SyntheticConfig, kind: int, index: int) -> np.random.Generator:
    """The generator of one kind of randomness of one video or person; nothing else draws from it."""
    return np.random.default_rng(np.random.SeedSequence((config.seed, kind, index)))


def sample_video(config: SyntheticConfig, index: int) -> Video:
    """Draw video ``index`` of a world."""
    person_index = index % config.people.count if config.people.count else index
    person = sample_person(make_rng(config, PERSON, person_index), config.people)
    rng = make_rng(config, MOTION, index)
    side: Side = "left" if rng.random() < config.motion.left_share else "right"
    holding = bool(rng.random() < config.motion.holding_share)
    angles = sample_motion(rng, config.motion, config.hands_per_video, holding=holding)
    view = sample_view(make_rng(config, VIEW, index), config.view, config.hands_per_video)
    return Video(index, person_index, person, side, holding, angles, view)


def sample_surroundings(config: SyntheticConfig, video: Video) -> Scene:
    """Draw what is around the hand of a video."""
    rng, scale = make_rng(config, SCENE, video.index), float(video.person.shape.scale)
    return sample_scene(rng, config.scene, config.hands_per_video, holding=video.holding, scale=scale)


@dataclass(frozen=True, eq=False)
class HandGeometry:
    """N hands before the camera, and the crops around them."""

    posture: Posture
    joints_mm: Floats
    """[N, 21, 3] in the camera frame."""
    squares_px: Floats
    """[N, 4] the crops in the picture."""
    unit_intrinsics: Floats
    """[N, 3, 3] K of the crops, each spanning [0, 1]."""


def compute_geometry(videos: Sequence[Video], enlargement: float = CROP_ENLARGEMENT) -> HandGeometry:
    """Pose, place and project the hands of equally long videos, one video after the other.

    Crops are ``enlargement`` times as long as the box of the joints.
    """
    shapes = stack_shapes([video.person.shape for video in videos], len(videos[0].angles_deg))
    posture = forward_kinematics(shapes, np.concatenate([video.angles_deg for video in videos]))
    rotation = np.concatenate([video.view.rotation for video in videos])
    wrist = np.concatenate([video.view.wrist_mm for video in videos])
    intrinsics = np.repeat([video.view.intrinsics for video in videos], len(videos[0].angles_deg), axis=0)
    joints = posture.joints_mm @ rotation.swapaxes(-1, -2) + wrist[:, None]
    squares = squares_around(project(joints, intrinsics), enlargement)
    return HandGeometry(posture, joints, squares, crop_intrinsics(intrinsics, squares, 1.0))


@dataclass(frozen=True, eq=False)
class Samples:
    """B hands with their crops (side S pixels) and their truth."""

    images: NDArray[np.uint8]
    """[B, S, S, 3] RGB crops: the square around the joints' box, enlarged."""
    keypoints: NDArray[np.float32]
    """[B, 21, 3] in the crop's unit square, as `Hand.keypoints`."""
    keypoints_px: NDArray[np.float32]
    """[B, 21, 2] in the crop's pixels: the projection of ``joints_mm`` by ``intrinsics``."""
    joints_mm: NDArray[np.float32]
    """[B, 21, 3] in the camera frame: x right, y down, z into the picture."""
    intrinsics: Floats
    """[B, 3, 3] K of the crop, in its pixels."""
    box_px: NDArray[np.float32]
    """[B, 4] tight box of the joints in the camera's whole picture, never mirrored."""
    visible: NDArray[np.bool_]
    """[B, 21] nothing stands between the joint and the camera: no object, no other part of the hand."""
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


def synthesise_video(config: SyntheticConfig, enlargement: float, index: int) -> Samples:
    """Render video ``index`` of a world: all its frames in order."""
    video = sample_video(config, index)
    geometry = compute_geometry([video], enlargement)
    frames = config.hands_per_video
    intrinsics = geometry.unit_intrinsics.copy()
    intrinsics[:, :2] *= config.size_px
    size_px = (config.size_px, config.size_px)
    images, visible = zip(*render_frames(config, video, geometry, intrinsics, size_px), strict=True)
    return Samples(
        images=np.concatenate(images),
        keypoints=unit_keypoints(geometry.joints_mm, geometry.unit_intrinsics),
        keypoints_px=project(geometry.joints_mm, intrinsics).astype(np.float32),
        joints_mm=geometry.joints_mm.astype(np.float32),
        intrinsics=intrinsics,
        box_px=_camera_boxes(config, video, project(geometry.joints_mm, video.view.intrinsics)),
        visible=np.concatenate(visible),
        video=np.full(frames, index, dtype=np.int32),
        frame=np.arange(frames, dtype=np.int64) * FRAME_STEP,
        person=np.full(frames, video.person_index, dtype=np.int32),
        side=np.full(frames, video.side),
        label=np.array(nearest_labels(video.angles_deg), dtype=object),
    )


def render_frames(
    config: SyntheticConfig,
    video: Video,
    geometry: HandGeometry,
    intrinsics: Floats,
    size_px: tuple[int, int],
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """The pictures [n, H, W, 3] of a video's frames, n at a time, and the joints [n, 21] that nothing hides.

    ``intrinsics`` [frames, 3, 3] are those of the pictures, whose width and height are ``size_px``.
    """
    import torch

    from handsim.synthetic.ray_march import TILE
    from handsim.synthetic.render import find_visible_joints, render

    scene = sample_surroundings(config, video)
    width, height = size_px
    # The renderer makes squares of whole tiles; what is too much on the right and below is cut off.
    square_px = -(-max(size_px) // TILE) * TILE
    step = min(_FRAMES_AT_ONCE, max(1, _PIXELS_AT_ONCE // square_px**2))
    grain = (config.seed, GRAIN, video.index)
    for first in range(0, len(intrinsics), step):
        some = slice(first, min(first + step, len(intrinsics)))
        with torch.no_grad():
            pictures = render(video, scene, geometry.posture[some], intrinsics[some], some, square_px, grain)
        unhidden = find_visible_joints(
            pictures, geometry.joints_mm[some], intrinsics[some], video.person.shape
        )
        yield pictures.images[:, :height, :width], unhidden


def _camera_boxes(config: SyntheticConfig, video: Video, points_px: Floats) -> NDArray[np.float32]:
    """Tight boxes [N, 4] in the camera's picture of joints [N, 21, 2] in the right hand's."""
    if video.side == "left":
        points_px = mirror_points(points_px, config.view.picture_px[0])
    return np.concatenate([points_px.min(axis=1), points_px.max(axis=1)], axis=1).astype(np.float32)
