"""Estimate the poses of hands in photographs and videos.

The estimator sees right hands only: left hands are mirrored before it and mirrored back after it, so places
and estimates are in the image as it is. A hand of unknown side is taken for a right one. Points are in
pixels, x right, y down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.animations import sample_animation
from handsim.detection import Detection
from handsim.errors import HandsimError, Remark, UnusableError
from handsim.geometry import mirror_points, square_around
from handsim.hand import Side
from handsim.images import decode_picture
from handsim.media import tell_kind
from handsim.videos import VIDEO_SUFFIXES, sample_frames
from training.finetune.pose_model import PoseModel, Predictions


@dataclass(frozen=True, eq=False)
class Picture:
    image: NDArray[np.uint8]
    """[H, W, 3] RGB, upright."""
    frame: int | None = None
    """Its number in the video, from 0; None for a photograph."""
    time_s: float | None = None
    """Its time in the video; None for a photograph."""
    scale: float = 1.0
    """Pixels of ``image`` per pixel of the file: less than 1 for a huge JPEG."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of ``image``."""
        return self.image.shape[1], self.image.shape[0]


def is_video(path: Path) -> bool:
    """Whether a file is a video or an animation; of one that cannot be used, whether its name says so."""
    try:
        return tell_kind(path) in ("video", "animation")
    except UnusableError:
        return path.suffix.lower() in VIDEO_SUFFIXES


_LEAST_STEP_S: Final = 1e-3
"""Frames of a video are further apart than this."""


def read_pictures(path: Path, every_s: float, remarks: list[Remark] | None = None) -> Iterator[Picture]:
    """Yield the image of a file, or a frame of a video or an animation every ``every_s`` seconds; 0: each.

    What is wrong with a file that is used all the same is put into ``remarks``, once its last picture is
    read. Raises UnusableError for a file that is missing, unusable or of another kind.
    """
    remarks = [] if remarks is None else remarks
    if not path.exists():
        raise UnusableError("no such file", "")
    if path.is_dir():
        raise UnusableError("a folder", f"its pictures would do, as in {path}/*.jpg")
    kind = tell_kind(path)
    if kind in ("annotations", "tar"):
        what = "a tar archive; unpack it" if kind == "tar" else "annotations"
        raise UnusableError("not an image or video", f"it looks like {what}")
    if kind == "picture":
        picture = decode_picture(path)
        remarks += picture.remarks
        yield Picture(picture.pixels, scale=picture.scale)
        return
    sample = sample_animation if kind == "animation" else sample_frames
    for frame in sample(path, 1 / max(every_s, _LEAST_STEP_S), 0, None, remarks):
        yield Picture(frame.image, frame.index, frame.time_s)


@dataclass(frozen=True, eq=False)
class HandPlace:
    """A hand's place in an image; nothing is mirrored."""

    side: Side
    """The subject's own hand, as far as is known."""
    score: float | None
    """The detector's confidence, 0 to 1; None without a detector."""
    box_px: NDArray[np.float64]
    """[4] x0, y0, x1, y1: tight around the hand, or the whole image."""
    square_px: NDArray[np.float64]
    """[4] the estimator's crop; it may reach outside the image, where edge pixels are repeated."""
    looks_left: bool
    """Whether it looks like a left hand in this image; in that of a selfie camera, a right hand does."""
    detection: Detection | None = None
    """What a detector found there, by which hands are linked over frames."""
    track: int | None = None
    """The number of its track in a video, from 1."""


def place_of_detection(detection: Detection, size_px: tuple[int, int], model: PoseModel) -> HandPlace:
    """The place of a detected hand in an image (width, height), cropped as in training: around its 2D
    joints."""
    square_px = model.square(detection.keypoints_px[:, :2], size_px)
    box_px = detection.box_px.astype(np.float64)
    return HandPlace(
        detection.side, detection.score, box_px, square_px, detection.looks_left, detection=detection
    )


def place_of_box(box_px: ArrayLike, side: Side, size_px: tuple[int, int], model: PoseModel) -> HandPlace:
    """The place of a hand in a tight box [4], enlarged by the factor of the training.

    Raises HandsimError for an empty box, and for one that lies outside the image.
    """
    box = np.asarray(box_px, np.float64)
    square_px = square_around(box, model.crop.factor)
    if (box[:2] >= size_px).any() or (box[2:] <= 0).any():
        raise HandsimError(
            f"box {box.round(1).tolist()} lies outside the picture of {size_px[0]} x {size_px[1]} pixels; "
            "give x0,y0,x1,y1 in its pixels"
        )
    return HandPlace(side, None, box, square_px, side == "left")


def place_of_whole_picture(side: Side, size_px: tuple[int, int]) -> HandPlace:
    """The place of the hand in an image that is a crop for the estimator already."""
    box = np.array([0.0, 0.0, *size_px])
    return HandPlace(side, None, box, square_around(box, 1.0), side == "left")


_MIRROR = np.array([-1, 1, 1], np.float32)


@dataclass(frozen=True, eq=False)
class EstimatedHand:
    """A hand in its image; left hands are not mirrored."""

    place: HandPlace
    keypoints_2d_px: NDArray[np.float32]
    """[21, 2] in the image's pixels."""
    confidence: NDArray[np.float32]
    """[21] from 0 to 1."""
    joints_3d_mm: NDArray[np.float32]
    """[21, 3] relative to the wrist, in the camera's axes: x right, y down, z into the image. Its size is
    that of the mean hand of the training."""
    camera_3d_mm: NDArray[np.float32] | None
    """[21, 3] in the camera frame; None without K."""


def estimate_hands(
    model: PoseModel,
    image: NDArray[np.uint8],
    places: Sequence[HandPlace],
    intrinsics: NDArray[np.float64] | None = None,
) -> list[EstimatedHand]:
    """Estimate the hands at ``places`` of an image [H, W, 3] (RGB).

    ``intrinsics`` [3, 3] is K of the image's camera, in its pixels. Raises HandsimError where the estimator
    needs it and it is None.
    """
    if not places:
        return []
    width = image.shape[1]
    mirrored = np.ascontiguousarray(image[:, ::-1])
    squares = np.stack([_mirrored_square(place, width) for place in places])
    cameras = None
    if intrinsics is not None:
        as_mirror = _mirrored_intrinsics(intrinsics, width)
        cameras = np.stack([as_mirror if place.looks_left else intrinsics for place in places])
    pictures = [mirrored if place.looks_left else image for place in places]
    predictions = model.predict(pictures, squares, cameras)
    return [_unmirrored(place, predictions, row, width) for row, place in enumerate(places)]


def _mirrored_square(place: HandPlace, width: int) -> NDArray[np.float64]:
    x0, y0, x1, y1 = place.square_px
    return np.array([width - x1, y0, width - x0, y1]) if place.looks_left else place.square_px


def _mirrored_intrinsics(intrinsics: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """K of the mirrored image, for the mirrored world."""
    return np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) @ intrinsics @ np.diag([-1.0, 1, 1])


def _unmirrored(place: HandPlace, predictions: Predictions, row: int, width: int) -> EstimatedHand:
    keypoints, joints = predictions.keypoints_2d_px[row], predictions.joints_3d_mm[row]
    camera = None if predictions.camera_3d_mm is None else predictions.camera_3d_mm[row]
    if place.looks_left:
        keypoints, joints = mirror_points(keypoints, width), joints * _MIRROR
        camera = None if camera is None else camera * _MIRROR
    return EstimatedHand(place, keypoints, predictions.confidence[row], joints, camera)
