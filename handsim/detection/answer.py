"""What a detector program may answer about a picture; docs/detectors.md has the table of its fields."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.detection.merge import merge_detections
from handsim.errors import HandsimError
from handsim.hand import SIDES
from handsim.skeleton import JOINT_COUNT, WRIST

_SHOWN: Final = 200
"""Characters of an answer in a message."""


def read_answer(answer: dict[str, Any], width: int, height: int, detector: str) -> list[Detection]:
    """The hands of a picture of that size in pixels, best first.

    Raises HandsimError for an answer that tells of an error or has a bad value: what the program did, as a
    verb and what follows it.
    """
    if answer.get("error"):
        raise HandsimError(f"says {str(answer['error'])[:_SHOWN]!r}")
    hands = answer.get("hands")
    if not isinstance(hands, list):
        raise HandsimError("answered wrongly: there is no list of hands")
    detections = []
    for number, hand in enumerate(hands, start=1):
        try:
            detections.append(_read_hand(hand, width, height, detector))
        except HandsimError as error:
            raise HandsimError(f"answered wrongly: hand {number}: {error}") from error
    return merge_detections(detections)


def _read_hand(hand: Any, width: int, height: int, detector: str) -> Detection:
    if not isinstance(hand, dict):
        raise HandsimError("it is no JSON object")
    side = hand.get("side")
    if side is not None and side not in SIDES:
        raise HandsimError(f"side is {str(side)[:20]!r}; give left, right or null")
    score = _fraction(hand, "score", 0.0)
    scores = hand.get("joint_scores")
    return Detection(
        side="unknown" if side is None else side,
        score=1.0 if score is None else score,
        keypoints_px=_read_keypoints(hand.get("keypoints"), width, height),
        side_score=_fraction(hand, "side_score", 0.5),
        joint_scores=None if scores is None else _read_joint_scores(scores),
        detector=detector,
    )


def _read_keypoints(joints: Any, width: int, height: int) -> NDArray[np.float32]:
    """Keypoints [21, 3] in pixels, z from the wrist and 0 where there is none."""
    if not isinstance(joints, list) or len(joints) != JOINT_COUNT:
        count = f"a list of {len(joints)}" if isinstance(joints, list) else "no list"
        raise HandsimError(f"keypoints are {count}; give {JOINT_COUNT}")
    dimensions = {len(joint) if isinstance(joint, list) else 0 for joint in joints}
    if dimensions not in ({2}, {3}):
        raise HandsimError("keypoints are not all [x, y], and not all [x, y, z]")
    points = np.zeros((JOINT_COUNT, 3))
    for number, joint in enumerate(joints):
        if not all(map(_is_number, joint)):
            raise HandsimError(f"joint {number} is {str(joint)[:_SHOWN]}; give finite numbers")
        points[number, : len(joint)] = joint
    points[:, 2] -= points[WRIST, 2]
    size = np.array([width, height])
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    if (high - low).max() <= 1:
        raise HandsimError("all keypoints lie within one pixel; they are in pixels, not parts of the picture")
    is_far = (points[:, :2] < -size) | (points[:, :2] > 2 * size)
    is_inside = (points[:, :2] >= 0) & (points[:, :2] <= size)
    if is_far.any() or not is_inside.all(axis=1).any():
        where = f"from x {low[0]:.0f}, y {low[1]:.0f} to x {high[0]:.0f}, y {high[1]:.0f}"
        raise HandsimError(
            f"keypoints reach {where}, too far outside of the picture of {width} x {height} pixels"
        )
    return points.astype(np.float32)


def _read_joint_scores(scores: Any) -> NDArray[np.float32]:
    is_list = isinstance(scores, list) and len(scores) == JOINT_COUNT
    if not is_list or not all(_is_number(score) and 0 <= score <= 1 for score in scores):
        raise HandsimError(f"joint_scores are not {JOINT_COUNT} numbers from 0 to 1")
    return np.array(scores, np.float32)


def _fraction(hand: dict[str, Any], field: str, least: float) -> float | None:
    """A number from ``least`` to 1; None where it is not given."""
    value = hand.get(field)
    if value is not None and not (_is_number(value) and least <= value <= 1):
        raise HandsimError(f"{field} is {str(value)[:_SHOWN]}; give a number from {least:g} to 1")
    return value if value is None else float(value)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number that a float32 can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
