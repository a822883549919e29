"""HO-3D (Hampali et al., CVPR 2020, arXiv 1907.01481) versions 2 and 3, read lazily from the official layout.

``train.txt`` and ``evaluation.txt`` list the annotated frames, as ``ABF10/0000``. A frame's picture is
``train/ABF10/rgb/0000.png`` (version 3: ``.jpg``), its annotation ``train/ABF10/meta/0000.pkl``, a pickle by
Python 2 (`training.datasets.plain_pickle` reads it). As the authors' scripts (github.com/shreyashampali/ho3d)
use it, it has ``camMat`` [3, 3] in pixels and ``handJoints3D`` [21, 3] in metres in OpenGL's camera frame,
where y and z point the other way than ours, in MANO's order. All hands are right hands.

Frames of evaluation have the wrist alone. The joints of all are a download of their own,
``evaluation_xyz.json``: [N, 21, 3], in the order of ``evaluation.txt``, in the same frame and order of joints
as predictions that are handed in (``eval.py``). It may lie in the set's folder or in ``evaluation/``.

There is no validation split. Ours has every tenth capture of the training frames, all its cameras.

Not confirmed, because the data could not be seen: that pictures are 640 x 480 throughout, as the scripts
assume.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.geometry import PIXEL_CENTRE
from handsim.images import read_file
from handsim.skeleton import JOINT_COUNT, to_handsim_order
from handsim.synthetic.camera import project
from training.datasets.plain_pickle import parse_plain_pickle
from training.datasets.record import MM_PER_M, HandLabel, LabelledHand, check_split, with_picture

SPLITS: Final = ("train", "val", "evaluation")
SIZE_PX: Final = (640, 480)
VALIDATION_EVERY: Final = 10
"""One capture in so many is for validation, at least one."""
EVALUATION_XYZ: Final = "evaluation_xyz.json"
_FROM_OPENGL: Final = np.array([1.0, -1.0, -1.0])
_FRAME: Final = re.compile(r"\w+/\d+", re.ASCII)
_DOWNLOAD_AGAIN: Final = "download and extract HO-3D again"


class HO3D:
    """A `HandDataset` of one split.

    ``evaluation`` can be opened without ``evaluation_xyz.json``: its joints are then NaN and not valid.
    Raises HandsimError for an unknown split, and for lists of frames that are missing or damaged; what is
    wrong with a frame's own files is raised when they are read.
    """

    name = "ho3d"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped = root, split, 0
        part = "evaluation" if split == "evaluation" else "train"
        self._frames = _read_frames(root / f"{part}.txt")
        self._evaluation_mm: NDArray[np.float64] | None = None
        if part == "evaluation":
            self._evaluation_mm = _read_evaluation(root, len(self._frames))
        else:
            self._frames = _choose(self._frames, split, root)
        self._folder = root / part
        pictures = self._folder / self._frames[0].partition("/")[0] / "rgb"
        self._suffix = ".png" if next(pictures.glob("*.jpg"), None) is None else ".jpg"

    def __len__(self) -> int:
        return len(self._frames)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises HandsimError for a damaged annotation, IndexError past the end."""
        frame = self._frames[index]
        joints_mm, intrinsics = _read_annotation(
            self.files(index)[1], with_joints=self._evaluation_mm is None
        )
        if self._evaluation_mm is not None:
            joints_mm = self._evaluation_mm[index]
        valid = np.asarray(np.isfinite(joints_mm).all(axis=1))
        joints_mm = np.where(valid[:, None], joints_mm, np.nan)
        return HandLabel(
            sample_id=frame,
            subject=capture_of(frame),  # HO-3D does not say whose hands they are
            side="right",
            size_px=SIZE_PX,
            keypoints_2d_px=project(joints_mm, intrinsics).astype(np.float32),
            joints_3d_mm=joints_mm.astype(np.float32),
            intrinsics=intrinsics,
            valid=valid,
        )

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _DOWNLOAD_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """The picture of one hand, and its annotation."""
        sequence, number = self._frames[index].split("/")
        folder = self._folder / sequence
        return (folder / "rgb" / f"{number}{self._suffix}", folder / "meta" / f"{number}.pkl")


def capture_of(frame: str) -> str:
    """What the sequences ``ABF10`` to ``ABF14`` are of: takes and cameras of one person with one object."""
    sequence = frame.partition("/")[0]
    return sequence.rstrip("0123456789") or sequence


def _read_frames(path: Path) -> list[str]:
    if not path.is_file():
        raise NotThereError(
            f"{path} is missing; give the folder that HO-3D was extracted in, with train/, evaluation/, "
            f"train.txt and evaluation.txt"
        )
    try:
        frames = path.read_text().split()
    except (OSError, ValueError) as error:
        raise HandsimError(f"{path} cannot be read ({str(error)[:80]}); {_DOWNLOAD_AGAIN}") from error
    wrong = next((frame for frame in frames if not _FRAME.fullmatch(frame)), None)
    if wrong is not None or not frames:
        what = "is empty" if wrong is None else f"lists {wrong!r:.40}, not frames as ABF10/0000"
        raise HandsimError(f"{path} {what}; {_DOWNLOAD_AGAIN}")
    return frames


def _choose(frames: list[str], split: str, root: Path) -> list[str]:
    """The frames of train or of val; raises HandsimError where there is one capture alone."""
    captures = sorted({capture_of(frame) for frame in frames})
    in_validation = set(captures[::VALIDATION_EVERY])
    if len(captures) == 1:
        raise HandsimError(
            f"{root / 'train.txt'} lists the capture {captures[0]} alone, which cannot be both for training "
            f"and for validation; {_DOWNLOAD_AGAIN}"
        )
    return [frame for frame in frames if (capture_of(frame) in in_validation) == (split == "val")]


def _read_annotation(path: Path, *, with_joints: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joints [21, 3] in mm in our frame and order, NaN unless ``with_joints``, and K [3, 3]."""
    if not path.is_file():
        raise NotThereError(f"the annotation {path} is missing; {_DOWNLOAD_AGAIN}")
    try:
        annotation = parse_plain_pickle(read_file(path))
    except UnusableError as error:
        raise HandsimError(f"the annotation {path} cannot be read ({error}); {_DOWNLOAD_AGAIN}") from error
    intrinsics = _numbers(annotation, "camMat", (3, 3), path).copy()
    focal, last = intrinsics.diagonal()[:2], intrinsics[2]
    if not (np.isfinite(intrinsics).all() and (focal > 0).all() and (last == (0, 0, 1)).all()):
        raise HandsimError(f"camMat of {path} is no camera matrix; {_DOWNLOAD_AGAIN}")
    intrinsics[:2, 2] += PIXEL_CENTRE  # whole numbers in the official code
    if not with_joints:
        return np.full((JOINT_COUNT, 3), np.nan), intrinsics
    return _to_record(_numbers(annotation, "handJoints3D", (JOINT_COUNT, 3), path)), intrinsics


def _numbers(annotation: dict[str, Any], key: str, shape: tuple[int, int], path: Path) -> NDArray[np.float64]:
    value = annotation.get(key)
    if value is None:
        raise HandsimError(f"{path} has no {key}: the frame is not annotated; {_DOWNLOAD_AGAIN}")
    if not isinstance(value, np.ndarray) or value.shape != shape:
        found = list(value.shape) if isinstance(value, np.ndarray) else type(value).__name__
        raise HandsimError(f"{key} of {path} is {found}; expected {list(shape)} numbers; {_DOWNLOAD_AGAIN}")
    return value.astype(np.float64)


def _read_evaluation(root: Path, frames: int) -> NDArray[np.float64]:
    """Joints [N, 21, 3] of the frames of evaluation, in mm in our frame and order; NaN without their file."""
    shape = (frames, JOINT_COUNT, 3)
    paths = (root / EVALUATION_XYZ, root / "evaluation" / EVALUATION_XYZ)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return np.full(shape, np.nan)
    try:
        array = np.array(json.loads(path.read_bytes()), dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise HandsimError(f"{path} cannot be read ({str(error)[:80]}); download it again") from error
    if array.shape != shape:
        raise HandsimError(
            f"{path} holds {list(array.shape)} numbers; the {frames} frames of evaluation.txt have "
            f"{list(shape)}; download the one of this version of HO-3D"
        )
    return _to_record(array)


def _to_record(joints_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joints [..., 21, 3] of HO-3D in mm, in our frame and order."""
    return to_handsim_order(joints_m * _FROM_OPENGL * MM_PER_M, "ho3d")
