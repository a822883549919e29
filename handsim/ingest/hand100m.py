"""Reading Hand100M, the annotations SiMHand's authors published for their pool, as a stream.

Format: ``images[]`` with ``id`` and ``file_name`` (some with ``width``, ``height``) and ``annotations[]``
with ``image_id``, ``hand_id``, ``boxes`` (a JSON string "[x1, y1, x2, y2]"), ``keypoint_25d`` (63 numbers:
x, y in [0, 1] of the crop, z), ``left_right`` and ``positive_sample`` (hand ids, nearest first).
The authors' crop is the square 1.3 times as large as the box, side rounded down, clipped at the picture's
border and then stretched to a square; ours is padded instead, so keypoints are carried over.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ijson
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, UnusableError
from handsim.geometry import CROP_ENLARGEMENT, apply_affine, crop_affine, invert_affine, square_around
from handsim.hand import Side
from handsim.skeleton import JOINT_COUNT

_NOT_OURS: Final = "not Hand100M annotations"
_SIDES: Final[dict[str, Side]] = {"left": "left", "right": "right"}


@dataclass(frozen=True, eq=False)
class Annotation:
    """One annotated hand, checked, still in the authors' frames."""

    file_name: str
    """The picture's path below the folder of images."""
    hand_id: str
    box_px: NDArray[np.float64]
    """[4] x0, y0, x1, y1 in the picture."""
    keypoints: NDArray[np.float32]
    """[21, 3] in the unit square of the authors' crop, before mirroring."""
    side: Side
    positives: tuple[str, ...]
    """The authors' ids of its positives, nearest first."""


@dataclass(frozen=True)
class BadAnnotation:
    """An annotation that cannot be used."""

    file_name: str
    """Its picture, where it names one."""
    detail: str


def read_annotations(path: Path) -> Iterator[Annotation | BadAnnotation]:
    """Every annotation of a file, in file order; only the picture names are held in memory.

    Raises UnusableError when the file is not JSON of this layout, or where it breaks off.
    """
    try:
        names = {image["id"]: str(image["file_name"]) for image in _until_break(path, "images.item")}
        if not names:
            raise UnusableError(_NOT_OURS, "it has no images[]")
        with path.open("rb") as file:
            for record in ijson.items(file, "annotations.item", use_float=True):
                yield _parse(record, names)
    except (ijson.JSONError, KeyError, TypeError) as error:
        raise UnusableError(_NOT_OURS, f"{type(error).__name__}: {error}") from error
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error


def count_annotations(path: Path) -> int:
    """How many annotations a file holds before it ends or breaks off."""
    return sum(1 for _ in _until_break(path, "annotations.item.hand_id"))


def _until_break(path: Path, prefix: str) -> Iterator[Any]:
    """The values under a prefix, up to where the JSON breaks off; `read_annotations` raises for that."""
    with path.open("rb") as file, suppress(ijson.JSONError):
        yield from ijson.items(file, prefix, use_float=True)


def _parse(record: dict[str, Any], names: dict[Any, str]) -> Annotation | BadAnnotation:
    name = names.get(record.get("image_id"), "")
    try:
        if not name:
            raise HandsimError(f"image_id {record.get('image_id')!r} is not among images[]")
        box = np.array(json.loads(record["boxes"]), dtype=np.float64)
        square_around(box)  # raises for a box without extent
        keypoints = np.array(record["keypoint_25d"], dtype=np.float32)
        if keypoints.size != JOINT_COUNT * 3 or not np.isfinite(keypoints).all():
            raise HandsimError(f"keypoint_25d is not {JOINT_COUNT * 3} finite numbers")
        side = str(record["left_right"]).lower()
        if side not in _SIDES:
            raise HandsimError(f"left_right is {record['left_right']!r}")
        return Annotation(
            file_name=name,
            hand_id=str(record["hand_id"]),
            box_px=box,
            keypoints=keypoints.reshape(JOINT_COUNT, 3),
            side=_SIDES[side],
            positives=tuple(str(positive) for positive in record.get("positive_sample") or ()),
        )
    except (KeyError, ValueError, TypeError) as error:
        return BadAnnotation(name, f"hand {record.get('hand_id')!r}: {type(error).__name__} {error}")


def keypoints_in_our_crop(annotation: Annotation, width: int, height: int) -> NDArray[np.float32]:
    """The annotation's keypoints [21, 3] in the unit square of our padded crop, as seen for a right hand.

    ``width`` and ``height`` are the picture's, in pixels; they say where the authors' crop was clipped.
    """
    box = annotation.box_px
    ours = square_around(box)
    side = np.floor((box[2:] - box[:2]).max() * CROP_ENLARGEMENT)
    centre = (box[:2] + box[2:]) / 2
    theirs = np.concatenate([centre - side / 2, centre + side / 2])
    theirs = np.clip(theirs, 0, np.array([width, height, width, height], dtype=np.float64))
    in_picture = apply_affine(invert_affine(crop_affine(theirs, 1.0)), annotation.keypoints)
    mirrored = annotation.side == "left"
    return apply_affine(crop_affine(ours, 1.0, mirrored=mirrored), in_picture)
