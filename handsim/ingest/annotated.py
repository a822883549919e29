"""The hands that annotations and their pictures make."""

from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handsim.annotations import AnnotatedHand, BadAnnotation, OwnHand
from handsim.annotations.annotated_hand import Box, box_around_joints, check_box
from handsim.annotations.hand100m import points_in_picture
from handsim.detection.detector import Detection, HandDetector
from handsim.errors import UnusableError
from handsim.geometry import CROP_ENLARGEMENT, CROP_SIZE_PX, cut_crop, square_around
from handsim.hand import Hand, Side
from handsim.images import Picture, decode_picture, encode_crop, encode_jpeg, read_file
from handsim.ingest.items import AnnotationRow, ItemResult
from handsim.ingest.origins import Origin

_LOOK_AROUND: Final = 2.0
"""A box is looked into with as much around it: its longer side times this."""
_LOOK_PX: Final = 512
_SAME_HAND: Final = 0.3
"""Intersection over union from which a detection is the hand of a box."""
_JPEG: Final = b"\xff\xd8"


class _PlacedHand(NamedTuple):
    """A hand in its picture, with all its parts but the keypoints in the unit square."""

    row: AnnotationRow
    side: Side
    score: float
    points: NDArray[np.float64]
    """[21, 3] in pixels of the picture."""
    box_px: Box
    joint_scores: NDArray[np.float32] | None
    looks_left: bool
    """See `Detection.looks_left`."""
    crop_jpeg: bytes | None = None


def named_hand(hand: Hand, origin: Origin) -> Hand:
    """A hand that came out of a pool, under the names that are asked for."""
    return replace(hand, source=origin.source, video=origin.video, label=origin.label)


def as_crop(file: bytes, picture: Picture, hand: Hand, enlargement: float) -> bytes:
    """The picture of a hand that came out of a pool, as one of ``enlargement`` stores it.

    Where it shows less than that its edge is repeated: no more is known. Raises UnusableError if oblong.
    """
    height, width = picture.pixels.shape[:2]
    if width != height:
        raise UnusableError("wrong picture size", f"{width} x {height}; crops of a pool are square")
    if width == CROP_SIZE_PX and enlargement == hand.crop_enlargement and file.startswith(_JPEG):
        return file
    square_px = square_around([0, 0, width, height], enlargement / hand.crop_enlargement)
    return encode_jpeg(cut_crop(picture.pixels, square_px))


class AnnotatedHands:
    """Puts the hands of one item together."""

    def __init__(self, result: ItemResult, detector: HandDetector | None, enlargement: float) -> None:
        """``detector`` finds the joints of hands that are boxes alone.

        Pictures of hands are ``enlargement`` times as long as the hand's box.
        """
        self._result, self._detector, self._enlargement = result, detector, enlargement
        self._placed: list[_PlacedHand] = []
        self._opened: tuple[Path, Picture] | None = None

    def add(self, row: AnnotationRow) -> None:
        """Open a hand's picture and cut its crop; raises UnusableError for what cannot be used."""
        self._result.pictures += 1
        annotation = row.annotation
        if isinstance(annotation, BadAnnotation):
            raise UnusableError(annotation.reason, annotation.detail)
        picture = None if row.picture is None else self._open(row.picture, row.origin.file)
        try:
            if isinstance(annotation, OwnHand):
                self._add_own(annotation.hand, row, picture)
            elif picture is None:
                self._placed.append(_place(row, annotation, annotation.size))
            else:
                self._placed.append(self._cut(row, annotation, picture))
        except UnusableError as error:
            raise UnusableError(error.reason, f"{annotation.place}: {error.detail}") from error

    def _cut(self, row: AnnotationRow, annotation: AnnotatedHand, picture: Picture) -> _PlacedHand:
        size = _true_size(picture)
        if annotation.unit == "pixels" and annotation.size is not None and annotation.size != size:
            raise _wrong_size(annotation.size, size)
        if annotation.is_box_only:
            placed = self._detect(row, annotation, picture)
        else:
            placed = _place(row, annotation, size)
        square_px = square_around(placed.box_px, self._enlargement) * picture.scale
        return placed._replace(crop_jpeg=encode_crop(picture.pixels, square_px, mirrored=placed.looks_left))

    def finish(self) -> None:
        """Put the hands with their keypoints into the result."""
        if not self._placed:
            return
        boxes = np.array([hand.box_px for hand in self._placed])
        looks_left = np.array([hand.looks_left for hand in self._placed])
        points = np.stack([hand.points for hand in self._placed])
        keypoints = _in_crops(points, boxes, looks_left)
        for place, hand in enumerate(self._placed):
            annotation, origin = hand.row.annotation, hand.row.origin
            assert isinstance(annotation, AnnotatedHand)
            made = Hand(
                hand_id=hand.row.hand_id,
                source=origin.source,
                video=origin.video,
                frame=origin.frame,
                side=hand.side,
                score=hand.score,
                box_px=boxes[place].astype(np.float32),
                keypoints=keypoints[place],
                label=origin.label,
                file=origin.file,
                external_id=annotation.external_id,
                external_positives=annotation.positives,
                joint_scores=hand.joint_scores,
                joints_mm=_as_right_hand(annotation.joints_mm, mirrored=hand.looks_left),
            )
            self._result.hands.append((made, hand.crop_jpeg))

    def _open(self, path: Path, file: str) -> Picture:
        """A picture; the hands of one follow one another, so the last one is kept."""
        if self._opened is None or self._opened[0] != path:
            self._opened = path, decode_picture(path)
            self._result.add_remarks(file, self._opened[1].remarks)
        return self._opened[1]

    def _add_own(self, hand: Hand, row: AnnotationRow, picture: Picture | None) -> None:
        """A hand that came out of a pool: its picture is the crop."""
        jpeg = None
        if picture is not None and row.picture is not None:
            jpeg = as_crop(read_file(row.picture), picture, hand, self._enlargement)
        self._result.hands.append((named_hand(hand, row.origin), jpeg))

    def _detect(self, row: AnnotationRow, annotation: AnnotatedHand, picture: Picture) -> _PlacedHand:
        """The hand of a box: what the detector finds there and overlaps it most."""
        box = annotation.box_px
        assert box is not None
        assert self._detector is not None
        check_box(box, _true_size(picture))
        found = max(
            _detect_around(self._detector, picture, box),
            key=lambda detection: _overlap(detection, box),
            default=None,
        )
        if found is None or _overlap(found, box) < _SAME_HAND:
            where = [round(number) for number in box]
            raise UnusableError("no hand in box", f"the detector finds no hand in {where}")
        self._result.count(found)
        if annotation.side is not None and annotation.side != "unknown":
            found = replace(found, side=annotation.side)
        points = found.keypoints_px.astype(np.float64)
        box_px = box_around_joints(points[:, :2])
        return _PlacedHand(row, found.side, found.score, points, box_px, None, found.looks_left)


def _place(row: AnnotationRow, annotation: AnnotatedHand, size: tuple[int, int] | None) -> _PlacedHand:
    """A hand in a picture of that width and height (None: not known)."""
    points, box = annotation.points, annotation.box_px
    if annotation.unit != "pixels":
        if size is None:
            needed = "its coordinates are parts of the picture: give width and height, or the pictures"
            raise UnusableError("no picture size", needed)
        if annotation.unit == "crop":
            assert box is not None
            points = points_in_picture(points, box, size)
        else:
            points = points * (size[0], size[1], size[0])
    if box is None:
        box = box_around_joints(points[np.isfinite(points[:, 0]), :2])
    if size is not None and size != annotation.size:
        check_box(box, size)
    assert annotation.side is not None
    side, scores = annotation.side, annotation.joint_scores
    return _PlacedHand(row, side, annotation.score, points, box, scores, side == "left")


def _true_size(picture: Picture) -> tuple[int, int]:
    """Width and height of a picture that may have been decoded at a fraction of them."""
    height, width = picture.pixels.shape[:2]
    return round(width / picture.scale), round(height / picture.scale)


def _wrong_size(said: tuple[int, int], size: tuple[int, int]) -> UnusableError:
    sizes = f"{said[0]} x {said[1]}, and it is {size[0]} x {size[1]}"
    return UnusableError(
        "wrong picture size", f"its picture should be {sizes}; give the pictures that were annotated"
    )


def _in_crops(
    points: NDArray[np.float64], boxes_px: NDArray[np.float64], looks_left: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Points [N, 21, 3] in the unit squares around boxes [N, 4], as right hands; see `hand_in_crop`."""
    centres = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
    sides = (boxes_px[:, 2:] - boxes_px[:, :2]).max(axis=1) * CROP_ENLARGEMENT
    unit = points / sides[:, None, None]
    unit[:, :, :2] += 0.5 - (centres / sides[:, None])[:, None]
    unit[looks_left, :, 0] = 1 - unit[looks_left, :, 0]
    keypoints: NDArray[np.float32] = unit.astype(np.float32)
    return keypoints


def _as_right_hand(joints_mm: NDArray[np.float64] | None, *, mirrored: bool) -> NDArray[np.float32] | None:
    if joints_mm is None:
        return None
    joints: NDArray[np.float32] = (joints_mm * ((-1 if mirrored else 1), 1, 1)).astype(np.float32)
    return joints


def _detect_around(detector: HandDetector, picture: Picture, box_px: Box) -> list[Detection]:
    """The hands in a box and around it, in pixels of the picture."""
    square = square_around(box_px, _LOOK_AROUND)
    side = float(square[2] - square[0])
    size_px = max(16, min(_LOOK_PX, round(side)))
    x0, y0, _, _ = square
    return [
        replace(found, keypoints_px=(found.keypoints_px * (side / size_px) + (x0, y0, 0)).astype(np.float32))
        for found in detector.detect([cut_crop(picture.pixels, square * picture.scale, size_px)])[0]
    ]


def _overlap(detection: Detection, box_px: Box) -> float:
    """Intersection over union of the detection's box and another."""
    first, second = detection.box_px, np.array(box_px)
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (first, second)]
    return common / (sum(areas) - common)
