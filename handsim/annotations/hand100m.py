"""Hand100M, the annotations that SiMHand's authors published for their pool.

Format: ``images[]`` with ``id`` and ``file_name`` (some with ``width``, ``height``) and ``annotations[]``
with ``image_id``, ``hand_id``, ``boxes`` (a JSON string "[x1, y1, x2, y2]"), ``keypoint_25d`` (63 numbers:
x, y in [0, 1] of the crop, z), ``left_right`` and ``positive_sample`` (hand ids, nearest first).
The authors' crop is the square 1.3 times as large as the box, side rounded down, clipped at the picture's
border and then stretched to a square; ours is padded instead, so keypoints are carried over. What `handsim
mine` wrote (`index.hand100m`) has ``handsim_video``: it comes back as the same hands.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handsim.annotations.annotated_hand import Box, OwnHand, RawHand
from handsim.annotations.coco import CocoIndex
from handsim.annotations.json_stream import JsonStream
from handsim.coco import ID_KEY, annotation_to_hand
from handsim.geometry import CROP_ENLARGEMENT, apply_affine, crop_affine, invert_affine
from handsim.hand import Hand, format_hand_id


class Hand100MReader:
    """Hands of ``annotations[]``; see `handsim.annotations.formats.AnnotationReader`."""

    def __init__(self, index: CocoIndex) -> None:
        self._index = index

    def records(self, stream: JsonStream) -> Iterator[Any]:
        return self._index.records(stream)

    def hands(self, number: int, record: dict[str, Any]) -> Iterator[RawHand | OwnHand]:
        """The hand of one annotation."""
        hand_id = read_hand_id(record["hand_id"])
        place = f"hand {hand_id:.40}"
        image, size = self._index.images.find(record.get("image_id"), place)
        if "handsim_video" in record:
            yield OwnHand(place, image, _read_own_hand(record, int(hand_id)))
            return
        yield RawHand(
            place=place,
            image=image,
            key=hand_id,
            side=record["left_right"],
            keypoints=record["keypoint_25d"],
            third="depth",
            box=json.loads(record["boxes"]),
            unit="crop",
            size=size,
            external_id=hand_id,
            positives=[read_hand_id(positive) for positive in record.get("positive_sample") or ()],
        )


def _read_own_hand(record: dict[str, Any], hand_id: int) -> Hand:
    """A hand that handsim wrote, whose picture is the crop; its box is in that, too."""
    points = np.array(record["keypoint_25d"], dtype=np.float64).reshape(-1, 3)
    labelled = np.ones((len(points), 1))
    annotation = {
        "handsim_file": "",
        **record,
        "keypoints": np.hstack([points[:, :2], labelled]).tolist(),
        "handsim_z": points[:, 2].tolist(),
        "handsim_box_px": json.loads(record["boxes"]),
        ID_KEY: format_hand_id(hand_id),
    }
    return annotation_to_hand(annotation, 1)


def read_hand_id(value: Any) -> str:
    """The text of an id: the same of a number and of its decimal digits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (int, str)):
        raise TypeError(f"hand_id {value!r:.40} is neither a number nor a text")
    return str(value)


def points_in_picture(points: NDArray[np.float64], box_px: Box, size: tuple[int, int]) -> NDArray[np.float64]:
    """Points [21, 3] of the authors' crop, in pixels of a picture of that width and height.

    The size says where their crop was clipped. Depth, in crop widths, becomes pixels of our crop.
    """
    x0, y0, x1, y1 = box_px
    side = np.floor(max(x1 - x0, y1 - y0) * CROP_ENLARGEMENT)
    centre = np.array([x0 + x1, y0 + y1]) / 2
    theirs = np.concatenate([centre - side / 2, centre + side / 2])
    theirs = np.clip(theirs, 0, np.array([*size, *size], dtype=np.float64))
    in_picture = apply_affine(invert_affine(crop_affine(theirs, 1.0)), points)
    in_picture[:, 2] *= max(x1 - x0, y1 - y0) * CROP_ENLARGEMENT
    return in_picture
