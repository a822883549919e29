"""RTMPose as a detector: one network finds hands, another one 21 joints in each.

RTMPose does not tell a left hand from a right one. A whole-body network that sees the picture does, if there
is one; else MediaPipe is asked about the hand's crop. A hand that neither knows stays of unknown side.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector, UndetectedError
from handsim.detection.merge import merge_detections
from handsim.detection.model import name_model, require_model
from handsim.detection.openmmlab import BODY_JOINT_COUNT, BoxNetwork, PoseNetwork, read_network
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import apply_affine, crop_affine, cut_crop, invert_affine, square_around
from handsim.hand import SIDES, Side
from handsim.skeleton import JOINT_COUNT

NAME: Final = "rtmpose"

_MIN_HAND_SCORE: Final = 0.3
"""Mean score of its joints from which a picture that no detector looked at is taken for a hand."""
_LONGEST_HAND: Final = 1.5
"""The longest picture that one hand fills, in shorter sides."""

_BODY_WRISTS: Final[dict[Side, int]] = {"left": 9, "right": 10}
_BODY_HANDS: Final[dict[Side, slice]] = {"left": slice(91, 112), "right": slice(112, 133)}
"""Joints of COCO-WholeBody; those of its hands are in our order."""
_MIN_BODY_SCORE: Final = 0.3
"""OpenMMLab's bound for a joint that is seen."""
_SAME_HAND: Final = 0.3
"""Distance of joints, in longer sides of the hand's box, up to which two networks mean the same hand."""
_MIN_SIDE_SCORE: Final = 0.6
"""A hand that lies nearly as close to one hand of the body as to the other is taken for neither."""
_OPINION_ENLARGEMENT: Final = 2.0
"""Of the hand's box: MediaPipe's palm detector knows hands that take up half of what it sees."""
_OPINION_PX: Final = 256


class RtmposeHands:
    """Finds hands with networks in ONNX files, for one thread at a time."""

    def __init__(self, models: Sequence[Path], mediapipe_model: Path | None = None) -> None:
        """Open the networks; ``mediapipe_model`` gives the second opinion (None: that in the cache, if any).

        Raises as `read_network` does; HandsimError for two networks of one kind and without one for the
        joints; NotThereError where ``mediapipe_model`` is not there.
        """
        networks = [read_network(path) for path in models]
        for number, network in enumerate(networks):
            for other in networks[:number]:
                if network.kind == other.kind:
                    files = f"{other.network.path} and {network.network.path}"
                    raise HandsimError(f"{files} are both a {network.kind}; give one of them")
        poses = {network.joint_count: network for network in networks if isinstance(network, PoseNetwork)}
        self._boxes = next((network for network in networks if isinstance(network, BoxNetwork)), None)
        self._body = poses.get(BODY_JOINT_COUNT)
        if JOINT_COUNT not in poses:
            raise HandsimError(
                "--detector rtmpose needs RTMPose's network for joints of hands, and one that finds hands "
                f"(given: {', '.join(network.kind for network in networks) or 'none'}); give each with "
                "--detector-model FILE (docs/detectors.md says where they are to be had)"
            )
        self._hand = poses[JOINT_COUNT]
        self._mediapipe_model = _find_mediapipe(mediapipe_model)
        self._mediapipe: HandDetector | None = None

    def describe(self) -> str:
        """The kinds of the networks, each with its file's SHA-256, and who else is asked for the side."""
        networks = (self._boxes, self._hand, self._body)
        parts = [f"{network.kind} {network.network.sha256}" for network in networks if network is not None]
        if self._mediapipe_model is not None:
            parts.append(f"side by {name_model(self._mediapipe_model)} mediapipe model")
        return f"{NAME}: {', '.join(parts)}"

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`. The score is the box's, or without a box the mean of the joints'."""
        try:
            return self._detect(pictures)
        except HandsimError:  # a network fails, or answers NaN: which pictures are to blame?
            found: list[list[Detection]] = [[] for _ in pictures]
            failures = {}
            for place, picture in enumerate(pictures):
                try:
                    found[place] = self._detect([picture])[0]
                except HandsimError as error:
                    failures[place] = str(error)
            if failures:
                raise UndetectedError(found, failures) from None
            return found

    def _detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        boxes = self._boxes.find(pictures) if self._boxes else [_full_box(picture) for picture in pictures]
        owners = [number for number, rows in enumerate(boxes) for _ in rows]
        rows = [row for rows in boxes for row in rows]
        joints, scores = self._hand.locate([pictures[owner] for owner in owners], [row[:4] for row in rows])
        found: list[list[Detection]] = [[] for _ in pictures]
        for owner, row, points, joint_scores in zip(owners, rows, joints, scores, strict=True):
            score = float(row[4] if self._boxes else joint_scores.mean())
            is_hand = self._boxes is not None or score >= _MIN_HAND_SCORE
            if is_hand and np.ptp(points, axis=0).all():  # joints all in one bin have no box
                keypoints_px = np.pad(points, ((0, 0), (0, 1)))
                found[owner].append(
                    Detection("unknown", score, keypoints_px, joint_scores=joint_scores, detector=NAME)
                )
        found = [merge_detections(hands) for hands in found]
        self._look_at_bodies(pictures, found)
        self._ask_mediapipe(pictures, found)
        return found

    def close(self) -> None:
        """Release the networks; calling it twice is harmless."""
        for network in (self._boxes, self._hand, self._body):
            if network is not None:
                network.network.close()
        if self._mediapipe is not None:
            self._mediapipe.close()

    def _look_at_bodies(self, pictures: Sequence[NDArray[np.uint8]], found: list[list[Detection]]) -> None:
        """Give each hand of ``found`` the side of the whole body's hand that it is."""
        occupied = [number for number, hands in enumerate(found) if hands]
        if self._body is None or not occupied:
            return
        shown = [pictures[number] for number in occupied]
        joints, scores = self._body.locate(shown, [_frame(picture) for picture in shown])
        for number, body_px, body_scores in zip(occupied, joints, scores, strict=True):
            found[number] = [side_by_body(hand, body_px, body_scores) for hand in found[number]]

    def _ask_mediapipe(self, pictures: Sequence[NDArray[np.uint8]], found: list[list[Detection]]) -> None:
        """Give each hand of ``found`` that has no side yet the one that MediaPipe sees in its crop."""
        if self._mediapipe_model is None:
            return
        for picture, hands in zip(pictures, found, strict=True):
            for ordinal, hand in enumerate(hands):
                if hand.side == "unknown":
                    if self._mediapipe is None:
                        from handsim.detection.mediapipe import MediaPipeHands

                        self._mediapipe = MediaPipeHands(self._mediapipe_model, quick=True)
                    hands[ordinal] = side_by_opinion(hand, picture, self._mediapipe)


def side_by_body(hand: Detection, body_px: NDArray[np.float32], scores: NDArray[np.float32]) -> Detection:
    """The hand with the side of the whole body's hand that it lies on, or whose wrist is at its own.

    The body is COCO-WholeBody's: joints [133, 2] in the picture's pixels and their scores [133]. A hand that
    is far from both, or about as near to one as to the other, stays as it is.
    """
    distances: dict[Side, float] = dict.fromkeys(SIDES, np.inf)
    for side in SIDES:
        joints, wrist = _BODY_HANDS[side], _BODY_WRISTS[side]
        if scores[joints].mean() >= _MIN_BODY_SCORE:
            distances[side] = _distance(hand, body_px[joints])
        elif scores[wrist] >= _MIN_BODY_SCORE:
            distances[side] = _distance(hand, body_px[wrist : wrist + 1])
    near, far = sorted(SIDES, key=distances.__getitem__)
    if distances[near] > _SAME_HAND:
        return hand
    certainty = distances[far] / (distances[near] + distances[far]) if distances[far] < np.inf else 1.0
    return replace(hand, side=near, side_score=certainty) if certainty >= _MIN_SIDE_SCORE else hand


def side_by_opinion(hand: Detection, picture: NDArray[np.uint8], detector: HandDetector) -> Detection:
    """The hand with the side that another detector gives it, if that finds it where this one did."""
    square_px = square_around(hand.box_px, _OPINION_ENLARGEMENT)
    to_picture = invert_affine(crop_affine(square_px, _OPINION_PX))
    others = {
        _distance(hand, apply_affine(to_picture, other.keypoints_px)): other
        for other in detector.detect([cut_crop(picture, square_px, _OPINION_PX)])[0]
    }
    nearest = min(others, default=np.inf)
    if nearest > _SAME_HAND:
        return hand
    return replace(hand, side=others[nearest].side, side_score=others[nearest].side_score)


def _distance(hand: Detection, joints_px: NDArray[np.float32]) -> float:
    """Mean distance of the hand's first joints from others [J, 2 or 3], in longer sides of its box."""
    apart = hand.keypoints_px[: len(joints_px), :2] - joints_px[:, :2]
    length_px = (hand.box_px[2:] - hand.box_px[:2]).max()
    return float(np.linalg.norm(apart, axis=1).mean() / length_px)


def _frame(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The box [4] of the whole picture."""
    return np.array([0, 0, *picture.shape[1::-1]], dtype=np.float32)


def _full_box(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """That box as a detector's [1, 5]; [0, 5] where the picture is too long for one hand to fill it."""
    row = np.append(_frame(picture), np.float32(1))
    return row[None][: max(picture.shape[:2]) <= _LONGEST_HAND * min(picture.shape[:2])]


def _find_mediapipe(model: Path | None) -> Path | None:
    try:
        return require_model(model)
    except NotThereError:
        if model is not None:
            raise
        return None
