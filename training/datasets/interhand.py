"""InterHand2.6M (Moon et al., ECCV 2020, arXiv 2008.09309) version 1.0, its single hands, from the official
layout.

Files: ``annotations/<split>/InterHand2.6M_<split>_{data,camera,joint_3d}.json`` and the pictures that
``file_name`` names, below ``images/<split>/``: ``Capture0/ROM01/cam400262/image1000.jpg``. Their keys, as in
the official page and code (github.com/facebookresearch/InterHand2.6M):

- data: ``images[]`` with ``id``, ``file_name``, ``capture``, ``subject``, ``seq_name``, ``camera``,
  ``frame_idx``, ``width``, ``height``; ``annotations[]`` with ``image_id``, ``hand_type`` and ``joint_valid``
  [42]: 1 for a joint that is annotated and inside of the picture.
- camera: by capture ``campos.<camera>`` [3] in mm, ``camrot.<camera>`` [3, 3], ``focal.<camera>`` and
  ``princpt.<camera>`` [2] in pixels; camera = camrot (world - campos).
- joint_3d: by capture and frame ``world_coord`` [42, 3] in mm, and ``joint_valid`` [42].

Joints 0-20 are the right hand's, 21-41 the left's, each finger from its tip, the wrist last.

Frames of ``hand_type`` interacting are left out and counted (``interacting``): a crop of one of two hands
that hold each other shows both. The files have up to gigabytes of JSON; they are streamed, 15 MB
or 23,000 pictures a second, into arrays of 230 bytes a picture. Pictures are read lazily.

Not confirmed, because the data could not be seen: that every picture is named by its frame (``image`` and
``frame_idx``), as in the examples; a file in which that does not agree is refused.
"""

from array import array
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import ijson
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import PIXEL_CENTRE
from handsim.hand import Side
from handsim.skeleton import JOINT_COUNT, to_handsim_order
from handsim.synthetic.camera import project
from training.datasets.large_json import Numbers, explain_errors, stream
from training.datasets.record import HandLabel, LabelledHand, check_split, with_picture

SPLITS: Final = ("train", "val", "test")
VERSION: Final = "version 1.0"
KINDS: Final = ("data", "camera", "joint_3d")
HALVES: Final[dict[Side, slice]] = {
    "right": slice(0, JOINT_COUNT),
    "left": slice(JOINT_COUNT, 2 * JOINT_COUNT),
}
"""Where each hand is among the 42 joints."""
_DOWNLOAD_AGAIN: Final = "download the annotations of version 1.0 again"
_EXTRACT_AGAIN: Final = "extract the archive of that capture's images again"


class InterHand:
    """A `HandDataset` of the pictures of a split that show a single hand.

    A joint is valid where the annotations of its picture and of its frame both say so. ``skipped`` counts the
    single hands without a valid joint, ``interacting`` the annotations of two hands. 2D joints are
    projections of the 3D ones, as in the official code. Raises HandsimError for an unknown split, and for
    annotations that are missing, damaged or of another version.
    """

    name = "interhand"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split = root, split
        path = _annotation_path(root, split, "data")
        hands, self.interacting = _read_hands(path)
        self._frame, self._world_mm, in_3d = _read_poses(_annotation_path(root, split, "joint_3d"), hands)
        self._cameras = _read_cameras(_annotation_path(root, split, "camera"), hands)
        valid = hands.valid & in_3d[self._frame, hands.left.astype(np.int64)]
        some = np.asarray(valid.any(axis=1))
        self.skipped = int((~some).sum())
        if not some.any():
            raise HandsimError(
                f"{path} has {len(some)} pictures of single hands and {self.interacting} of two; none of the "
                f"single hands has a valid joint; {_DOWNLOAD_AGAIN}"
            )
        self._hands, self._rows, self._valid = hands, np.flatnonzero(some), valid

    def __len__(self) -> int:
        return len(self._rows)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        hands, row = self._hands, int(self._rows[index])
        side: Side = "left" if hands.left[row] else "right"
        valid = to_handsim_order(self._valid[row][:, None], self.name)[:, 0]
        camera = self._cameras[hands.view[row]]
        world = self._world_mm[self._frame[row], int(hands.left[row])].astype(np.float64)
        joints = to_handsim_order((world - camera.position_mm) @ camera.rotation.T, self.name)
        joints = np.where(valid[:, None], joints, np.nan)
        label = HandLabel(
            sample_id=f"{self.split}/{PurePosixPath(self._picture(row)).with_suffix('')}",
            subject=hands.subjects[hands.subject[row]],
            side=side,
            size_px=(int(hands.size_px[row, 0]), int(hands.size_px[row, 1])),
            keypoints_2d_px=project(joints, camera.intrinsics).astype(np.float32),
            joints_3d_mm=joints.astype(np.float32),
            intrinsics=camera.intrinsics.copy(),
            valid=valid,
        )
        return label.mirrored() if side == "left" else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _EXTRACT_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """The picture of one hand; all annotations are in files of their own."""
        return (self.root / "images" / self.split / self._picture(int(self._rows[index])),)

    def _picture(self, row: int) -> str:
        hands = self._hands
        return f"{hands.folders[hands.folder[row]]}/{hands.file[row].decode()}"


@dataclass(frozen=True, eq=False)
class _SingleHands:
    """N pictures of a single hand, in the order of the annotations, with the numbers of their names."""

    views: list[tuple[str, str]]
    """Captures and cameras."""
    subjects: list[str]
    folders: list[str]
    view: NDArray[np.int64]
    subject: NDArray[np.int64]
    folder: NDArray[np.int64]
    frame: NDArray[np.int64]
    """[N] ``frame_idx``."""
    size_px: NDArray[np.int64]
    """[N, 2] width and height."""
    file: NDArray[np.bytes_]
    left: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    """[N, 21] of the picture, in their order."""


@dataclass(frozen=True, eq=False)
class _Camera:
    position_mm: NDArray[np.float64]
    """[3] in the world."""
    rotation: NDArray[np.float64]
    """[3, 3] from the world's axes to the camera's."""
    intrinsics: NDArray[np.float64]
    """[3, 3] K, with the first pixel's centre at (0.5, 0.5)."""


def _read_hands(path: Path) -> tuple[_SingleHands, int]:
    """The single hands of ``data``, and how many annotations are of two hands."""
    views, subjects, folders = Numbers(), Numbers(), Numbers()
    ids, files = array("q"), list[bytes]()
    columns = array("q")  # view, subject, folder, frame, width, height of each picture
    with explain_errors(path, VERSION, _DOWNLOAD_AGAIN):
        for image in stream(path, ijson.items, "images.item", _DOWNLOAD_AGAIN):
            file, frame = PurePosixPath(image["file_name"]), int(image["frame_idx"])
            number = file.stem.removeprefix("image")
            if not number.isdecimal() or int(number) != frame:
                raise HandsimError(
                    f"{path} gives frame_idx {frame} the picture {file}, which is of another frame, so "
                    f"labels would be of other pictures; {_DOWNLOAD_AGAIN}"
                )
            ids.append(int(image["id"]))
            files.append(file.name.encode())
            view = views[f"{int(image['capture'])}/{image['camera']}"]
            columns.extend((view, subjects[str(image["subject"])], folders[str(file.parent)], frame))
            columns.extend((int(image["width"]), int(image["height"])))
        image_ids, left, valid, interacting = array("q"), array("b"), bytearray(), 0
        for annotation in stream(path, ijson.items, "annotations.item", _DOWNLOAD_AGAIN):
            side = annotation["hand_type"]
            if side == "interacting":
                interacting += 1
                continue
            flags = np.array(annotation["joint_valid"], dtype=np.bool_).reshape(2 * JOINT_COUNT)
            image_ids.append(int(annotation["image_id"]))
            left.append(side == "left")
            valid += flags[HALVES[side]].tobytes()
        rows = _find(np.array(ids, dtype=np.int64), np.array(image_ids, dtype=np.int64))
    table = np.array(columns, dtype=np.int64).reshape(-1, 6)[rows]
    return _SingleHands(
        views=[(capture, camera) for capture, _, camera in (name.partition("/") for name in views)],
        subjects=list(subjects),
        folders=list(folders),
        view=table[:, 0],
        subject=table[:, 1],
        folder=table[:, 2],
        frame=table[:, 3],
        size_px=table[:, 4:],
        file=np.array(files, dtype=np.bytes_)[rows],
        left=np.array(left, dtype=np.bool_),
        valid=np.frombuffer(bytes(valid), dtype=np.bool_).reshape(-1, JOINT_COUNT),
    ), interacting


def _find(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of ``wanted`` among ``ids``; raises KeyError for one that is not there."""
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids[order], wanted).clip(max=len(ids) - 1)
    if len(wanted) and not len(ids):
        raise KeyError("images")
    rows: NDArray[np.int64] = order[places]
    absent = wanted[ids[rows] != wanted]
    if len(absent):
        raise KeyError(f"images[] of id {absent[0]}")
    return rows


def _read_poses(
    path: Path, hands: _SingleHands
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Which of F frames each picture shows [N], joints [F, 2, 21, 3] in mm in the world, and ``joint_valid``
    [F, 2, 21]: right hands, then left ones, in their order.
    """
    captures = np.array([int(capture) for capture, _ in hands.views], dtype=np.int64)
    pairs = np.stack([captures[hands.view], hands.frame], axis=1)
    frames, frame_of_picture = np.unique(pairs, axis=0, return_inverse=True)
    world = np.zeros((len(frames), 2, JOINT_COUNT, 3), dtype=np.float32)
    valid = np.zeros((len(frames), 2, JOINT_COUNT), dtype=np.bool_)
    missing = set(frames[:, 0].tolist())
    with explain_errors(path, VERSION, _DOWNLOAD_AGAIN):
        for capture, poses in stream(path, ijson.kvitems, "", _DOWNLOAD_AGAIN):
            missing.discard(int(capture))
            for row in np.flatnonzero(frames[:, 0] == int(capture)):
                pose = poses[str(frames[row, 1])]
                world[row] = np.array(pose["world_coord"], dtype=np.float32).reshape(2, JOINT_COUNT, 3)
                valid[row] = np.array(pose["joint_valid"], dtype=np.bool_).reshape(2, JOINT_COUNT)
        if missing:
            raise KeyError(f"capture {min(missing)}")
    return frame_of_picture.reshape(-1), world, valid & np.isfinite(world).all(axis=-1)


def _read_cameras(path: Path, hands: _SingleHands) -> list[_Camera]:
    """The cameras of ``hands.views``."""
    with explain_errors(path, VERSION, _DOWNLOAD_AGAIN):
        captures = dict(stream(path, ijson.kvitems, "", _DOWNLOAD_AGAIN))
        return [_camera(captures[capture], name) for capture, name in hands.views]


def _camera(capture: dict[str, Any], name: str) -> _Camera:
    numbers = {
        key: np.array(capture[key][name], dtype=np.float64).reshape(shape)
        for key, shape in (("campos", (3,)), ("camrot", (3, 3)), ("focal", (2,)), ("princpt", (2,)))
    }
    for key, values in numbers.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{key} of camera {name} is not finite")
    intrinsics = np.diag([*numbers["focal"], 1.0])
    intrinsics[:2, 2] = numbers["princpt"] + PIXEL_CENTRE  # whole numbers in the official code
    return _Camera(numbers["campos"], numbers["camrot"], intrinsics)


def _annotation_path(root: Path, split: str, kind: str) -> Path:
    """The file ``data``, ``camera`` or ``joint_3d`` of a split; raises NotThereError without it."""
    folder = root / "annotations"
    path = folder / split / f"InterHand2.6M_{split}_{kind}.json"
    if path.is_file():
        return path
    if not folder.is_dir():
        raise NotThereError(
            f"{root} has no annotations/, so it is not InterHand2.6M; give the folder that has annotations/ "
            "and images/"
        )
    if (folder / "all").is_dir() and not (folder / split).is_dir():
        raise NotThereError(f"{folder} has all/, as version 0.0 did; handsim reads 1.0: {_DOWNLOAD_AGAIN}")
    raise NotThereError(f"{path} is missing; {_DOWNLOAD_AGAIN}")
