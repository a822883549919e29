"""Several detectors in a row: each is asked where those before it found nothing or are unsure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector, UndetectedError
from handsim.detection.merge import hand_size, is_same_hand, merge_detections

SURE_SCORE: Final = 0.8
"""A hand that scores less is looked for once more."""
_PART_OF_HAND: Final = 0.7
"""Of the size of a sure hand: a smaller one there is a finger or a fold that was taken for a hand."""


class ChainedDetector:
    """A `HandDetector` that asks others in turn, and puts together what they find."""

    def __init__(self, detectors: Sequence[HandDetector]) -> None:
        """``detectors``, the first one first, are closed with this one."""
        self._detectors = tuple(detectors)

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`; `Detection.detector` names the one that found it."""
        found: list[list[Detection]] = [[] for _ in pictures]
        failures: dict[int, str] = {}
        for detector in self._detectors:
            places = [place for place, hands in enumerate(found) if is_unsure(hands)]
            if not places:
                break
            try:
                more = detector.detect([pictures[place] for place in places])
            except UndetectedError as error:
                more = error.found
                failures |= {places[number]: why for number, why in error.failures.items()}
            for place, hands in zip(places, more, strict=True):
                found[place] = combine(found[place], hands)
        if failures:
            raise UndetectedError(found, failures)
        return found

    def close(self) -> None:
        """Close all of them."""
        for detector in self._detectors:
            detector.close()


def is_unsure(hands: Sequence[Detection]) -> bool:
    """Whether another detector is to look: there is no hand, or one with a low score or of unknown side."""
    return not hands or any(hand.score < SURE_SCORE or hand.side == "unknown" for hand in hands)


def combine(hands: Sequence[Detection], later: Sequence[Detection]) -> list[Detection]:
    """The hands of a picture and those that a later detector found there, best first, each hand once.

    Of the same hand the earlier detection stays if it is sure and no mere part of it, else the later one is
    taken if that is; a side that it does not know is the other's.
    """
    combined = list(hands)
    for hand in later:
        same = [place for place, other in enumerate(combined) if is_same_hand(hand, other)]
        if same:
            place = min(same, key=lambda place: _distance(hand, combined[place]))
            combined[place] = _choose(combined[place], hand)
        else:
            combined.append(hand)
    return merge_detections(combined)


def _choose(earlier: Detection, later: Detection) -> Detection:
    small, large = sorted((earlier, later), key=hand_size)
    if hand_size(small) < _PART_OF_HAND * hand_size(large) and large.score >= SURE_SCORE:
        chosen, other = large, small
    else:
        is_later = earlier.score < SURE_SCORE <= later.score
        chosen, other = (later, earlier) if is_later else (earlier, later)
    if chosen.side == "unknown":
        return replace(chosen, side=other.side, side_score=other.side_score)
    return chosen


def _distance(hand: Detection, other: Detection) -> float:
    """The mean distance of their joints in pixels."""
    return float(np.linalg.norm((hand.keypoints_px - other.keypoints_px)[:, :2], axis=1).mean())
