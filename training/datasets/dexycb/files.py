"""The files of DexYCB: what a sequence says of itself, the cameras' intrinsics, the labels of a picture.

Pixel i of DexYCB is centred at i, as with every RealSense camera; ours at i + 0.5 (`handsim.geometry`). What
is returned here is told our way.
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
from training.datasets.record import MM_PER_M

NOT_ANNOTATED: Final = -1.0
OFFICIAL_SIZE_PX: Final = (640, 480)
EXTRACT_AGAIN: Final = "the download is incomplete or damaged: extract its archive again"

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, eq=False)
class Sequence:
    """One take: a subject grasps an object, once."""

    path: Path
    """Its folder."""
    side: Side
    """The hand that grasps."""
    annotated: NDArray[np.bool_]
    """[frames] in which the hand was annotated; the same for all eight cameras."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera; its calibration is the same for all subjects."""

    intrinsics: NDArray[np.float64]
    """[3, 3] K, in pixels."""
    size_px: tuple[int, int]
    """Width and height of its pictures."""


@dataclass(frozen=True, eq=False)
class Joints:
    """The hand's joints in one picture, as the camera saw it."""

    camera_mm: NDArray[np.float32]
    """[21, 3] in the camera frame; NaN where not annotated."""
    picture_px: NDArray[np.float32]
    """[21, 2] in the picture; NaN where not annotated."""
    valid: NDArray[np.bool_]
    """[21] which joints were annotated."""


def read_sequence(path: Path) -> Sequence:
    """What ``meta.yml`` and ``pose.npz`` of a sequence say.

    Annotated are the frames whose ``pose_m`` (the pose of the hand, one for all cameras) is not all 0: the
    same that have ``joint_3d`` in their labels, without a file of labels for each picture being opened.
    """
    meta = _read_yaml(path / "meta.yml")
    try:
        sides, frames = list(meta["mano_sides"]), int(meta["num_frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise HandsimError(f"{path / 'meta.yml'} lacks num_frames and mano_sides; {EXTRACT_AGAIN}") from error
    if len(sides) != 1 or sides[0] not in SIDES:
        raise HandsimError(f"{path / 'meta.yml'} has mano_sides {sides}; one of {', '.join(SIDES)} is wanted")
    if frames == 0:
        return Sequence(path, sides[0], np.zeros(0, dtype=np.bool_))
    pose = _read_arrays(path / "pose.npz", ("pose_m",))[0]
    if pose.ndim != 3 or len(pose) != frames:
        raise HandsimError(
            f"pose_m of {path / 'pose.npz'} has shape {list(pose.shape)}, but meta.yml tells of {frames} "
            f"frames; {EXTRACT_AGAIN}"
        )
    return Sequence(path, sides[0], (pose[:, 0] != 0).any(axis=1))


def read_camera(root: Path, serial: str) -> Camera:
    """A camera's colour intrinsics from ``calibration/intrinsics/<serial>_<width>x<height>.yml``.

    The official pictures are 640x480; another size is read where only that one is there.
    """
    folder = root / "calibration" / "intrinsics"
    sizes = {
        (int(match[1]), int(match[2])): path
        for path in sorted(folder.glob(f"{serial}_*.yml"))
        if (match := re.fullmatch(rf"{serial}_(\d+)x(\d+)\.yml", path.name))
    }
    size = OFFICIAL_SIZE_PX if OFFICIAL_SIZE_PX in sizes or len(sizes) != 1 else next(iter(sizes))
    path = sizes.get(size, folder / f"{serial}_{size[0]}x{size[1]}.yml")
    content = _read_yaml(path)
    try:
        fx, fy, cx, cy = (float(content["color"][key]) for key in ("fx", "fy", "ppx", "ppy"))
    except (KeyError, TypeError, ValueError) as error:
        raise HandsimError(f"{path} lacks color: fx, fy, ppx, ppy; {EXTRACT_AGAIN}") from error
    return Camera(
        np.array([[fx, 0, cx + PIXEL_CENTRE], [0, fy, cy + PIXEL_CENTRE], [0, 0, 1]], dtype=np.float64), size
    )


def read_joints(path: Path) -> Joints:
    """The joints in ``labels_<frame>.npz``: ``joint_3d`` [1, 21, 3] in metres and ``joint_2d`` [1, 21, 2]."""
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
    return Joints(camera_mm, picture_px, valid)


def _read_yaml(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return yaml.load(file, Loader=_Loader)
    except FileNotFoundError as error:
        raise NotThereError(f"{path} is missing; {EXTRACT_AGAIN}") from error
    except yaml.YAMLError as error:
        raise HandsimError(f"{path} is not YAML; {EXTRACT_AGAIN}") from error


def _read_arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except FileNotFoundError as error:
        raise NotThereError(f"{path} is missing; {EXTRACT_AGAIN}") from error
    except KeyError as error:
        raise HandsimError(f"{path} holds no {error.args[0]}; {EXTRACT_AGAIN}") from error
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise HandsimError(
                f"{path} holds more than plain arrays (pickled objects could run code and are not read); "
                f"{EXTRACT_AGAIN}"
            ) from error
        raise HandsimError(f"{path} cannot be read ({error}); {EXTRACT_AGAIN}") from error
