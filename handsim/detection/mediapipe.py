"""The default detector: MediaPipe's networks, and a search for palms over the whole picture and its parts."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.detection.merge import (
    MAX_SHARE_ON_FLESH,
    hand_size,
    is_at_same_place,
    is_same_hand,
    joint_distance,
    merge_detections,
    palm_distance,
    share_on_flesh,
)
from handsim.detection.networks import HandLandmarks, HandNetworks, Palm, square_around_joints
from handsim.detection.search import (
    Region,
    coarse_regions,
    fill,
    is_crop,
    region_beside,
    retry_regions,
    tile_regions,
    without_hand,
)
from handsim.errors import HandsimError
from handsim.hand import Side

NAME: Final = "mediapipe"
_MIN_PALM_SCORE: Final = 0.2
_MIN_EVIDENCE: Final = 0.3
"""Of the palm's score times presence; of 208 hands found in scenes 5 have less, of the false ones most."""
_MIN_PRESENCE: Final = 0.6
"""Below this it is no hand."""
_SURE_PRESENCE: Final = 0.9
"""The joints of a hand that is less sure are predicted again."""
_HOPEFUL_PRESENCE: Final = 0.05
"""So is what is no hand yet but may become one: the first square around closed fingers is often too small."""
_PREDICTIONS: Final = 3
_DENIED_PRESENCE: Final = 0.3
"""What falls below this when its joints are predicted again never was a hand."""
_CONFIRMED_PRESENCE: Final = 0.97
"""A hand that one palm alone shows, and that is less sure, must be the same in a larger square ..."""
_CONFIRMING_SCALE: Final = 1.25
_CONFIRMING_DISTANCE: Final = 0.15
"""... with joints no further away than this on average, in sizes of the hand. A nose is not."""
_PLAIN_PALM: Final = 0.3
"""A palm that scores this is given a larger square before it is given up ..."""
_LARGER: Final = 1.5
"""... so many times as long."""
_SAME_PALM_IOU: Final = 0.4
_NEARLY_WHOLE: Final = 0.4
"""A hand this long, in longer sides of a crop, is what the crop was cut around: no other is looked for."""
_FILL_ENLARGEMENT: Final = 1.1
"""The network was trained on boxes with some air around the hand."""
_FILL_MIN_PRESENCE: Final = 0.9
"""High, because no palm was found: alone, the joint network takes many things for a hand."""
# Of a hand beside a surer one; distances in sizes of the larger, shares of the joints that lie on the other.
_NO_SMALLER: Final = 0.7
_SMALL: Final = 0.5
_TOUCHING_PALMS: Final = 0.7
_TOUCHING_SHARE: Final = 0.15
_COVERING_PALMS: Final = 0.35
_COVERING_SHARE: Final = 0.6
_SEEN_AGAIN: Final = 0.2


class MediaPipeHands:
    """Finds hands, for one thread at a time. The score is the joint network's presence: that it is a hand."""

    def __init__(self, model_path: Path, *, quick: bool = False) -> None:
        """Load a ``.task`` bundle (see `require_model`); raises HandsimError for what is none.

        With ``quick`` each picture is looked at once as a whole: small hands in a large picture are missed.
        """
        self._networks: HandNetworks | None = HandNetworks(model_path)
        self._is_quick = quick

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`; `Detection.stage` names the region that showed the hand."""
        if self._networks is None:
            raise ValueError("this detector is closed")
        for picture in pictures:
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
                raise HandsimError(
                    f"picture is {picture.dtype} {list(picture.shape)}; expected uint8 [H, W, 3] (RGB)"
                )
        return [
            _Search(self._networks, np.ascontiguousarray(picture)).run(self._is_quick) for picture in pictures
        ]

    def close(self) -> None:
        """Release the networks; calling it twice is harmless."""
        self._networks = None


class _Search:
    """The search in one picture. What each region shows is put with what those before it showed."""

    def __init__(self, networks: HandNetworks, picture: NDArray[np.uint8]) -> None:
        self._networks, self._picture = networks, picture
        self._palms: list[Palm] = []
        self._candidates: list[Detection] = []

    def run(self, is_quick: bool) -> list[Detection]:
        """The hands, best first."""
        if is_quick:
            return self._detect(islice(coarse_regions(self._picture), 1))
        hands = self._detect(chain(coarse_regions(self._picture), tile_regions(self._picture)))
        if self._is_filled_by(hands):
            return hands
        hands = hands or self._detect(retry_regions(self._picture))
        return self._search_beside(hands) or self._fill()

    def _is_filled_by(self, hands: list[Detection]) -> bool:
        """Whether the picture is a crop of a hand, and that was found."""
        longest = max(map(hand_size, hands), default=0.0)
        return is_crop(self._picture) and longest >= _NEARLY_WHOLE * max(self._picture.shape[:2])

    def _detect(self, regions: Iterable[Region]) -> list[Detection]:
        """The hands that these regions and those before them show, each once, best first."""
        found = [
            (palm, region.stage)
            for region in regions
            for palm in self._networks.find_palms(self._picture, region.square, _MIN_PALM_SCORE)
        ]
        for palm, stage in sorted(found, key=lambda pair: -pair[0].score):
            if any(_overlap(palm.box_px, other.box_px) > _SAME_PALM_IOU for other in self._palms):
                continue
            self._palms.append(palm)
            landmarks = self._predict(palm)
            if landmarks.presence >= _MIN_PRESENCE and palm.score * landmarks.presence >= _MIN_EVIDENCE:
                self._candidates.append(_to_detection(landmarks, stage))
        return [
            hand for hand in merge_detections(_drop_dubious(self._candidates)) if self._is_confirmed(hand)
        ]

    def _search_beside(self, hands: list[Detection]) -> list[Detection]:
        """The hands and those clasped with them, which the palm network sees once a hand is painted over."""
        others: list[Detection] = []
        for hand in hands:
            beside = _Search(self._networks, without_hand(self._picture, hand))
            found = beside._detect([region_beside(hand)])
            others += [
                other
                for other in found
                if not _is_left_of(hand, other)
                and not any(
                    is_same_hand(other, one) or _is_doubted(other, one, beside._candidates)
                    for one in hands
                    if one is not hand
                )
            ]
        return sorted([*hands, *merge_detections(others)], key=lambda one: -one.score)

    def _predict(self, palm: Palm) -> HandLandmarks:
        landmarks = self._networks.predict_joints(self._picture, palm.hand)
        if landmarks.presence < _MIN_PRESENCE and palm.score >= _PLAIN_PALM:
            larger = self._networks.predict_joints(self._picture, palm.hand.scaled(_LARGER))
            landmarks = max(landmarks, larger, key=lambda one: one.presence)
        for _ in range(_PREDICTIONS - 1):
            if not _HOPEFUL_PRESENCE <= landmarks.presence < _SURE_PRESENCE:
                break
            again = self._networks.predict_joints(self._picture, square_around_joints(landmarks.keypoints_px))
            if again.presence < _DENIED_PRESENCE <= _MIN_PRESENCE <= landmarks.presence:
                return again
            landmarks = max(landmarks, again, key=lambda one: one.presence)
        return landmarks

    def _is_confirmed(self, hand: Detection) -> bool:
        """Whether a hand is sure, or was seen in two palms, or is still there in a larger square."""
        if hand.score >= _CONFIRMED_PRESENCE or _is_seen_again(hand, self._candidates):
            return True
        square = square_around_joints(hand.keypoints_px).scaled(_CONFIRMING_SCALE)
        landmarks = self._networks.predict_joints(self._picture, square)
        again = _to_detection(landmarks, hand.stage)
        return landmarks.presence >= _DENIED_PRESENCE and joint_distance(hand, again) < _CONFIRMING_DISTANCE

    def _fill(self) -> list[Detection]:
        """The one hand that fills the picture, in whichever of four directions it points."""
        candidates = [
            self._networks.predict_joints(self._picture, square)
            for square in fill(self._picture, _FILL_ENLARGEMENT)
        ]
        best = max(candidates, key=lambda one: one.presence, default=None)
        if best is None or best.presence < _FILL_MIN_PRESENCE:
            return []
        return [_to_detection(best, "full-image box")]


def _to_detection(landmarks: HandLandmarks, stage: str) -> Detection:
    side: Side = "right" if landmarks.rightness > 0.5 else "left"
    side_score = max(landmarks.rightness, 1 - landmarks.rightness)
    return Detection(side, landmarks.presence, landmarks.keypoints_px, stage, side_score, detector=NAME)


def _drop_dubious(candidates: list[Detection]) -> list[Detection]:
    """The candidates without those that another, surer one makes doubtful."""
    return [
        hand for hand in candidates if not any(_is_doubted(hand, other, candidates) for other in candidates)
    ]


def _is_doubted(hand: Detection, other: Detection, candidates: list[Detection]) -> bool:
    """Whether a hand is rather a part of another one that it touches.

    It is unsure and small; or it lies on the other, and was seen in no second palm. A hand behind another is
    seen in several palms, a fold of a fist is not.
    """
    size, other_size = hand_size(hand), hand_size(other)
    if other.score <= hand.score or other_size < _NO_SMALLER * size:
        return False
    apart, share = palm_distance(hand, other), share_on_flesh(hand, other)
    if size < _SMALL * other_size and hand.score < _SURE_PRESENCE:
        return apart < _TOUCHING_PALMS or share > _TOUCHING_SHARE
    lies_on_other = apart < _COVERING_PALMS or share > _COVERING_SHARE
    return lies_on_other and not _is_seen_again(hand, candidates)


def _is_left_of(painted: Detection, hand: Detection) -> bool:
    """Whether a hand is what is left of one that was painted over: small, or its joints lie under paint."""
    if hand_size(hand) < _NO_SMALLER * hand_size(painted) or is_at_same_place(hand, painted):
        return True
    most = MAX_SHARE_ON_FLESH if hand.score >= _SURE_PRESENCE else _COVERING_SHARE
    return share_on_flesh(hand, painted) > most


def _is_seen_again(hand: Detection, candidates: list[Detection]) -> bool:
    """Whether another palm led to the same joints."""
    return any(other is not hand and joint_distance(hand, other) < _SEEN_AGAIN for other in candidates)


def _overlap(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes [4]."""
    common = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0).prod()
    union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - common
    return float(common / union) if union > 0 else 0.0
