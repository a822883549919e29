"""A second opinion on labels: what a hand detector sees in their pictures, without knowing the labels.

Labels of another picture, and a hand that was moved in 3D together with its projections, agree with
themselves (see `training.datasets.bad_labels`). Only the picture contradicts them. The detector looks at the
part around the labelled hand, and where it sees no hand there, at the whole picture. A hand that is nearer to
another label of the picture is that one's.

A detector errs as well, and in every set by another amount. So what is compared is by how much it differs
from a label, against the usual difference in the set (`deviations`), in sides of the hand's box:

- **place**: how far apart the middles of the labelled and of the seen joints are.
- **pose**: how far the joints are from each other on average, once the middles lie on each other.
- **side**: a left hand where the label is of a right one, or the other way round. Only in a set in which the
  detector rarely says so.

Hands that it does not see are counted and are not bad: small, hidden and closed hands are often missed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector
from handsim.errors import HandsimError
from handsim.geometry import box_around, square_around
from handsim.metrics.detection import longer_side
from training.datasets.bad_labels import FEWEST_HANDS, LIMIT, BadLabel, deviations
from training.datasets.record import HandLabel, StoredDataset
from training.datasets.sanity import Finding

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

NAME: Final = "second look"
_AROUND: Final = 2.0
"""Side of the part that is looked at first, in longer sides of the hand's box."""
_LEAST_PX: Final = 16
"""A smaller part shows no hand."""
_PLACE_FLOOR: Final = 0.02
_POSE_FLOOR: Final = 0.02
_CLEAR_SIDE: Final = 0.9
"""How sure the detector must be of a side."""
_MOST_OTHER_SIDES: Final = 0.1
"""Share of the seen hands of which it may give the other side, for its word on sides to count."""
_OF_OTHER_PICTURES: Final = 0.2
"""Median distance of the joints from those seen, in sides of the box, beyond which labels and pictures of a
set do not belong together. Right labels have 0.03 to 0.1, those of other crops of hands 0.3."""


@dataclass(frozen=True)
class Look:
    """What was seen of a labelled hand."""

    place: float
    """Distance of the middles of the joints, in longer sides of the labelled box."""
    pose: float
    """Mean distance of the joints once the middles lie on each other, in the same unit."""
    apart: float
    """Mean distance of the joints where they are, in the same unit."""
    other_side: bool
    """Whether a hand of the other side was seen, and surely."""


@dataclass(frozen=True)
class SecondLook:
    finding: Finding
    bad: tuple[BadLabel, ...]
    """The labels that differ unusually from what was seen, the worst first."""


DrawnHands = Sequence[tuple[StoredDataset, int, HandLabel]]
"""Dataset, index and label."""


def take_second_look(
    hands: DrawnHands,
    named: Sequence[int],
    count: int,
    detector: HandDetector,
    progress: Progress | None = None,
) -> SecondLook:
    """Look at the first ``count`` of ``hands``, which are in random order, and at as many of those ``named``.

    ``named`` are rows of hands that stand out by their labels, the worst first; they are measured against
    what is usual among the first ones.
    """
    sample = list(range(min(count, len(hands))))
    rows = sample + [row for row in named if row >= len(sample)][:count]
    looks: dict[int, Look] = {}
    looked = 0
    for number, row in enumerate(rows):
        if progress:
            progress(number, len(rows))
        dataset, index, label = hands[row]
        try:
            image, others = dataset[index].image, _others_in_picture(dataset, index, label)
        except HandsimError:  # what cannot be read is a finding of its own
            continue
        looked += 1
        look = look_at(image, label, others, detector)
        if look is not None:
            looks[row] = look
    if progress:
        progress(len(rows), len(rows))
    usual = [looks[row] for row in sample if row in looks]
    numbers = {"looked_at": float(looked), "seen": float(len(looks))}
    if len(usual) < FEWEST_HANDS:
        detail = f"the detector saw {len(looks)} of {looked} hands, too few to compare: {FEWEST_HANDS} are"
        return SecondLook(Finding(NAME, "skipped", f"{detail} needed", numbers), ())
    apart = float(np.median([look.apart for look in usual]))
    numbers["median_distance"] = apart
    seen = f"the detector saw {len(looks)} of {looked} hands, in the median {apart:.2f} of their size from "
    if apart > _OF_OTHER_PICTURES:
        detail = f"{seen}their labels: these do not seem to belong to the pictures"
        return SecondLook(Finding(NAME, "failed", detail, numbers), ())
    bad = _differing(looks, usual, hands)
    numbers["differ"] = float(len(bad))
    detail = f"{seen}their labels; {len(bad)} differ more than others"
    return SecondLook(Finding(NAME, "passed", detail, numbers), bad)


def look_at(
    image: NDArray[np.uint8], label: HandLabel, others: Sequence[Floats], detector: HandDetector
) -> Look | None:
    """What a detector sees of the labelled hand in its image [H, W, 3]; None where it sees none.

    ``others`` are the joints [21, 2] of the image's other labels, NaN where unknown.
    """
    truth = label.keypoints_2d_px.astype(np.float64)
    known = np.isfinite(truth).all(axis=1)
    if not known.any():
        return None
    box = box_around(truth[known])
    side = max(longer_side(box), 1.0)
    seen = _detect_around(image, np.concatenate([box[:2], np.maximum(box[2:], box[:2] + 1)]), detector)
    own = [hand for hand in seen if not any(_apart(hand, other) < _apart(hand, truth) for other in others)]
    if not own:
        return None
    hand = min(own, key=lambda hand: _apart(hand, truth))
    offsets = (hand.keypoints_px[known, :2] - truth[known]) / side
    middle = offsets.mean(axis=0)
    return Look(
        place=float(np.hypot(*middle)),
        pose=float(np.linalg.norm(offsets - middle, axis=1).mean()),
        apart=float(np.linalg.norm(offsets, axis=1).mean()),
        other_side=hand.side == "left" and (hand.side_score or 0.0) >= _CLEAR_SIDE,  # all are right hands
    )


def _detect_around(image: NDArray[np.uint8], box_px: Floats, detector: HandDetector) -> list[Detection]:
    """The hands in the part of an image around a box; where there is none, those of the whole image."""
    height, width = image.shape[:2]
    square = np.clip(square_around(box_px, _AROUND), 0, (width, height, width, height))
    x0, y0, x1, y1 = square.round().astype(int).tolist()
    if min(x1 - x0, y1 - y0) >= _LEAST_PX and (x1 - x0, y1 - y0) != (width, height):
        found = detector.detect([np.ascontiguousarray(image[y0:y1, x0:x1])])[0]
        for hand in found:
            hand.keypoints_px[:, :2] += (x0, y0)
        if found:
            return found
    return detector.detect([image])[0]


def _apart(hand: Detection, joints_px: Floats) -> float:
    return float(np.nanmean(np.linalg.norm(hand.keypoints_px[:, :2] - joints_px, axis=1)))


def _others_in_picture(dataset: StoredDataset, index: int, label: HandLabel) -> list[Floats]:
    """The joints [21, 2] of other hands of the picture, as it is given for this hand.

    Datasets give the hands of one picture one after the other.
    """
    picture = dataset.files(index)[0]
    others = []
    for step in (-1, 1):
        other = index + step
        while 0 <= other < len(dataset) and dataset.files(other)[0] == picture:
            neighbour = dataset.label(other)
            if neighbour.side != label.side:  # one of the two is in the mirror image
                neighbour = neighbour.mirrored()
            if neighbour.valid.any():
                others.append(neighbour.keypoints_2d_px.astype(np.float64))
            other += step
    return others


def _differing(looks: dict[int, Look], usual: Sequence[Look], hands: DrawnHands) -> tuple[BadLabel, ...]:
    rows = list(looks)
    found: dict[int, list[tuple[float, str]]] = {}
    for name, floor in (("place", _PLACE_FLOOR), ("pose", _POSE_FLOOR)):
        values, among = (np.array([getattr(look, name) for look in each]) for each in (looks.values(), usual))
        for row, z in zip(rows, deviations(values, floor, among).tolist(), strict=True):
            if z > LIMIT:
                found.setdefault(row, []).append((z / LIMIT, _describe(name, looks[row])))
    if np.mean([look.other_side for look in usual]) <= _MOST_OTHER_SIDES:
        for row, look in looks.items():
            if look.other_side:
                side = hands[row][2].side
                other = "right" if side == "left" else "left"
                reason = f"labelled as a {side} hand, and the detector sees a {other} one"
                found.setdefault(row, []).append((1.0, reason))
    bad = []
    for row, reasons in found.items():
        ordered = sorted(reasons, reverse=True)
        bad.append(BadLabel(row, tuple(reason for _, reason in ordered), ordered[0][0]))
    return tuple(sorted(bad, key=lambda label: -label.excess))


def _describe(quantity: str, look: Look) -> str:
    if quantity == "place":
        return f"the detector sees it {look.place:.2f} of its size away"
    return f"the detector sees another pose, by {look.pose:.2f} of its size"
