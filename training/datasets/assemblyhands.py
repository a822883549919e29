"""The annotations of one split of AssemblyHands, as arrays.

The three files hold hundreds of megabytes of JSON. They are streamed, a picture or a sequence at a time; what
is kept is some 200 bytes a picture, 30 a hand and 550 a frame.

Where AssemblyHands keeps what, and its JSON files read as streams.

Files: ``annotations/<split>/assemblyhands_<split>_{ego_data,ego_calib,joint_3d}_v1-1.json`` and the pictures
below ``images/`` that ``file_name`` names (``ego_images_rectified/<split>/...``). Their keys, as the official
toolkit reads them:

- ego_data: ``images[]`` with ``id``, ``file_name``, ``seq_name``, ``camera``, ``frame_idx``, ``width``,
  ``height``; ``annotations[]`` with ``image_id``, ``bbox.{right,left}`` ([x1, y1, x2, y2] or null) and
  ``joint_valid`` [42]. The toolkit does not read ``keypoints`` [42, 3] (x, y, score); others do.
- ego_calib: ``calibration.<seq_name>`` with ``intrinsics.<camera>_mono10bit`` [3, 3] and
  ``extrinsics.<frame_idx as %06d>.<camera>_mono10bit`` [3, 4], camera = R world + t.
- joint_3d: ``annotations.<seq_name>.<frame_idx as %06d>`` with ``world_coord`` [42, 3] in mm and
  ``joint_valid`` [42].

Joints 0-20 are the right hand's, 21-41 the left's.

One split of AssemblyHands' egocentric pictures, read lazily from the official layout (see `files`).

Not confirmed, as the data could not be seen: that each hand's ``joint_valid`` of the picture and of the frame
are both to be heeded (the toolkit heeds the picture's), and that ``file_name`` is always relative to images/.
The public splits are not those of the paper, and the joints of the public test split are withheld.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from training.datasets.record import HandLabel, LabelledHand, check_split, with_picture

SPLITS: Final = ("train", "val", "test")
VERSION: Final = "v1-1"
CAMERA_SUFFIX: Final = "_mono10bit"
DOWNLOAD_AGAIN: Final = f"download all three files of annotations {VERSION} of the split again"


def annotation_path(root: Path, split: str, kind: str) -> Path:
    """A split's ``ego_data``, ``ego_calib`` or ``joint_3d``; raises NotThereError where it is not."""
    folder = root / "annotations" / split
    path = folder / f"assemblyhands_{split}_{kind}_{VERSION}.json"
    if path.is_file():
        return path
    if not (root / "annotations").is_dir():
        raise NotThereError(
            f"{root} has no annotations/, so it is not AssemblyHands; give the folder that holds "
            "annotations/ and images/"
        )
    others = sorted(other.name for other in folder.glob(f"assemblyhands_{split}_{kind}_*.json"))
    if others:
        raise NotThereError(f"{folder} has {others[0]}, but version {VERSION} is what is read; download that")
    raise NotThereError(f"{path} is missing; {DOWNLOAD_AGAIN}")


def stream_items(path: Path, prefix: str) -> Iterator[dict[str, Any]]:
    """The objects of an array at ``prefix`` (``images.item``), one after the other.

    Raises HandsimError where the JSON is broken.
    """
    yield from _until_broken(path, ijson.items, prefix)


def stream_members(path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """The members (key, value) of the object at ``prefix``, one after the other; raises as `stream_items`."""
    yield from _until_broken(path, ijson.kvitems, prefix)


def _until_broken(path: Path, reader: Any, prefix: str) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            yield from reader(file, prefix, use_float=True)
    except ijson.JSONError as error:
        reason = str(error).strip().splitlines()[0]
        raise HandsimError(f"{path} is not whole JSON ({reason}); {DOWNLOAD_AGAIN}") from error


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


_EXTRACT_AGAIN: Final = "extract that sequence's archive of ego_images_rectified again"


class AssemblyHands:
    """A `HandDataset` of the hands of a split that have a box: two in a picture are two samples.

    A joint is valid where the annotations of its picture and of its frame both say so. ``skipped`` counts the
    hands with a box and no valid joint. 2D joints are projections of the 3D ones, as in the official toolkit.
    Raises HandsimError for an unknown split, and for annotations that are missing, broken or of another
    version.
    """

    name = "assemblyhands"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root = root
        self.split = split
        self._views, hands = read_hands(root, split)
        self._poses = read_poses(root, split, self._views)
        self._calibration = read_calibration(root, split, self._views)
        frame = self._poses.frame[hands.view]
        in_3d = self._poses.valid[frame].reshape(len(frame), 2, -1)
        valid = hands.valid & np.where(hands.left[:, None], in_3d[:, 1], in_3d[:, 0])
        some = np.asarray(valid.any(axis=1))
        self.skipped = int((~some).sum())
        if not some.any():
            raise HandsimError(
                f"none of the {len(some)} hands of {split} has a valid joint, as where joints are withheld; "
                f"take another split, or {DOWNLOAD_AGAIN}"
            )
        self._annotation, self._view = hands.annotation[some], hands.view[some]
        self._left, self._valid = hands.left[some], valid[some]

    def __len__(self) -> int:
        return len(self._view)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        views, view, side = self._views, int(self._view[index]), self._side(index)
        valid = to_handsim_order(self._valid[index][:, None], self.name)[:, 0]
        world = to_handsim_order(self._poses.world_mm[self._poses.frame[view], HALVES[side]], self.name)
        extrinsics = self._calibration.extrinsics[view]
        joints = np.where(valid[:, None], world @ extrinsics[:, :3].T + extrinsics[:, 3], np.nan)
        intrinsics = self._calibration.intrinsics[views.sequence[view], views.camera[view]].copy()
        intrinsics[:2, 2] += PIXEL_CENTRE  # at whole numbers in the toolkit's camera model
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
        """What one hand is read from, but for the annotations of all: its picture."""
        views, view = self._views, int(self._view[index])
        return (self.root / "images" / views.folders[views.folder[view]] / str(views.file[view]),)

    def annotated_keypoints_px(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """The 2D joints [len, 21, 2] that the annotations hold, told as labels are; NaN where there are none.

        They are not what labels have, which are projections. Reads the file of annotations again.
        """
        keypoints = read_keypoints(self.root, self.split, self._annotation[list(indices)])
        told = np.empty((len(indices), JOINT_COUNT, 2), dtype=np.float32)
        for row, index in enumerate(indices):
            side = self._side(index)
            points = to_handsim_order(keypoints[row, HALVES[side]], self.name) + np.float32(PIXEL_CENTRE)
            width = int(self._views.size_px[self._view[index], 0])
            told[row] = mirror_points(points, width) if side == "left" else points
        return told

    def _side(self, index: int) -> Side:
        return "left" if self._left[index] else "right"


def _subject(sequence: str) -> str:
    """Whose recording it is: the number that precedes ``_user_id`` in a sequence's name."""
    match = re.search(r"_(\d+)_user_id_", sequence)
    return match[1] if match else sequence
