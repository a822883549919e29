"""One annotated hand: as a format gives it (`RawHand`), and checked (`AnnotatedHand`).

Every format only says where its fields are; shapes, joints, boxes and sides are checked here, the same for
all. Coordinates of annotations are pixels of the picture unless ``unit`` says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.annotations.joint_orders import JointOrder
from handsim.errors import HandsimError, UnusableError
from handsim.geometry import CROP_ENLARGEMENT, box_around
from handsim.hand import Hand, Side
from handsim.skeleton import JOINT_COUNT

AnnotationFormat = Literal[
    "coco", "coco-wholebody", "openpose", "freihand", "hand100m", "mediapipe", "wilor", "handsim-jsonl"
]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the picture."""
Unit = Literal["pixels", "picture", "crop"]
"""Of keypoints: pixels, parts of the picture's width and height, or of the crop of Hand100M's authors."""

DEFAULT_MIN_JOINTS: Final = 11
"""More than half of a hand's joints."""
MAX_COORDINATE_PX: Final = 1e6
"""What is farther out is no place in a picture."""
_LARGEST_BOX: Final = 1.5
"""Longest side of a box, in longer sides of its picture: a hand may lie half outside, no more."""
_COCO_FLAGS: Final = frozenset((0.0, 1.0, 2.0))
_LEFT: Final = ("left", "l", "lhand", "left_hand", "lefthand", "0", "0.0", "false")
_RIGHT: Final = ("right", "r", "rhand", "right_hand", "righthand", "1", "1.0", "true")


@dataclass(frozen=True)
class AnnotationOptions:
    """How annotations are read. Raises HandsimError for a number of joints outside 1..21."""

    format: AnnotationFormat | None = None
    """None: told by the file's content."""
    joint_order: JointOrder | None = None
    """``ours = theirs[order]``; None: the names of the joints, where a file has them, else our own order."""
    side: Side | None = None
    """Of hands of which the file does not say it. ``unknown``: they are kept as they are seen."""
    boxes: bool = False
    """Whether the detector looks into boxes that have too few joints."""
    pictures: bool = True
    """False: keypoints alone go into the pool, no picture is opened."""
    min_joints: int = DEFAULT_MIN_JOINTS
    """Hands with fewer labelled joints are left out."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_joints <= JOINT_COUNT:
            raise HandsimError(f"--min-joints is {self.min_joints}; it must be from 1 to {JOINT_COUNT}")
        if self.boxes and not self.pictures:
            raise HandsimError("--boxes looks into the pictures: leave out --no-pictures")


@dataclass(slots=True)
class RawHand:
    """What a format says of one hand; whatever stands in its file may stand in the fields."""

    place: str
    """Where it stands, for people: ``annotation 17``."""
    image: str
    """The picture's path below the folder of pictures, with or without its suffix."""
    key: object
    """Tells it from the file's other hands, also after others were added."""
    side: object = None
    """``left``, ``right`` or ``unknown`` in one of their spellings; 1 or true is right."""
    keypoints: Any = None
    """[21, C] or flat [21 C]: x, y and what ``third`` says."""
    third: Literal["none", "depth", "flag", "score"] = "none"
    """Of a keypoint: depth relative to the wrist (in the unit of x), COCO's flag (0: not labelled; a fraction
    is read as a score), or a score from 0 to 1 (0: not labelled)."""
    box: Any = None
    """[4] in pixels: x0, y0, x1, y1, or with ``box_has_size`` x0, y0, width, height. All 0: none."""
    box_has_size: bool = False
    joint_scores: Any = None
    score: Any = None
    unit: Unit = "pixels"
    size: tuple[Any, Any] | None = None
    """Width and height of the picture."""
    joint_order: JointOrder | None = None
    video: Any = None
    frame: Any = None
    label: Any = None
    source: Any = None
    external_id: str | None = None
    positives: Sequence[str] = ()
    is_crowd: bool = False
    """COCO's ``iscrowd``: several hands in one box, or one of which nothing is asked."""
    joints_mm: NDArray[np.float64] | None = None
    """[21, 3] true joints in the camera frame, where the format has them; not mirrored."""


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedHand:
    """One hand, checked, as it lies in its picture: nothing is mirrored."""

    place: str
    image: str
    key: str
    side: Side | None
    """None: the detector is to say it."""
    points: NDArray[np.float64]
    """[21, 3] x, y, depth in ``unit`` and our joint order; NaN where a joint is not labelled."""
    box_px: Box | None
    """None: tight around the labelled joints."""
    is_box_only: bool
    """Whether its joints are to be found in its box."""
    joint_scores: NDArray[np.float32] | None
    """[21] 0 to 1, NaN where a joint is not labelled."""
    score: float
    unit: Unit
    size: tuple[int, int] | None
    """Width and height of the picture, where the file says it."""
    video: str | None
    frame: int | None
    label: str | None
    source: str | None
    external_id: str | None
    positives: tuple[str, ...]
    is_crowd: bool = False
    """A detector is not asked for it (COCO's ``iscrowd``); an ingest takes it as any."""
    joints_mm: NDArray[np.float64] | None = None
    """[21, 3] true joints in the camera frame; not mirrored."""


@dataclass(frozen=True, eq=False)
class OwnHand:
    """A hand that came out of a pool; its picture is the crop."""

    place: str
    image: str
    hand: Hand

    @property
    def key(self) -> int:
        """Tells it from other hands."""
        return self.hand.hand_id


@dataclass(frozen=True)
class BadAnnotation:
    """An annotation that cannot be used."""

    image: str
    """Its picture, where it names one."""
    reason: str
    detail: str


def check_hand(raw: RawHand, options: AnnotationOptions) -> AnnotatedHand:
    """Raises UnusableError that says what is wrong with a hand, or ValueError or TypeError for odd values.

    Neither says where: the reader puts the place before it.
    """
    side = read_side(raw.side)
    if side is None or side == "unknown":
        side = options.side or side
    points, scores = _read_points(raw)
    order = raw.joint_order or options.joint_order
    if order is not None:
        points, scores = points[list(order)], None if scores is None else scores[list(order)]
    labelled = np.isfinite(points[:, 0])
    count = int(np.count_nonzero(labelled))
    given_box = box = _read_box(raw)
    is_box_only = count < options.min_joints and options.boxes and box is not None
    if not is_box_only:
        if count < options.min_joints:
            remedy = f"--min-joints {count} takes it" if count else "--boxes looks for joints in a box"
            needed = f"{count} of {JOINT_COUNT} joints are labelled, {options.min_joints} are needed"
            raise UnusableError("too few joints", f"{needed}; {remedy}")
        if side is None:
            raise UnusableError("no side", "the file does not say left or right; give --side, also unknown")
        if raw.unit == "pixels":
            box = box or box_around_joints(points[labelled, :2])
        elif raw.unit == "crop" and box is None:
            raise UnusableError("bad box", "there is no box, and keypoints are parts of its crop; give boxes")
    size = None if raw.size is None else (int(raw.size[0]), int(raw.size[1]))
    if box is not None and size is not None:
        check_box(box, size)
    if given_box is not None and raw.unit == "pixels" and not is_box_only:
        _check_joints_in_box(points[labelled, :2], given_box)
    return AnnotatedHand(
        place=raw.place,
        image=raw.image,
        key=str(raw.key),
        side=side,
        points=points,
        box_px=box,
        is_box_only=is_box_only,
        joint_scores=scores,
        score=_read_score(raw),
        unit=raw.unit,
        size=size,
        video=_text(raw.video),
        frame=None if raw.frame is None else int(raw.frame),
        label=_text(raw.label),
        source=_text(raw.source),
        external_id=raw.external_id,
        positives=tuple(raw.positives),
        is_crowd=raw.is_crowd,
        joints_mm=raw.joints_mm,
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def read_side(value: object) -> Side | None:
    """The side in one of its spellings; None where there is none. Raises UnusableError for another word."""
    if value is None or value == "":
        return None
    word = str(value).lower()
    if word in _RIGHT:
        return "right"
    if word in _LEFT:
        return "left"
    if word == "unknown":
        return "unknown"
    raise UnusableError("bad side", f"{value!r:.60} is neither left nor right nor unknown; mend it")


def check_box(box_px: Box, size: tuple[int, int]) -> None:
    """Raise UnusableError for a box outside a picture of that width and height, or far larger than it."""
    x0, y0, x1, y1 = box_px
    problem = ""
    if min(x1, y1) <= 0 or x0 >= size[0] or y0 >= size[1]:
        problem = "lies outside"
    elif max(x1 - x0, y1 - y0) > _LARGEST_BOX * max(size):
        problem = "is far larger than"
    if problem:
        picture = f"its picture of {size[0]} x {size[1]}"
        raise UnusableError(
            "box outside", f"the box {_rounded(box_px)} {problem} {picture}; give it in pixels"
        )


def box_around_joints(points: NDArray[np.float64]) -> Box:
    """Tight around joints [N, 2]; raises UnusableError where they lie on one line."""
    x0, y0, x1, y1 = box_around(points).tolist()
    if x1 <= x0 or y1 <= y0:
        raise UnusableError("bad keypoints", "all labelled joints lie on one line; leave it out")
    return x0, y0, x1, y1


def _check_joints_in_box(points: NDArray[np.float64], box: Box) -> None:
    """Raise UnusableError where less than half of the joints [N, 2] lie in the box's crop."""
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(box[2] - box[0], box[3] - box[1]) * CROP_ENLARGEMENT / 2
    inside = int(np.count_nonzero(np.abs(points - centre).max(axis=1) <= half))
    if 2 * inside < len(points):
        found = f"{inside} of {len(points)} joints lie in the box {_rounded(box)}"
        raise UnusableError("joints outside box", f"{found}; is it x, y, width, height, or corners?")


def _rounded(box: Box) -> list[float]:
    return [round(number, 1) for number in box]


def _read_points(raw: RawHand) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """[21, 3], NaN where a joint is not labelled, and scores [21] if there are any; in the file's order."""
    points = np.full((JOINT_COUNT, 3), np.nan)
    if raw.keypoints is None:
        return points, None
    values = _read_joints(raw)
    labelled = (np.abs(values) <= MAX_COORDINATE_PX).all(axis=1)  # NaN is not
    scores: NDArray[np.float64] | None = None
    has_third = values.shape[1] > 2
    third = values[:, 2] if has_third else np.zeros(JOINT_COUNT)
    if has_third and raw.third in ("flag", "score"):
        labelled &= third > 0
        if raw.third == "score" or not _COCO_FLAGS.issuperset(third.tolist()):
            scores = third
    if raw.joint_scores is not None:
        scores = np.array(raw.joint_scores, dtype=np.float64)
        if scores.shape != (JOINT_COUNT,):
            raise UnusableError("wrong joint count", f"joint_scores must be {JOINT_COUNT} numbers")
    points[labelled, :2] = values[labelled, :2]
    points[labelled, 2] = third[labelled] if raw.third == "depth" else 0.0
    if scores is None:
        return points, None
    scores[~labelled] = np.nan
    return points, np.minimum(np.maximum(scores, 0), 1).astype(np.float32)


def _read_joints(raw: RawHand) -> NDArray[np.float64]:
    """Keypoints as numbers [21, 2 or 3]; a null becomes NaN."""
    given = raw.keypoints
    try:
        values = np.array(given, dtype=np.float64)
    except ValueError:  # a null in the place of a joint
        nowhere = [np.nan] * max(len(joint) for joint in given if joint is not None)
        values = np.array([nowhere if joint is None else joint for joint in given], dtype=np.float64)
    if values.size not in (2 * JOINT_COUNT, 3 * JOINT_COUNT):
        shape = " x ".join(str(length) for length in values.shape or (1,))
        needed = f"{JOINT_COUNT} joints of 2 or 3 numbers are needed"
        raise UnusableError("wrong joint count", f"keypoints are {shape} numbers; {needed}")
    return values.reshape(JOINT_COUNT, -1)


def _read_box(raw: RawHand) -> Box | None:
    """x0, y0, x1, y1; None where a hand has none."""
    if raw.box is None:
        return None
    numbers = [float(number) for number in raw.box]
    if len(numbers) == 4:
        x0, y0, x1, y1 = numbers
        if not any(numbers):
            return None
        if raw.box_has_size:
            x1, y1 = x0 + x1, y0 + y1
        if -MAX_COORDINATE_PX <= x0 < x1 <= MAX_COORDINATE_PX >= y1 > y0 >= -MAX_COORDINATE_PX:
            return x0, y0, x1, y1
    form = "x, y, width, height" if raw.box_has_size else "x0, y0, x1, y1"
    raise UnusableError("bad box", f"the box {raw.box!r:.99} is not {form} in pixels; mend it")


def _read_score(raw: RawHand) -> float:
    score = 1.0 if raw.score is None else float(raw.score)
    if not 0 <= score <= 1:
        raise UnusableError("bad score", f"the score is {score:g}; scores are from 0 to 1")
    return score


Annotation = AnnotatedHand | OwnHand | BadAnnotation
