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
from handsim.detection.networks import FittedHand, HandNetworks, Palm, square_around_joints
from handsim.detection.search import (
    Look,
    fill,
    is_crop,
    look_again,
    look_at_all,
    look_beside,
    look_closer,
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
"""A hand that is less sure is fitted again."""
_HOPEFUL_PRESENCE: Final = 0.05
"""So is what is no hand yet but may become one: a fit around closed fingers often starts too small."""
_FITS: Final = 3
_DENIED_PRESENCE: Final = 0.3
"""What falls below this when it is fitted again never was a hand."""
_PROVEN_PRESENCE: Final = 0.97
"""A hand that one palm alone shows, and that is less sure, must be the same in a larger square ..."""
_PROOF_LARGER: Final = 1.25
_PROOF_DISTANCE: Final = 0.15
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
        """See `HandDetector.detect`; `Detection.stage` names the look that found the hand."""
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
    """The search in one picture. What each look finds is put with what those before it found."""

    def __init__(self, networks: HandNetworks, picture: NDArray[np.uint8]) -> None:
        self._networks, self._picture = networks, picture
        self._palms: list[Palm] = []
        self._fits: list[Detection] = []

    def run(self, is_quick: bool) -> list[Detection]:
        """The hands, best first."""
        if is_quick:
            return self._look(islice(look_at_all(self._picture), 1))
        hands = self._look(chain(look_at_all(self._picture), look_closer(self._picture)))
        if self._is_filled_by(hands):
            return hands
        hands = hands or self._look(look_again(self._picture))
        return self._look_beside(hands) or self._fill()

    def _is_filled_by(self, hands: list[Detection]) -> bool:
        """Whether the picture is a crop of a hand, and that was found."""
        longest = max(map(hand_size, hands), default=0.0)
        return is_crop(self._picture) and longest >= _NEARLY_WHOLE * max(self._picture.shape[:2])

    def _look(self, looks: Iterable[Look]) -> list[Detection]:
        """The hands that these looks and those before them show, each once, best first."""
        found = [
            (palm, look.stage)
            for look in looks
            for palm in self._networks.find_palms(self._picture, look.square, _MIN_PALM_SCORE)
        ]
        for palm, stage in sorted(found, key=lambda pair: -pair[0].score):
            if any(_overlap(palm.box_px, other.box_px) > _SAME_PALM_IOU for other in self._palms):
                continue
            self._palms.append(palm)
            fitted = self._fit(palm)
            if fitted.presence >= _MIN_PRESENCE and palm.score * fitted.presence >= _MIN_EVIDENCE:
                self._fits.append(_to_detection(fitted, stage))
        return [hand for hand in merge_detections(_drop_dubious(self._fits)) if self._is_proven(hand)]

    def _look_beside(self, hands: list[Detection]) -> list[Detection]:
        """The hands and those clasped with them, which the palm network sees once a hand is painted over."""
        others: list[Detection] = []
        for hand in hands:
            beside = _Search(self._networks, without_hand(self._picture, hand))
            found = beside._look([look_beside(hand)])
            others += [
                other
                for other in found
                if not _is_left_of(hand, other)
                and not any(
                    is_same_hand(other, one) or _is_doubted(other, one, beside._fits)
                    for one in hands
                    if one is not hand
                )
            ]
        return sorted([*hands, *merge_detections(others)], key=lambda one: -one.score)

    def _fit(self, palm: Palm) -> FittedHand:
        fitted = self._networks.fit_joints(self._picture, palm.hand)
        if fitted.presence < _MIN_PRESENCE and palm.score >= _PLAIN_PALM:
            larger = self._networks.fit_joints(self._picture, palm.hand.scaled(_LARGER))
            fitted = max(fitted, larger, key=lambda fit: fit.presence)
        for _ in range(_FITS - 1):
            if not _HOPEFUL_PRESENCE <= fitted.presence < _SURE_PRESENCE:
                break
            again = self._networks.fit_joints(self._picture, square_around_joints(fitted.keypoints_px))
            if again.presence < _DENIED_PRESENCE <= _MIN_PRESENCE <= fitted.presence:
                return again
            fitted = max(fitted, again, key=lambda fit: fit.presence)
        return fitted

    def _is_proven(self, hand: Detection) -> bool:
        """Whether a hand is sure, or was seen in two palms, or is still there in a larger square."""
        if hand.score >= _PROVEN_PRESENCE or _is_seen_again(hand, self._fits):
            return True
        square = square_around_joints(hand.keypoints_px).scaled(_PROOF_LARGER)
        fitted = self._networks.fit_joints(self._picture, square)
        again = _to_detection(fitted, hand.stage)
        return fitted.presence >= _DENIED_PRESENCE and joint_distance(hand, again) < _PROOF_DISTANCE

    def _fill(self) -> list[Detection]:
        """The one hand that fills the picture, in whichever of four directions it points."""
        fits = [
            self._networks.fit_joints(self._picture, square)
            for square in fill(self._picture, _FILL_ENLARGEMENT)
        ]
        best = max(fits, key=lambda fit: fit.presence, default=None)
        if best is None or best.presence < _FILL_MIN_PRESENCE:
            return []
        return [_to_detection(best, "full-image box")]


def _to_detection(fitted: FittedHand, stage: str) -> Detection:
    side: Side = "right" if fitted.rightness > 0.5 else "left"
    side_score = max(fitted.rightness, 1 - fitted.rightness)
    return Detection(side, fitted.presence, fitted.keypoints_px, stage, side_score, detector=NAME)


def _drop_dubious(fits: list[Detection]) -> list[Detection]:
    """The fits without those that another, surer one makes doubtful."""
    return [hand for hand in fits if not any(_is_doubted(hand, other, fits) for other in fits)]


def _is_doubted(hand: Detection, other: Detection, fits: list[Detection]) -> bool:
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
    return lies_on_other and not _is_seen_again(hand, fits)


def _is_left_of(painted: Detection, hand: Detection) -> bool:
    """Whether a hand is what is left of one that was painted over: small, or its joints lie under paint."""
    if hand_size(hand) < _NO_SMALLER * hand_size(painted) or is_at_same_place(hand, painted):
        return True
    most = MAX_SHARE_ON_FLESH if hand.score >= _SURE_PRESENCE else _COVERING_SHARE
    return share_on_flesh(hand, painted) > most


def _is_seen_again(hand: Detection, fits: list[Detection]) -> bool:
    """Whether another palm led to the same joints."""
    return any(fit is not hand and joint_distance(hand, fit) < _SEEN_AGAIN for fit in fits)


def _overlap(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes [4]."""
    common = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0).prod()
    union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - common
    return float(common / union) if union > 0 else 0.0
