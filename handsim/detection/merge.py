"""Which detections are the same hand, found twice.

Boxes alone do not tell: those of one fist found at two scales overlap as little as those of two clasped
hands. So joints are compared, too. In 151 scenes made of photographs, clasped and closed hands above all, 104
pairs of fits were of two neighbouring hands: their palms were at least 0.36 apart (in sizes of the larger
hand), and in all but one at most 0.57 of the joints of one lay on the other's flesh.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.skeleton import BONES

_SAME_PALM: Final = 0.35
"""Hands whose palms' centres are nearer than this, in sizes of the larger hand, and ..."""
_SAME_JOINTS: Final = 0.3
"""... whose joints are nearer than this on average, are one."""
MAX_SHARE_ON_FLESH: Final = 0.72
"""So are hands of which more joints than this of the smaller lie on the larger one."""
FLESH: Final = 0.1
"""How far the flesh reaches around the bones, in sizes of the hand."""
_PART_OF_HAND: Final = 0.7
"""A hand smaller than this, in sizes of the same hand found larger, is a part of it taken for a hand: ..."""
_PART_SURENESS: Final = 0.8
"""... and goes, unless the larger one scores less than this much of its score."""
PALM: Final = (0, 5, 9, 13, 17)
_PALM_EDGES: Final = ((5, 9), (9, 13), (13, 17))
FLESHY: Final = np.array([*BONES, *_PALM_EDGES])
"""Pairs of joints with flesh between them."""


def merge_detections(detections: Iterable[Detection]) -> list[Detection]:
    """The detections, best first, each hand once; sides are not compared.

    Of a hand found twice the higher score stays, except against a much smaller one: the palm detector takes
    a finger or a fold for a palm now and then, and the small wrong hand drawn there may score high.
    """
    unique: list[Detection] = []
    for candidate in sorted(detections, key=lambda detection: -detection.score):
        same = [other for other in unique if is_same_hand(candidate, other)]
        if all(_is_part(other, candidate) for other in same):
            unique = [other for other in unique if not any(other is part for part in same)]
            unique.append(candidate)
    return sorted(unique, key=lambda detection: -detection.score)


def is_same_hand(hand: Detection, other: Detection) -> bool:
    """Whether two detections in one picture show the same hand."""
    small, large = sorted((hand, other), key=hand_size)
    return is_at_same_place(small, large) or share_on_flesh(small, large) > MAX_SHARE_ON_FLESH


def is_at_same_place(hand: Detection, other: Detection) -> bool:
    """Whether palms and joints of two detections are where those of one hand may be."""
    return palm_distance(hand, other) < _SAME_PALM and joint_distance(hand, other) < _SAME_JOINTS


def hand_size(hand: Detection) -> float:
    """The longer side of its box, in pixels."""
    return float((hand.box_px[2:] - hand.box_px[:2]).max())


def palm_distance(hand: Detection, other: Detection) -> float:
    """How far apart the centres of two palms are, in sizes of the larger hand."""
    apart = (hand.keypoints_px[PALM, :2] - other.keypoints_px[PALM, :2]).mean(axis=0)
    return float(np.hypot(*apart)) / max(hand_size(hand), hand_size(other), 1e-6)


def joint_distance(hand: Detection, other: Detection) -> float:
    """How far apart their joints are on average, in sizes of the larger hand."""
    apart = np.linalg.norm((hand.keypoints_px - other.keypoints_px)[:, :2], axis=1).mean()
    return float(apart) / max(hand_size(hand), hand_size(other), 1e-6)


def share_on_flesh(hand: Detection, other: Detection) -> float:
    """The share of a hand's joints that lie on another hand, 0 to 1."""
    points, bones = hand.keypoints_px[:, :2], other.keypoints_px[FLESHY, :2]
    return float((_distances_to(points, bones) < FLESH * hand_size(other)).mean())


def _is_part(small: Detection, large: Detection) -> bool:
    is_smaller = hand_size(small) < _PART_OF_HAND * hand_size(large)
    return is_smaller and large.score > _PART_SURENESS * small.score


def _distances_to(points: NDArray[np.float32], bones: NDArray[np.float32]) -> NDArray[np.float64]:
    """From each point [N, 2] to the nearest of the segments [B, 2, 2], [N]."""
    start, along = bones[:, 0], bones[:, 1] - bones[:, 0]
    offsets = points[:, None] - start
    length = np.maximum((along**2).sum(axis=1), 1e-9)
    share = np.clip((offsets * along).sum(axis=2) / length, 0, 1)
    return np.asarray(np.linalg.norm(offsets - share[..., None] * along, axis=2).min(axis=1))
