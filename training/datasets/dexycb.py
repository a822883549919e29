"""DexYCB (Chao et al., CVPR 2021, arXiv 2104.04631), read lazily from the official layout.

``<subject>/<sequence>/<serial>/{color_%06d.jpg, labels_%06d.npz}``, ``<sequence>/meta.yml``,
``<sequence>/pose.npz`` and ``calibration/intrinsics/<serial>_640x480.yml``. Nothing is written there. Joints
are in metres in the camera frame, in our order; joints without annotation are -1.

Pixel i of DexYCB is centred at i, as in every RealSense camera; ours at i + 0.5 (`handsim.geometry`). What is
returned here has our convention.

Splits are the four evaluation setups of the paper (section 5.1), as in the official toolkit; numbers count
from 0. A subject's sequences are numbered in the order of their folders' names: five of each of twenty
objects.
"""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import PIXEL_CENTRE
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT
from training.datasets.record import MM_PER_M, HandLabel, LabelledHand, check_split, with_picture

NOT_ANNOTATED: Final = -1.0
_OFFICIAL_SIZE_PX: Final = (640, 480)
_EXTRACT_AGAIN: Final = "the download is incomplete or damaged: extract its archive again"

SUBJECTS: Final = (
    "20200709-subject-01",
    "20200813-subject-02",
    "20200820-subject-03",
    "20200903-subject-04",
    "20200908-subject-05",
    "20200918-subject-06",
    "20200928-subject-07",
    "20201002-subject-08",
    "20201015-subject-09",
    "20201022-subject-10",
)
"""Folders of the subjects."""

SERIALS: Final = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
"""Folders of the cameras."""

SEQUENCES_PER_SUBJECT: Final = 100
TAKES_PER_OBJECT: Final = 5


@dataclass(frozen=True)
class SplitRule:
    """A split has the frames whose subject, camera and sequence are all among these."""

    subjects: tuple[int, ...]
    """Indices into `SUBJECTS`."""
    cameras: tuple[int, ...]
    """Indices into `SERIALS`."""
    sequences: tuple[int, ...]
    """Indices of a subject's sequences, 0 to 99."""


_ALL_SUBJECTS: Final = tuple(range(len(SUBJECTS)))
_ALL_CAMERAS: Final = tuple(range(len(SERIALS)))
_ALL_SEQUENCES: Final = tuple(range(SEQUENCES_PER_SUBJECT))
_LAST_TAKES: Final = tuple(sequence for sequence in _ALL_SEQUENCES if sequence % TAKES_PER_OBJECT == 4)
_OTHER_TAKES: Final = tuple(sequence for sequence in _ALL_SEQUENCES if sequence % TAKES_PER_OBJECT != 4)


def _of_objects(*objects: int) -> tuple[int, ...]:
    return tuple(sequence for sequence in _ALL_SEQUENCES if sequence // TAKES_PER_OBJECT in objects)


SPLITS: Final[dict[str, SplitRule]] = {
    "s0_train": SplitRule(_ALL_SUBJECTS, _ALL_CAMERAS, _OTHER_TAKES),
    "s0_val": SplitRule((0, 1), _ALL_CAMERAS, _LAST_TAKES),
    "s0_test": SplitRule((2, 3, 4, 5, 6, 7, 8, 9), _ALL_CAMERAS, _LAST_TAKES),
    "s1_train": SplitRule((0, 1, 2, 3, 4, 5, 9), _ALL_CAMERAS, _ALL_SEQUENCES),
    "s1_val": SplitRule((6,), _ALL_CAMERAS, _ALL_SEQUENCES),
    "s1_test": SplitRule((7, 8), _ALL_CAMERAS, _ALL_SEQUENCES),
    "s2_train": SplitRule(_ALL_SUBJECTS, (0, 1, 2, 3, 4, 5), _ALL_SEQUENCES),
    "s2_val": SplitRule(_ALL_SUBJECTS, (6,), _ALL_SEQUENCES),
    "s2_test": SplitRule(_ALL_SUBJECTS, (7,), _ALL_SEQUENCES),
    "s3_train": SplitRule(
        _ALL_SUBJECTS, _ALL_CAMERAS, _of_objects(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18)
    ),
    "s3_val": SplitRule(_ALL_SUBJECTS, _ALL_CAMERAS, _of_objects(3, 19)),
    "s3_test": SplitRule(_ALL_SUBJECTS, _ALL_CAMERAS, _of_objects(7, 11, 15)),
}
"""s0: unseen takes; s1: unseen subjects; s2: unseen cameras; s3: unseen grasped objects."""


class DexYCB:
    """A `HandDataset` of the frames of a split in which the hand is annotated, in the official order.

    Opening it reads two small files for each sequence, and no image or label. ``skipped`` counts the images
    of the split in which no joint is annotated; the official score leaves them out, too. Raises HandsimError
    for an unknown split, and for a file or folder of the split that is missing or damaged.
    """

    name = "dexycb"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        rule = SPLITS[split]
        self.split = split
        self.root = root
        self._subjects, self._sequences = _sequences(root, rule)
        self._cameras = {camera: _read_camera(root, SERIALS[camera]) for camera in rule.cameras}
        # Camera after camera in each sequence, as in the official order of samples.
        tables = [
            np.stack(np.meshgrid(number, rule.cameras, np.flatnonzero(sequence.annotated), indexing="ij"), -1)
            for number, sequence in enumerate(self._sequences)
        ]
        self._table = np.concatenate([table.reshape(-1, 3) for table in tables]).astype(np.int32)
        pictures = sum(len(sequence.annotated) for sequence in self._sequences) * len(rule.cameras)
        self.skipped = pictures - len(self._table)
        if not len(self._table):
            raise HandsimError(
                f"none of the {pictures} pictures of {split} in {root} is annotated; {_EXTRACT_AGAIN}"
            )

    def __len__(self) -> int:
        return len(self._table)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises HandsimError for damaged files and IndexError past the end."""
        sequence, camera, frame = self._table[index]
        path = self.files(index)[1]
        intrinsics, size_px = self._cameras[camera]
        joints_mm, keypoints_px, valid = _read_joints(path)
        if not valid.any():
            raise HandsimError(
                f"{path} has no valid joint, though pose.npz has the pose of the hand; {_EXTRACT_AGAIN}"
            )
        label = HandLabel(
            sample_id=f"{path.parent.relative_to(self.root).as_posix()}/{frame:06d}",
            subject=self._subjects[sequence],
            side=self._sequences[sequence].side,
            size_px=size_px,
            keypoints_2d_px=keypoints_px,
            joints_3d_mm=joints_mm,
            intrinsics=intrinsics.copy(),
            valid=valid,
        )
        return label.mirrored() if label.side == "left" else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _EXTRACT_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """The image and the labels of one hand."""
        sequence, camera, frame = map(int, self._table[index])
        folder = self._sequences[sequence].path / SERIALS[camera]
        return folder / f"color_{frame:06d}.jpg", folder / f"labels_{frame:06d}.npz"


_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, eq=False)
class _Sequence:
    """One take: a subject grasps an object, once."""

    path: Path
    side: Side
    """The hand that grasps."""
    annotated: NDArray[np.bool_]
    """[frames] whether the hand is annotated; the same for all eight cameras."""


def _sequences(root: Path, rule: SplitRule) -> tuple[list[str], list[_Sequence]]:
    """The subject of each of a split's sequences, and the sequences, in the official order."""
    if not any((root / subject).is_dir() for subject in SUBJECTS):
        raise NotThereError(
            f"{root} has none of DexYCB's subjects ({SUBJECTS[0]}, ...); give the folder that has them and "
            "calibration/"
        )
    subjects, sequences = [], []
    for subject in (SUBJECTS[index] for index in rule.subjects):
        folder = root / subject
        if not folder.is_dir():
            raise NotThereError(f"{folder} is missing and the split needs it; download {subject}.tar.gz")
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if len(names) != SEQUENCES_PER_SUBJECT:
            raise HandsimError(
                f"{folder} has {len(names)} sequences and not {SEQUENCES_PER_SUBJECT}; splits need "
                f"all of them in order; {_EXTRACT_AGAIN}"
            )
        subjects += [subject] * len(rule.sequences)
        sequences += [_read_sequence(folder / names[sequence]) for sequence in rule.sequences]
    return subjects, sequences


def _read_sequence(path: Path) -> _Sequence:
    """Read ``meta.yml`` and ``pose.npz`` of a sequence.

    Frames have ``joint_3d`` in their labels where ``pose_m`` (of the hand, for all cameras) is not all 0.
    """
    meta = _read_yaml(path / "meta.yml")
    try:
        sides, frames = list(meta["mano_sides"]), int(meta["num_frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise HandsimError(
            f"{path / 'meta.yml'} lacks num_frames and mano_sides; {_EXTRACT_AGAIN}"
        ) from error
    if len(sides) != 1 or sides[0] not in SIDES:
        raise HandsimError(f"{path / 'meta.yml'} has mano_sides {sides}; it is one of {', '.join(SIDES)}")
    if frames == 0:
        return _Sequence(path, sides[0], np.zeros(0, dtype=np.bool_))
    pose = _read_arrays(path / "pose.npz", ("pose_m",))[0]
    if pose.ndim != 3 or len(pose) != frames:
        raise HandsimError(
            f"pose_m of {path / 'pose.npz'} has shape {list(pose.shape)}, but meta.yml says {frames} "
            f"frames; {_EXTRACT_AGAIN}"
        )
    return _Sequence(path, sides[0], (pose[:, 0] != 0).any(axis=1))


def _read_camera(root: Path, serial: str) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """K [3, 3] and the size of images; one that is not the official size is read where it is the only one."""
    folder = root / "calibration" / "intrinsics"
    sizes = {
        (int(match[1]), int(match[2])): path
        for path in sorted(folder.glob(f"{serial}_*.yml"))
        if (match := re.fullmatch(rf"{serial}_(\d+)x(\d+)\.yml", path.name))
    }
    size = _OFFICIAL_SIZE_PX if _OFFICIAL_SIZE_PX in sizes or len(sizes) != 1 else next(iter(sizes))
    path = sizes.get(size, folder / f"{serial}_{size[0]}x{size[1]}.yml")
    content = _read_yaml(path)
    try:
        fx, fy, cx, cy = (float(content["color"][key]) for key in ("fx", "fy", "ppx", "ppy"))
    except (KeyError, TypeError, ValueError) as error:
        raise HandsimError(f"{path} lacks color: fx, fy, ppx, ppy; {_EXTRACT_AGAIN}") from error
    return np.array([[fx, 0, cx + PIXEL_CENTRE], [0, fy, cy + PIXEL_CENTRE], [0, 0, 1.0]]), size


def _read_joints(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Read ``labels_<frame>.npz``: joints in mm [21, 3] and in the image [21, 2], and which are valid [21].

    Joints are NaN where not valid; left hands are not mirrored. Raises HandsimError for other arrays.
    """
    joint_3d, joint_2d = _read_arrays(path, ("joint_3d", "joint_2d"))
    expected = ((1, JOINT_COUNT, 3), (1, JOINT_COUNT, 2))
    if (joint_3d.shape, joint_2d.shape) != expected:
        raise HandsimError(
            f"{path} holds joint_3d {list(joint_3d.shape)} and joint_2d {list(joint_2d.shape)}; expected are "
            f"{list(expected[0])} and {list(expected[1])}"
        )
    valid = (joint_3d[0] != NOT_ANNOTATED).any(axis=1) & np.isfinite(joint_3d[0]).all(axis=1)
    camera_mm = np.where(valid[:, None], joint_3d[0] * MM_PER_M, np.nan).astype(np.float32)
    picture_px = np.where(valid[:, None], joint_2d[0] + PIXEL_CENTRE, np.nan).astype(np.float32)
    return camera_mm, picture_px, valid


def _read_yaml(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return yaml.load(file, Loader=_Loader)
    except FileNotFoundError as error:
        raise NotThereError(f"{path} is missing; {_EXTRACT_AGAIN}") from error
    except yaml.YAMLError as error:
        raise HandsimError(f"{path} is not YAML; {_EXTRACT_AGAIN}") from error


def _read_arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except FileNotFoundError as error:
        raise NotThereError(f"{path} is missing; {_EXTRACT_AGAIN}") from error
    except KeyError as error:
        raise HandsimError(f"{path} has no {error.args[0]}; {_EXTRACT_AGAIN}") from error
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise HandsimError(
                f"{path} has more than plain arrays (pickled objects could run code and are not read); "
                f"{_EXTRACT_AGAIN}"
            ) from error
        raise HandsimError(f"{path} cannot be read ({error}); {_EXTRACT_AGAIN}") from error
