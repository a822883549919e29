"""The annotations of one split of AssemblyHands, as arrays.

The three files hold hundreds of megabytes of JSON. They are streamed, a picture or a sequence at a time; what
is kept is some 200 bytes a picture, 30 a hand and 550 a frame.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import Side
from handsim.skeleton import JOINT_COUNT
from training.datasets.assemblyhands.files import (
    CAMERA_SUFFIX,
    DOWNLOAD_AGAIN,
    VERSION,
    annotation_path,
    stream_items,
    stream_members,
)

HALVES: Final[dict[Side, slice]] = {
    "right": slice(0, JOINT_COUNT),
    "left": slice(JOINT_COUNT, 2 * JOINT_COUNT),
}
"""Where each hand is among the 42 joints."""


@dataclass(frozen=True, eq=False)
class Views:
    """The V pictures that show a hand with a box."""

    sequences: list[str]
    """Names of the sequences."""
    cameras: list[str]
    """Names of the cameras."""
    folders: list[str]
    """Folders of the pictures, below images/."""
    sequence: NDArray[np.int32]
    """[V] which sequence."""
    camera: NDArray[np.int32]
    """[V] which camera."""
    frame: NDArray[np.int32]
    """[V] ``frame_idx``."""
    size_px: NDArray[np.int32]
    """[V, 2] width and height."""
    folder: NDArray[np.int32]
    """[V] which folder."""
    file: NDArray[np.str_]
    """[V] the picture's name in its folder."""


@dataclass(frozen=True, eq=False)
class Hands:
    """N hands with a box, in the order of the annotations, right before left."""

    annotation: NDArray[np.int32]
    """[N] which of the file's annotations."""
    view: NDArray[np.int32]
    """[N] which picture."""
    left: NDArray[np.bool_]
    """[N] whether it is a left hand."""
    valid: NDArray[np.bool_]
    """[N, 21] the picture's ``joint_valid``, in their order."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Joints of both hands in F frames."""

    frame: NDArray[np.int32]
    """[V] which of the F frames a picture shows."""
    world_mm: NDArray[np.float32]
    """[F, 42, 3] in their order."""
    valid: NDArray[np.bool_]
    """[F, 42] ``joint_valid`` of the frame, in their order."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The cameras of V pictures."""

    intrinsics: NDArray[np.float64]
    """[sequences, cameras, 3, 3] K, with the first pixel centred at (0, 0)."""
    extrinsics: NDArray[np.float64]
    """[V, 3, 4] R and t: camera = R world + t, in mm."""


class _Numbers(dict[str, int]):
    """Numbers names in the order in which they are first asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


def read_hands(root: Path, split: str) -> tuple[Views, Hands]:
    """Hands and the pictures that show them, from ego_data; raises HandsimError for other contents."""
    path = annotation_path(root, split, "ego_data")
    sequences, cameras, folders = _Numbers(), _Numbers(), _Numbers()
    pictures, hands = {}, []
    with _told_of(path):
        for image in stream_items(path, "images.item"):
            file = PurePosixPath(image["file_name"])
            numbers = (sequences[image["seq_name"]], cameras[image["camera"]], folders[str(file.parent)])
            pictures[image["id"]] = (
                *numbers,
                int(image["frame_idx"]),
                int(image["width"]),
                int(image["height"]),
                file.name,
            )
        for number, annotation in enumerate(stream_items(path, "annotations.item")):
            valid = np.array(annotation["joint_valid"], dtype=np.bool_).reshape(2 * JOINT_COUNT)
            for side, half in HALVES.items():
                if annotation["bbox"][side] is not None:
                    hands.append((number, annotation["image_id"], side == "left", valid[half]))
        shown = {image_id: row for row, image_id in enumerate(dict.fromkeys(hand[1] for hand in hands))}
        rows = [pictures[image_id] for image_id in shown]
    if not hands:
        raise HandsimError(f"{path} has no annotations[] with a box in bbox; {DOWNLOAD_AGAIN}")
    table = np.array([row[:-1] for row in rows], dtype=np.int32)
    views = Views(
        list(sequences),
        list(cameras),
        list(folders),
        sequence=table[:, 0],
        camera=table[:, 1],
        folder=table[:, 2],
        frame=table[:, 3],
        size_px=table[:, 4:],
        file=np.array([row[-1] for row in rows]),
    )
    return views, Hands(
        annotation=np.array([hand[0] for hand in hands], dtype=np.int32),
        view=np.array([shown[hand[1]] for hand in hands], dtype=np.int32),
        left=np.array([hand[2] for hand in hands]),
        valid=np.array([hand[3] for hand in hands]),
    )


def read_keypoints(root: Path, split: str, annotations: NDArray[np.int32]) -> NDArray[np.float32]:
    """Annotated 2D joints [len, 42, 2] of some annotations of ego_data, by number, in their order and pixels.

    NaN where there are no ``keypoints``. Reads the whole file again, as they are too many to be kept.
    """
    path = annotation_path(root, split, "ego_data")
    keypoints = np.full((len(annotations), 2 * JOINT_COUNT, 2), np.nan, dtype=np.float32)
    with _told_of(path):
        for number, annotation in enumerate(stream_items(path, "annotations.item")):
            rows = np.flatnonzero(annotations == number)
            if len(rows) and "keypoints" in annotation:
                keypoints[rows] = np.array(annotation["keypoints"], dtype=np.float32)[:, :2]
    return keypoints


def read_poses(root: Path, split: str, views: Views) -> Poses:
    """The joints in the frames of the pictures, from joint_3d; raises HandsimError where any is missing."""
    path = annotation_path(root, split, "joint_3d")
    frames, of_view = np.unique(np.stack([views.sequence, views.frame], axis=1), axis=0, return_inverse=True)
    world = np.empty((len(frames), 2 * JOINT_COUNT, 3), dtype=np.float32)
    valid = np.empty((len(frames), 2 * JOINT_COUNT), dtype=np.bool_)
    left = set(range(len(views.sequences)))
    with _told_of(path):
        for name, poses in stream_members(path, "annotations"):
            for row in np.flatnonzero(frames[:, 0] == _number(views, name)):
                pose = poses[f"{frames[row, 1]:06d}"]
                world[row] = pose["world_coord"]
                valid[row] = np.array(pose["joint_valid"], dtype=np.bool_).reshape(-1)
            left.discard(_number(views, name))
    _check_all_there(path, views, left)
    return Poses(of_view.reshape(-1).astype(np.int32), world, valid)


def read_calibration(root: Path, split: str, views: Views) -> Calibration:
    """The cameras of all pictures, from ego_calib; raises HandsimError where one is missing."""
    path = annotation_path(root, split, "ego_calib")
    intrinsics = np.full((len(views.sequences), len(views.cameras), 3, 3), np.nan)
    extrinsics = np.empty((len(views.frame), 3, 4))
    left = set(range(len(views.sequences)))
    with _told_of(path):
        for name, calibration in stream_members(path, "calibration"):
            sequence = _number(views, name)
            for row in np.flatnonzero(views.sequence == sequence):
                camera = views.cameras[views.camera[row]].removesuffix(CAMERA_SUFFIX) + CAMERA_SUFFIX
                intrinsics[sequence, views.camera[row]] = calibration["intrinsics"][camera]
                extrinsics[row] = calibration["extrinsics"][f"{views.frame[row]:06d}"][camera]
            left.discard(sequence)
    _check_all_there(path, views, left)
    return Calibration(intrinsics, extrinsics)


def _number(views: Views, sequence: str) -> int:
    return views.sequences.index(sequence) if sequence in views.sequences else -1


def _check_all_there(path: Path, views: Views, left: set[int]) -> None:
    missing = [views.sequences[number] for number in sorted(left & set(views.sequence.tolist()))]
    if missing:
        raise HandsimError(
            f"{path} lacks {len(missing)} of {len(views.sequences)} sequences, such as {missing[0]}; "
            f"{DOWNLOAD_AGAIN}"
        )


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Tell of contents that are not as they should be in one sentence."""
    try:
        yield
    except HandsimError:
        raise
    except KeyError as error:
        raise HandsimError(
            f"{path} lacks {error.args[0]!r}, so it is not {VERSION}; {DOWNLOAD_AGAIN}"
        ) from error
    except (TypeError, ValueError) as error:
        raise HandsimError(f"{path} is not as in {VERSION} ({error}); {DOWNLOAD_AGAIN}") from error
