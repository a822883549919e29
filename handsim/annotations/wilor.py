"""Results of HaMeR, WiLoR and their kind: hands by box, side and joints; JSON or npz.

Fields of a picture, each with one entry per hand (or, in a list of hands, of a single hand):

- the picture: ``image``, ``image_path``, ``img_path``, ``img_name``, ``imgname``, ``file_name`` or
  ``path`` (one, or one per hand); else the name it stands under, or the file's own name;
- ``is_right`` or ``right``: 1 for a right hand;
- joints in pixels of the picture [21, 2 or 3], the third a confidence: ``keypoints_2d``,
  ``pred_keypoints_2d``, ``hand_keypoints_2d`` or ``joints_2d``;
- or joints in space [21, 3]: ``keypoints_3d``, ``pred_keypoints_3d`` or ``joints_3d``, with
  ``pred_cam_t_full``, ``cam_t_full`` or ``cam_t`` [3], which is added, and ``scaled_focal_length`` or
  ``focal_length`` in pixels; the camera looks through the middle of the picture (``img_size`` or
  ``image_size``: width, height). A left hand is expected as it is, not as the right hand that the network
  saw;
- ``boxes``, ``hand_bbox`` or ``bbox`` [4] x0, y0, x1, y1; ``score`` or ``scores``.

Fields inside ``wilor_preds`` count as the hand's own. Joints are in our order, as these networks give
them.
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.annotations.annotated_hand import RawHand
from handsim.annotations.json_stream import JsonStream
from handsim.annotations.results import IMAGE_FIELDS, PictureResult, first_of, picture_results, picture_size
from handsim.errors import UnusableError
from handsim.skeleton import WRIST

SIDE_FIELDS: Final = ("is_right", "right")
_BOXES: Final = ("boxes", "hand_bbox", "bbox")
_JOINTS_2D: Final = ("keypoints_2d", "pred_keypoints_2d", "hand_keypoints_2d", "joints_2d")
_JOINTS_3D: Final = ("keypoints_3d", "pred_keypoints_3d", "joints_3d")
_TRANSLATION: Final = ("pred_cam_t_full", "cam_t_full", "cam_t")
_FOCAL_LENGTH: Final = ("scaled_focal_length", "focal_length")
_SCORES: Final = ("score", "scores")
_PER_HAND: Final = (
    *(*SIDE_FIELDS, *_BOXES, *_JOINTS_2D, *_JOINTS_3D, *_TRANSLATION, *_FOCAL_LENGTH, *_SCORES),
    *IMAGE_FIELDS,
)
_PER_PICTURE: Final = ("img_size", "image_size", "width", "height")

_DAMAGED_ZIP: Final = (
    *(OSError, ValueError, EOFError, MemoryError, OverflowError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
ARCHIVE: Final = b"PK"
MAX_ARRAY_BYTES: Final = 1 << 30
"""All arrays of an npz, unpacked."""


class WiLoRReader:
    """The hands of each result; see `handsim.annotations.formats.AnnotationReader`."""

    def __init__(self, path: Path, file: PurePosixPath) -> None:
        self._path, self._file = path, file

    def records(self, stream: JsonStream) -> Iterator[Any]:
        with self._path.open("rb") as file:
            is_archive = file.read(2) == ARCHIVE
        values = iter([_read_npz(self._path)]) if is_archive else stream.values()
        return picture_results(values, self._file, SIDE_FIELDS)

    def hands(self, number: int, record: PictureResult) -> Iterator[RawHand]:
        """The hands of one picture, or one hand."""
        image, result = record
        result = {**result, **(result.get("wilor_preds") or {})}
        sides = np.array(first_of(result, SIDE_FIELDS))
        if sides.ndim == 0:
            yield _hand(f"result {number}", image, f"#{number}", result)
            return
        lists = {name: result[name] for name in _PER_HAND if _is_list(result.get(name))}
        for name, value in lists.items():
            if len(value) != len(sides):
                counts = f"{len(value)} entries for {len(sides)} hands"
                raise UnusableError("wrong number of hands", f"result {number}: {name} has {counts}")
        for ordinal in range(len(sides)):
            hand = result | {name: value[ordinal] for name, value in lists.items()}
            yield _hand(f"result {number}, hand {ordinal}", image, str(ordinal), hand)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _hand(place: str, image: str, key: str, hand: dict[str, Any]) -> RawHand:
    own_image = first_of(hand, IMAGE_FIELDS)
    size = picture_size(hand)
    keypoints = first_of(hand, _JOINTS_2D)
    is_in_space = keypoints is None and first_of(hand, _JOINTS_3D) is not None
    return RawHand(
        place=place,
        image=image if own_image is None else _text(own_image),
        key=key,
        side=first_of(hand, SIDE_FIELDS),
        keypoints=_project(hand, size, place) if is_in_space else keypoints,
        third="depth" if is_in_space else "score",
        box=first_of(hand, _BOXES),
        score=first_of(hand, _SCORES),
        size=size,
    )


def _project(hand: dict[str, Any], size: tuple[Any, Any] | None, place: str) -> NDArray[np.float64]:
    """Joints in space [21, 3] as pixels and depth relative to the wrist, in pixels as well."""
    translation, focal_length = first_of(hand, _TRANSLATION), first_of(hand, _FOCAL_LENGTH)
    if translation is None or focal_length is None or size is None:
        needed = f"joints in space need {_TRANSLATION[-1]}, {_FOCAL_LENGTH[-1]} and img_size"
        raise UnusableError("missing field", f"{place}: {needed}, or give keypoints_2d")
    joints = np.array(first_of(hand, _JOINTS_3D), dtype=np.float64).reshape(-1, 3)
    joints = joints + np.array(translation, dtype=np.float64).reshape(3)
    depth, focal_px = joints[:, 2:], float(np.array(focal_length).reshape(-1)[0])
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is not labelled
        pixels = joints[:, :2] / depth * focal_px + np.array(size, dtype=np.float64) / 2
        relative = (depth - depth[WRIST]) / depth[WRIST] * focal_px
    return np.concatenate([pixels, relative], axis=1)


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _read_npz(path: Path) -> dict[str, Any]:
    """The arrays that we know; UnusableError for an archive that unpacks to too much, or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                member
                for member in archive.infolist()
                if member.filename.removesuffix(".npy") in (*_PER_HAND, *_PER_PICTURE)
            ]
            size = sum(member.file_size for member in members)
            if size > MAX_ARRAY_BYTES:
                unpacked = (
                    f"it unpacks to {size / 1e9:.1f} GB, the limit is {MAX_ARRAY_BYTES / 1e9:.1f}; split it"
                )
                raise UnusableError("archive too large", unpacked)
            if not members:
                raise UnusableError("not annotations", "an archive without arrays of hands; unpack it first")
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                arrays[member.filename.removesuffix(".npy")] = array
    except UnusableError:
        raise
    except _DAMAGED_ZIP as error:
        raise UnusableError("not annotations", f"the archive is damaged ({error})") from error
    return arrays
