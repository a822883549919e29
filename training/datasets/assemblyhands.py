"""AssemblyHands (Ohkawa et al., CVPR 2023, arXiv 2304.12301), its egocentric images, from the official
layout.

Files: ``annotations/<split>/assemblyhands_<split>_{ego_data,ego_calib,joint_3d}_v1-1.json`` and the images
below ``images/`` that ``file_name`` names (``ego_images_rectified/<split>/...``). Their keys, as the official
toolkit reads them:

- ego_data: ``images[]`` with ``id``, ``file_name``, ``seq_name``, ``camera``, ``frame_idx``, ``width``,
  ``height``; ``annotations[]`` with ``image_id``, ``bbox.{right,left}`` ([x1, y1, x2, y2] or null) and
  ``joint_valid`` [42]. The toolkit does not read ``keypoints`` [42, 3] (x, y, score); others do.
- ego_calib: ``calibration.<seq_name>`` with ``intrinsics.<camera>_mono10bit`` [3, 3] and
  ``extrinsics.<frame_idx as %06d>.<camera>_mono10bit`` [3, 4], camera = R world + t.
- joint_3d: ``annotations.<seq_name>.<frame_idx as %06d>`` with ``world_coord`` [42, 3] in mm and
  ``joint_valid`` [42].

Joints 0-20 are the right hand's, 21-41 the left's, both in the order of InterHand ("their order" below).

The three files have hundreds of megabytes of JSON. They are streamed, an image or a sequence at a time, into
arrays of some 200 bytes an image, 30 a hand and 550 a frame. Images are read lazily.

An image is named by its frame, as ``000520.jpg``; a file in which that does not agree with ``frame_idx`` is
refused.

Not confirmed, because the data could not be seen: that a joint needs ``joint_valid`` of both image and frame
(the toolkit uses the image's), and that ``file_name`` is always relative to images/. The public splits are
not those of the paper, and the joints of the public test split are withheld.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import ijson
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import PIXEL_CENTRE, mirror_points
from handsim.hand import Side
from handsim.skeleton import JOINT_COUNT, to_handsim_order
from handsim.synthetic.camera import project
from training.datasets.large_json import Numbers, explain_errors, stream
from training.datasets.record import HandLabel, LabelledHand, check_split, with_picture

SPLITS: Final = ("train", "val", "test")
VERSION: Final = "v1-1"
CAMERA_SUFFIX: Final = "_mono10bit"
DOWNLOAD_AGAIN: Final = f"download all three files of annotations {VERSION} of the split again"
_EXTRACT_AGAIN: Final = "extract that sequence's archive of ego_images_rectified again"

HALVES: Final[dict[Side, slice]] = {
    "right": slice(0, JOINT_COUNT),
    "left": slice(JOINT_COUNT, 2 * JOINT_COUNT),
}
"""Where each hand is among the 42 joints."""


class AssemblyHands:
    """A `HandDataset` of the hands of a split that have a box: two in an image are two samples.

    A joint is valid where the annotations of its image and of its frame both say so. ``skipped`` counts the
    hands with a box and no valid joint. 2D joints are projections of the 3D ones, as in the official toolkit.
    Raises HandsimError for an unknown split, and for annotations that are missing, damaged or of another
    version.
    """

    name = "assemblyhands"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root = root
        self.split = split
        self._views, hands = _read_hands(root, split)
        self._frame, self._world_mm, valid_3d = _read_poses(root, split, self._views)
        self._intrinsics, self._extrinsics = _read_calibration(root, split, self._views)
        in_3d = valid_3d[self._frame[hands.view]].reshape(len(hands.view), 2, -1)
        valid = hands.valid & np.where(hands.left[:, None], in_3d[:, 1], in_3d[:, 0])
        some = np.asarray(valid.any(axis=1))
        self.skipped = int((~some).sum())
        if not some.any():
            raise HandsimError(
                f"none of the {len(some)} hands of {split} has a valid joint; where joints are "
                f"withheld, take another split, else {DOWNLOAD_AGAIN}"
            )
        self._annotation, self._view = hands.annotation[some], hands.view[some]
        self._left, self._valid = hands.left[some], valid[some]

    def __len__(self) -> int:
        return len(self._view)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        views, view, side = self._views, int(self._view[index]), self._side(index)
        valid = to_handsim_order(self._valid[index][:, None], self.name)[:, 0]
        world = to_handsim_order(self._world_mm[self._frame[view], HALVES[side]], self.name)
        extrinsics = self._extrinsics[view]
        joints = np.where(valid[:, None], world @ extrinsics[:, :3].T + extrinsics[:, 3], np.nan)
        intrinsics = self._intrinsics[views.sequence[view], views.camera[view]].copy()
        intrinsics[:2, 2] += PIXEL_CENTRE  # whole numbers in the toolkit's camera model
        sequence = views.sequences[views.sequence[view]]
        label = HandLabel(
            sample_id=f"{sequence}/{views.cameras[views.camera[view]]}/{views.frame[view]:06d}/{side}",
            subject=_subject(sequence),
            side=side,
            size_px=(int(views.size_px[view, 0]), int(views.size_px[view, 1])),
            keypoints_2d_px=project(joints, intrinsics).astype(np.float32),
            joints_3d_mm=joints.astype(np.float32),
            intrinsics=intrinsics,
            valid=valid,
        )
        return label.mirrored() if side == "left" else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _EXTRACT_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """The image of one hand; all annotations are in files of their own."""
        views, view = self._views, int(self._view[index])
        return (self.root / "images" / views.folders[views.folder[view]] / str(views.file[view]),)

    def annotated_keypoints_px(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Read the annotated 2D joints [len, 21, 2], as labels have them; NaN where there are none.

        Labels have projections of the 3D joints instead. This reads the file of annotations again.
        """
        keypoints = _read_keypoints(self.root, self.split, self._annotation[list(indices)])
        points_px = np.empty((len(indices), JOINT_COUNT, 2), dtype=np.float32)
        for row, index in enumerate(indices):
            side = self._side(index)
            points = to_handsim_order(keypoints[row, HALVES[side]], self.name) + np.float32(PIXEL_CENTRE)
            width = int(self._views.size_px[self._view[index], 0])
            points_px[row] = mirror_points(points, width) if side == "left" else points
        return points_px

    def _side(self, index: int) -> Side:
        return "left" if self._left[index] else "right"


def _subject(sequence: str) -> str:
    """The participant: the number before ``_user_id`` in a sequence's name."""
    match = re.search(r"_(\d+)_user_id_", sequence)
    return match[1] if match else sequence


@dataclass(frozen=True, eq=False)
class _CameraViews:
    """The V images that show a hand with a box, each with the numbers of its names in the three lists."""

    sequences: list[str]
    cameras: list[str]
    folders: list[str]
    """Folders of the images, below images/."""
    sequence: NDArray[np.int32]
    camera: NDArray[np.int32]
    frame: NDArray[np.int32]
    """[V] ``frame_idx``."""
    size_px: NDArray[np.int32]
    """[V, 2] width and height."""
    folder: NDArray[np.int32]
    file: NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class _Hands:
    """N hands with a box, in the order of the annotations, right before left: the numbers of their
    annotations and images, and whether they are left hands."""

    annotation: NDArray[np.int32]
    view: NDArray[np.int32]
    left: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    """[N, 21] ``joint_valid`` of the image, in their order."""


def _read_hands(root: Path, split: str) -> tuple[_CameraViews, _Hands]:
    """Read ego_data: the hands, and the images that show them; raises HandsimError for other contents."""
    path = _annotation_path(root, split, "ego_data")
    sequences, cameras, folders = Numbers(), Numbers(), Numbers()
    pictures, hands = {}, []
    with explain_errors(path, VERSION, DOWNLOAD_AGAIN):
        for image in stream(path, ijson.items, "images.item", DOWNLOAD_AGAIN):
            file = PurePosixPath(image["file_name"])
            if not file.stem.isdecimal() or int(file.stem) != int(image["frame_idx"]):
                raise HandsimError(
                    f"{path} gives frame_idx {image['frame_idx']} of {image['seq_name']} the picture "
                    f"{file.name}, which is of another frame, so labels would be of other pictures; "
                    f"{DOWNLOAD_AGAIN}"
                )
            numbers = (sequences[image["seq_name"]], cameras[image["camera"]], folders[str(file.parent)])
            integers = (int(image[key]) for key in ("frame_idx", "width", "height"))
            pictures[image["id"]] = (*numbers, *integers, file.name)
        for number, annotation in enumerate(stream(path, ijson.items, "annotations.item", DOWNLOAD_AGAIN)):
            valid = np.array(annotation["joint_valid"], dtype=np.bool_).reshape(2 * JOINT_COUNT)
            for side, half in HALVES.items():
                if annotation["bbox"][side] is not None:
                    hands.append((number, annotation["image_id"], side == "left", valid[half]))
        row_of_image = {
            image_id: row for row, image_id in enumerate(dict.fromkeys(hand[1] for hand in hands))
        }
        rows = [pictures[image_id] for image_id in row_of_image]
    if not hands:
        raise HandsimError(f"{path} has no annotations[] with a box in bbox; {DOWNLOAD_AGAIN}")
    table = np.array([row[:-1] for row in rows], dtype=np.int32)
    views = _CameraViews(
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
    return views, _Hands(
        annotation=np.array([hand[0] for hand in hands], dtype=np.int32),
        view=np.array([row_of_image[hand[1]] for hand in hands], dtype=np.int32),
        left=np.array([hand[2] for hand in hands]),
        valid=np.array([hand[3] for hand in hands]),
    )


def _read_keypoints(root: Path, split: str, annotations: NDArray[np.int32]) -> NDArray[np.float32]:
    """Read the 2D joints [len, 42, 2] of some annotations of ego_data, by number, in their order and pixels.

    NaN where there are no ``keypoints``. This reads the file again; all 2D joints would fill the memory.
    """
    path = _annotation_path(root, split, "ego_data")
    keypoints = np.full((len(annotations), 2 * JOINT_COUNT, 2), np.nan, dtype=np.float32)
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(annotations.tolist()):
        rows_of.setdefault(number, []).append(row)
    with explain_errors(path, VERSION, DOWNLOAD_AGAIN):
        for number, annotation in enumerate(stream(path, ijson.items, "annotations.item", DOWNLOAD_AGAIN)):
            rows = rows_of.get(number)
            if rows and "keypoints" in annotation:
                keypoints[rows] = np.array(annotation["keypoints"], dtype=np.float32)[:, :2]
    return keypoints


def _read_poses(
    root: Path, split: str, views: _CameraViews
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Read joint_3d: which of F frames each image shows [V], joints [F, 42, 3], and ``joint_valid`` [F, 42].

    Both are in their order, joints in mm in the world. Raises HandsimError where any is missing.
    """
    path = _annotation_path(root, split, "joint_3d")
    pairs = np.stack([views.sequence, views.frame], axis=1)
    frames, frame_of_image = np.unique(pairs, axis=0, return_inverse=True)
    world = np.empty((len(frames), 2 * JOINT_COUNT, 3), dtype=np.float32)
    valid = np.empty((len(frames), 2 * JOINT_COUNT), dtype=np.bool_)
    with explain_errors(path, VERSION, DOWNLOAD_AGAIN):
        for sequence, poses in _stream_sequences(path, "annotations", views):
            for row in np.flatnonzero(frames[:, 0] == sequence):
                pose = poses[f"{frames[row, 1]:06d}"]
                world[row] = pose["world_coord"]
                valid[row] = np.array(pose["joint_valid"], dtype=np.bool_).reshape(-1)
    return frame_of_image.reshape(-1), world, valid


def _read_calibration(
    root: Path, split: str, views: _CameraViews
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read ego_calib: K [sequences, cameras, 3, 3] and extrinsics [V, 3, 4].

    The first pixel is centred at (0, 0). Extrinsics are R and t in mm: camera = R world + t. Raises
    HandsimError where any is missing.
    """
    path = _annotation_path(root, split, "ego_calib")
    intrinsics = np.full((len(views.sequences), len(views.cameras), 3, 3), np.nan)
    extrinsics = np.empty((len(views.frame), 3, 4))
    with explain_errors(path, VERSION, DOWNLOAD_AGAIN):
        for sequence, calibration in _stream_sequences(path, "calibration", views):
            for row in np.flatnonzero(views.sequence == sequence):
                camera = views.cameras[views.camera[row]].removesuffix(CAMERA_SUFFIX) + CAMERA_SUFFIX
                intrinsics[sequence, views.camera[row]] = calibration["intrinsics"][camera]
                extrinsics[row] = calibration["extrinsics"][f"{views.frame[row]:06d}"][camera]
    return intrinsics, extrinsics


def _stream_sequences(path: Path, prefix: str, views: _CameraViews) -> Iterator[tuple[int, Any]]:
    """Yield number and content of each sequence; raises HandsimError at the end where one is missing."""
    missing = set(views.sequence.tolist())
    for name, content in stream(path, ijson.kvitems, prefix, DOWNLOAD_AGAIN):
        if name in views.sequences:
            number = views.sequences.index(name)
            missing.discard(number)
            yield number, content
    if missing:
        raise HandsimError(
            f"{path} lacks {len(missing)} of {len(views.sequences)} sequences, such as "
            f"{views.sequences[min(missing)]}; {DOWNLOAD_AGAIN}"
        )


def _annotation_path(root: Path, split: str, kind: str) -> Path:
    """The file ``ego_data``, ``ego_calib`` or ``joint_3d`` of a split; raises NotThereError without it."""
    folder = root / "annotations" / split
    path = folder / f"assemblyhands_{split}_{kind}_{VERSION}.json"
    if path.is_file():
        return path
    if not (root / "annotations").is_dir():
        raise NotThereError(
            f"{root} has no annotations/, so it is not AssemblyHands; give the folder that has "
            "annotations/ and images/"
        )
    others = sorted(other.name for other in folder.glob(f"assemblyhands_{split}_{kind}_*.json"))
    if others:
        raise NotThereError(f"{folder} has {others[0]}, but handsim reads version {VERSION}; download that")
    raise NotThereError(f"{path} is missing; {DOWNLOAD_AGAIN}")
