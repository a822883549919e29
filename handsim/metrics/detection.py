"""How well hands are found in pictures: recall, precision, doubled hands, sides and joints.

Each detection is of one true hand: of those whose box its own overlaps by `MIN_IOU`, the one whose joints lie
nearest to its own (of hands that are labelled with a box alone, the one that it overlaps most). The detection
nearest to a hand finds it; a further one of the same hand doubles it, and is never credited to a neighbour,
so that one of two clasped hands seen twice is not two. Overlap is intersection over union, as in COCO and
PASCAL VOC; choosing by joints is ours, because the boxes of clasped hands overlap each other too.

What overlaps no hand enough is still a double when at least half of its box lies on a hand that was found: a
finger taken for a hand. It is left out where half of it lies in a region to ignore (COCO's ``iscrowd``, hands
too small or too hidden to ask for). Everything else is false. Boxes of true hands and of detections are
comparable where both are tight around the joints; boxes drawn around the flesh are some 15 % longer.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES

MIN_IOU: Final = 0.5
_COVERED: Final = 0.5
PCK_THRESHOLDS: Final = (0.05, 0.1, 0.2)
"""In longer sides of the true box."""
SIZES_PX: Final = (0, 30, 60, 120, 240, 480)
"""Where the buckets by the longer side of the box begin."""
RELATIVE_SIZES: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Where those begin that are in longer sides of the picture."""


@dataclass(frozen=True, eq=False)
class TrueHand:
    """One labelled hand, in the picture's pixels, nothing mirrored."""

    box_px: NDArray[np.float64]
    """[4] x0, y0, x1, y1."""
    side: Side = "unknown"
    joints_px: NDArray[np.float64] | None = None
    """[21, 2], NaN where a joint is not labelled; None where the hand has a box alone."""
    is_ignored: bool = False
    """Neither to be found nor a mistake."""


@dataclass(frozen=True, eq=False)
class PictureMatch:
    """The hands of one picture and what was found in it."""

    size_px: tuple[int, int]
    """Width and height of the picture."""
    hands: Sequence[TrueHand]
    detections: Sequence[Detection]
    found_by: list[int | None]
    """For each hand the number of the detection that found it."""
    doubles: list[int | None]
    """For each detection the number of the hand that it shows once more."""
    is_false: list[bool]
    """For each detection, whether there is no hand where it says."""

    @property
    def found(self) -> list[tuple[TrueHand, Detection]]:
        """The hands that were found, and by what; ignored ones left out."""
        pairs = zip(self.hands, self.found_by, strict=True)
        return [(hand, self.detections[by]) for hand, by in pairs if by is not None and not hand.is_ignored]


def match_picture(
    hands: Sequence[TrueHand],
    detections: Sequence[Detection],
    size_px: tuple[int, int],
    min_iou: float = MIN_IOU,
) -> PictureMatch:
    """Tell which hand each detection shows; see the head of this file."""
    shown = [_hand_shown(detection, hands, min_iou) for detection in detections]
    found_by: list[int | None] = [None] * len(hands)
    for number, hand in enumerate(hands):
        rivals = [index for index, other in enumerate(shown) if other == number]
        found_by[number] = min(rivals, key=lambda index: _distance(detections[index], hand), default=None)
    doubles: list[int | None] = []
    is_false = []
    for index, detection in enumerate(detections):
        hand_number = shown[index]
        if hand_number is None:
            hand_number = _hand_under(detection, hands, found_by)
        is_first = hand_number is not None and found_by[hand_number] == index
        is_ignored = hand_number is not None and hands[hand_number].is_ignored
        doubles.append(None if is_first or is_ignored else hand_number)
        is_false.append(hand_number is None)
    return PictureMatch(size_px, hands, detections, found_by, doubles, is_false)


def _hand_shown(detection: Detection, hands: Sequence[TrueHand], min_iou: float) -> int | None:
    near = [number for number, hand in enumerate(hands) if box_iou(detection.box_px, hand.box_px) >= min_iou]
    return min(near, key=lambda number: _distance(detection, hands[number]), default=None)


def _hand_under(
    detection: Detection, hands: Sequence[TrueHand], found_by: Sequence[int | None]
) -> int | None:
    """The hand that a detection without enough overlap lies on: one that was found, or is ignored."""
    shares = [
        _covered_share(detection.box_px, hand.box_px) if by is not None or hand.is_ignored else 0.0
        for hand, by in zip(hands, found_by, strict=True)
    ]
    if not shares or max(shares) < _COVERED:
        return None
    return int(np.argmax(shares))


def _distance(detection: Detection, hand: TrueHand) -> float:
    """How far a detection is from a hand, 0 for none: by their joints, without joints by their boxes."""
    errors = joint_errors(detection, hand)
    if np.isnan(errors).all():
        return 1.0 - box_iou(detection.box_px, hand.box_px)
    return float(np.nanmean(errors))


def joint_errors(detection: Detection, hand: TrueHand) -> NDArray[np.float64]:
    """[21] distances between found and true joints in longer sides of the true box, NaN without a label."""
    if hand.joints_px is None:
        return np.full(JOINT_COUNT, np.nan)
    offsets = detection.keypoints_px[:, :2] - hand.joints_px
    return np.asarray(np.linalg.norm(offsets, axis=1) / longer_side(hand.box_px))


def box_iou(box: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes [4]; 0 where neither has an area."""
    shared = _shared_area(box, other)
    union = _area(box) + _area(other) - shared
    return shared / union if union > 0 else 0.0


def longer_side(box_px: NDArray[np.floating]) -> float:
    """Of a box [4], in pixels."""
    return float((box_px[2:] - box_px[:2]).max())


def _covered_share(box: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    area = _area(box)
    return _shared_area(box, other) / area if area > 0 else 0.0


def _shared_area(box: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0.0)))


def _area(box: NDArray[np.floating]) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0.0)))


@dataclass(frozen=True)
class DetectionScores:
    """How well hands were found; ``dataclasses.asdict`` makes JSON of it. A share of nothing is None."""

    pictures: int
    hands: int
    """True ones, ignored ones left out."""
    found: int
    recall: float | None
    detections: int
    """Those that show an ignored hand left out."""
    precision: float | None
    """Share of the detections that found a hand: doubled hands count against it, as false ones do."""
    doubled: int
    """Detections of a hand that a better one found already."""
    doubled_share: float | None
    """Of the true hands."""
    false: int
    """Detections where there is no hand."""
    false_per_picture: float | None
    sides: int
    """Hands found of which label and detection both tell the side."""
    side_accuracy: float | None
    """Over these."""
    sides_unknown: int
    """Hands found whose side is labelled, and which the detector did not tell."""
    joints: int
    """Labelled joints of the hands found; those of missed hands are not counted."""
    pck: dict[str, float | None]
    """Share of these within 0.05, 0.1 and 0.2 of the longer side of the true box."""
    mean_error_percent: float | None
    """Mean distance in percent of that side."""
    joint_error_percent: dict[str, float | None]
    """The same for each joint."""


def score_detections(
    matches: Iterable[PictureMatch],
    in_bucket: Callable[[float], bool] | None = None,
    *,
    relative: bool = False,
) -> DetectionScores:
    """Sum up the matches of all pictures.

    With ``in_bucket`` only of the hands whose true box has a longer side (in pixels, or ``relative`` to that
    of the picture) for which it is true; doubled hands belong to the hand's bucket, false ones to that of
    their own size.
    """
    matches = list(matches)
    errors: list[NDArray[np.float64]] = []
    sides: list[tuple[Side, Side]] = []
    hands = doubled = false = 0
    for match in matches:
        unit = float(max(match.size_px)) if relative else 1.0
        is_in = [
            not hand.is_ignored and (in_bucket is None or in_bucket(longer_side(hand.box_px) / unit))
            for hand in match.hands
        ]
        hands += sum(is_in)
        doubled += sum(number is not None and is_in[number] for number in match.doubles)
        for detection, is_false in zip(match.detections, match.is_false, strict=True):
            false += is_false and (in_bucket is None or in_bucket(longer_side(detection.box_px) / unit))
        for hand, by, counts in zip(match.hands, match.found_by, is_in, strict=True):
            if by is not None and counts:
                errors.append(joint_errors(match.detections[by], hand))
                sides.append((hand.side, match.detections[by].side))
    return _scores(len(matches), hands, doubled, false, np.array(errors).reshape(-1, JOINT_COUNT), sides)


def _scores(
    pictures: int,
    hands: int,
    doubled: int,
    false: int,
    errors: NDArray[np.float64],
    sides: Sequence[tuple[Side, Side]],
) -> DetectionScores:
    """``errors`` [found, 21] and the (true, found) ``sides`` are those of the hands found."""
    found = len(errors)
    agreements = [true == said for true, said in sides if true in SIDES and said in SIDES]
    is_labelled = ~np.isnan(errors)
    joints = int(is_labelled.sum())
    with np.errstate(invalid="ignore"):
        by_joint = np.nansum(errors, axis=0) / is_labelled.sum(axis=0)
    return DetectionScores(
        pictures=pictures,
        hands=hands,
        found=found,
        recall=_share(found, hands),
        detections=found + doubled + false,
        precision=_share(found, found + doubled + false),
        doubled=doubled,
        doubled_share=_share(doubled, hands),
        false=false,
        false_per_picture=_share(false, pictures),
        sides=len(agreements),
        side_accuracy=_share(sum(agreements), len(agreements)),
        sides_unknown=sum(true in SIDES and said not in SIDES for true, said in sides),
        joints=joints,
        pck={f"{limit:g}": _share(int((errors <= limit).sum()), joints) for limit in PCK_THRESHOLDS},
        mean_error_percent=float(100 * np.nansum(errors) / joints) if joints else None,
        joint_error_percent={
            name: None if np.isnan(error) else float(100 * error)
            for name, error in zip(JOINT_NAMES, by_joint, strict=True)
        },
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def score_by_size(
    matches: Sequence[PictureMatch], starts: Sequence[float] = SIZES_PX, *, relative: bool = False
) -> dict[str, DetectionScores]:
    """`score_detections` in each bucket of sizes that holds a hand or a mistake, smallest first.

    ``starts`` are where the buckets begin, in pixels of the box's longer side or ``relative`` to that of the
    picture. A bucket's name is ``60-120`` or, the last, ``480-``.
    """
    ends = (*starts[1:], np.inf)
    buckets = {}
    for start, end in zip(starts, ends, strict=True):
        scores = score_detections(matches, lambda size: start <= size < end, relative=relative)  # noqa: B023
        if scores.hands or scores.detections:
            buckets[f"{start:g}-" + ("" if np.isinf(end) else f"{end:g}")] = scores
    return buckets
