"""Pictures for labelled sets: hands as the camera took them, each with its whole truth.

Unlike in `world` nothing is mirrored: a left hand is in its picture, and in the camera frame, as a left hand.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import box_around, mirror_points
from handsim.hand import Side
from handsim.synthetic.camera import crop_intrinsics, project, squares_around
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.filming import film_each
from handsim.synthetic.video import FRAME_STEP, GRAIN, Sight, Video, sample_surroundings, sample_video, see

Floats = NDArray[np.float64]

PIXELS_AT_ONCE: Final = 4 * 640 * 640
"""Pixels of a video that are rendered together: bounds a core's memory to some 500 MB."""


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """One hand in one picture, never mirrored, and its truth."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    keypoints_2d_px: NDArray[np.float32]
    """[21, 2] in the picture's pixels: ``joints_3d_mm`` projected by ``intrinsics``; may lie outside."""
    joints_3d_mm: NDArray[np.float32]
    """[21, 3] in the camera frame: x right, y down, z into the picture."""
    intrinsics: Floats
    """[3, 3] K of this picture, in its pixels."""
    visible: NDArray[np.bool_]
    """[21] the joint lies in the picture, and no thing or other part of the hand before it."""
    box_px: NDArray[np.float32]
    """[4] tight box of the joints; may reach outside the picture."""
    side: Side
    """Which hand it is."""
    person: int
    """Number of the person in the world."""
    video: int
    """Number of the video in the world."""
    frame: int
    """Frame in the video."""


def synthesise_labelled(
    config: SyntheticConfig, *, crop_enlargement: float | None = None, videos: Iterable[int] | None = None
) -> Iterator[LabelledPicture]:
    """Film a world, or some of its ``videos`` (by number), in the order of videos and frames.

    Pictures are the camera's whole ones, of ``config.view.picture_px``; or, with ``crop_enlargement``, square
    crops of ``config.size_px`` around the joints' box, so many times as long as its longer side. Hands, poses
    and views are those of `synthesise`. The same arguments give the same bytes.
    """
    if crop_enlargement is not None and crop_enlargement < 1:
        raise HandsimError(f"crop_enlargement is {crop_enlargement}; below 1 it would cut the hand off")
    numbers = range(config.videos) if videos is None else videos
    for pictures in film_each(partial(_film_video, config, crop_enlargement), numbers):
        yield from pictures


def _film_video(config: SyntheticConfig, crop_enlargement: float | None, index: int) -> list[LabelledPicture]:
    # Only pixels need torch.
    import torch

    from handsim.synthetic.render import joints_in_sight, render
    from handsim.synthetic.trace import TILE

    video = sample_video(config, index)
    scene = sample_surroundings(config, video)
    sight = see([video])
    (width, height), intrinsics = _frame(config, video, sight, crop_enlargement)
    # The renderer makes squares of whole tiles; what hangs over on the right and below is cut off.
    square_px = -(-max(width, height) // TILE) * TILE
    step = max(1, PIXELS_AT_ONCE // square_px**2)
    taken: list[LabelledPicture] = []
    for first in range(0, config.hands_per_video, step):
        some = slice(first, min(first + step, config.hands_per_video))
        with torch.no_grad():
            pictures = render(
                video,
                scene,
                sight.posture[some],
                intrinsics[some],
                some,
                square_px,
                (config.seed, GRAIN, index),
            )
        joints = sight.joints_mm[some]
        in_sight = joints_in_sight(pictures, joints, intrinsics[some], video.person.shape)
        images = pictures.images[:, :height, :width]
        taken += [
            _as_seen(video, first + row, images[row], joints[row], intrinsics[first + row], in_sight[row])
            for row in range(len(joints))
        ]
    return taken


def _frame(
    config: SyntheticConfig, video: Video, sight: Sight, crop_enlargement: float | None
) -> tuple[tuple[int, int], Floats]:
    """Width and height of a video's pictures, and the K [frames, 3, 3] of each, as for a right hand."""
    intrinsics = np.repeat(video.view.intrinsics[None], len(sight.joints_mm), axis=0)
    if crop_enlargement is None:
        return config.view.picture_px, intrinsics
    squares = squares_around(project(sight.joints_mm, intrinsics), crop_enlargement)
    return (config.size_px, config.size_px), crop_intrinsics(intrinsics, squares, config.size_px)


def _as_seen(
    video: Video,
    row: int,
    image: NDArray[np.uint8],
    joints_mm: Floats,
    intrinsics: Floats,
    in_sight: NDArray[np.bool_],
) -> LabelledPicture:
    """A frame rendered as for a right hand, as the camera saw it: a left hand is mirrored back."""
    height, width = image.shape[:2]
    points_px, k = project(joints_mm, intrinsics), intrinsics.copy()
    inside = ((points_px >= 0) & (points_px < [width, height])).all(axis=1)
    if video.side == "left":
        image, points_px = image[:, ::-1], mirror_points(points_px, width)
        joints_mm = joints_mm * [-1, 1, 1]
        k[0, 2] = width - k[0, 2]
    return LabelledPicture(
        image=np.ascontiguousarray(image),
        keypoints_2d_px=points_px.astype(np.float32),
        joints_3d_mm=joints_mm.astype(np.float32),
        intrinsics=k,
        visible=in_sight & inside,
        box_px=box_around(points_px).astype(np.float32),
        side=video.side,
        person=video.person_index,
        video=video.index,
        frame=row * FRAME_STEP,
    )
