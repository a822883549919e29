"""One video of a synthetic world, filmed: hands with exact truth.

Everything is told as for a **right** hand, as in a pool: a left hand is its mirror image, so where ``side``
is ``left`` the picture, the joints and K are those of the mirrored camera picture, and agree with each
other. `Samples.as_seen` turns the left hands back into what the camera saw.
"""

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import mirror_points
from handsim.synthetic.camera import project, unit_keypoints
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.motion import nearest_labels
from handsim.synthetic.video import FRAME_STEP, GRAIN, Video, sample_surroundings, sample_video, see

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
