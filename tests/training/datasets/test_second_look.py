"""What a detector contradicts is named, by one that reads the coloured joints of drawn pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.errors import HandsimError
from handsim.geometry import mirror_points
from handsim.hand import Side
from tests.training.drawn_hands import DrawnHands, dot_colour
from training.datasets.bad_labels import FEWEST_HANDS
from training.datasets.record import HandLabel, LabelledHand
from training.datasets.second_look import SecondLook, take_second_look

COLOURS = np.array([dot_colour(joint) for joint in range(21)], np.float64)
HANDS = 30
SEEN = 29
"""Of them; in one picture a dot hides another."""


class DotDetector:
    """Finds the one hand of a drawn picture, to a pixel or two, by its dots; none where one is missing.

    It takes every hand for a right one.
    """

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        return [self._find(picture.astype(np.float64)) for picture in pictures]

    def _find(self, picture: NDArray[np.float64]) -> list[Detection]:
        points = []
        for colour in COLOURS:
            rows, columns = np.nonzero(np.abs(picture - colour).max(axis=2) < 20)
            if not len(rows):
                return []
            points.append((columns.mean() + 0.5, rows.mean() + 0.5, 0.0))
        keypoints = np.array(points, np.float32)
        return [Detection("right", 1.0, keypoints, side_score=0.95, detector="dots")]

    def close(self) -> None:
        """There is nothing to close."""


class FaultyLabels(DrawnHands):
    """Pictures that lie in files of their own, and labels that are not theirs in some rows."""

    def __init__(self, faults: dict[int, str], hands: int = HANDS) -> None:
        super().__init__(hands, scale=2.0)
        self.skipped, self._faults = 0, faults

    def files(self, index: int) -> tuple[Path, ...]:
        return (Path(f"{index}.png"),)

    def label(self, index: int) -> HandLabel:
        label, fault = super().label(index), self._faults.get(index)
        width = np.ptp(label.keypoints_2d_px, axis=0).max()
        if fault == "moved":
            return replace(
                label, keypoints_2d_px=label.keypoints_2d_px + np.array([0.3 * width, 0], np.float32)
            )
        if fault == "next":
            return replace(label, keypoints_2d_px=label.keypoints_2d_px[:, ::-1].copy())
        if fault == "far":
            return replace(label, keypoints_2d_px=label.keypoints_2d_px + np.float32(900))
        return label

    def __getitem__(self, index: int) -> LabelledHand:
        if self._faults.get(index) == "damaged":
            raise HandsimError("cut short")
        image = DrawnHands(len(self), scale=2.0)[index].image
        if self._faults.get(index) == "empty":
            image = np.zeros_like(image)
        return LabelledHand(**vars(self.label(index)), image=image)


def look(
    faults: dict[int, str], count: int = HANDS, named: Sequence[int] = (), hands: int = HANDS
) -> SecondLook:
    dataset = FaultyLabels(faults, hands)
    drawn = [(dataset, row, dataset.label(row)) for row in range(hands)]
    return take_second_look(drawn, named, count, DotDetector())


def test_labels_that_are_elsewhere_or_of_another_hand_are_named_and_unseen_hands_are_counted() -> None:
    sound = look({})
    assert sound.bad == ()
    assert sound.finding.numbers["seen"] == SEEN
    second = look({3: "moved", 8: "next", 12: "far", 15: "empty", 20: "damaged"})
    assert second.finding.verdict == "passed"
    assert (second.finding.numbers["looked_at"], second.finding.numbers["seen"]) == (29, SEEN - 2)
    reasons = {bad.row: bad.reasons for bad in second.bad}
    assert set(reasons) == {3, 8, 12}
    assert reasons[3] == ("the detector sees it 0.30 of its size away",)
    assert any("the detector sees another pose" in reason for reason in reasons[8])
    assert second.bad[0].row == 12
    assert f"saw {SEEN - 2} of 29 hands" in second.finding.detail


def test_a_set_with_labels_of_other_pictures_fails_and_names_nobody() -> None:
    second = look(dict.fromkeys(range(HANDS), "next"))
    assert (second.finding.verdict, second.bad) == ("failed", ())
    assert "do not seem to belong to the pictures" in second.finding.detail


def test_named_hands_beyond_the_sample_are_looked_at_too_and_few_are_not_compared() -> None:
    second = look({27: "moved", 28: "moved"}, count=FEWEST_HANDS, named=[28, 27])
    assert {bad.row for bad in second.bad} == {27, 28}
    assert second.finding.numbers["looked_at"] == FEWEST_HANDS + 2
    few = look({1: "moved"}, hands=FEWEST_HANDS - 1)
    assert (few.finding.verdict, few.bad) == ("skipped", ())


class TwoInAPicture(FaultyLabels):
    """Rows 2n and 2n + 1 are of one picture, which shows the first hand alone."""

    def files(self, index: int) -> tuple[Path, ...]:
        return (Path(f"{index // 2}.png"),)

    def label(self, index: int) -> HandLabel:
        label = DrawnHands.label(self, index - index % 2)
        side: Side = "left" if index % 2 else "right"
        if index % 2:
            width = label.size_px[0]
            points = mirror_points(label.keypoints_2d_px, width) + np.array([60, 20], np.float32)
            return replace(label, side=side, keypoints_2d_px=points)
        return replace(label, side=side)

    def __getitem__(self, index: int) -> LabelledHand:
        image = DrawnHands(len(self), scale=2.0)[index - index % 2].image
        label = self.label(index)
        return LabelledHand(**vars(label), image=image[:, ::-1] if index % 2 else image)


def test_a_hand_that_is_another_labels_is_not_taken_for_the_hand() -> None:
    dataset = TwoInAPicture({}, 60)
    drawn = [(dataset, row, dataset.label(row)) for row in range(60)]
    second = take_second_look(drawn, [], 60, DotDetector())
    is_drawn = [bool(DotDetector().detect([dataset[row].image])[0]) for row in range(0, 60, 2)]
    assert second.finding.numbers["seen"] == sum(is_drawn) > FEWEST_HANDS
    assert second.bad == ()


class Mirrored(FaultyLabels):
    """A right hand that is labelled left is mirrored when it is read, and the detector sees that."""

    def __getitem__(self, index: int) -> LabelledHand:
        hand = super().__getitem__(index)
        return replace(hand, image=255 - hand.image) if index in self._faults else hand


class SideDetector(DotDetector):
    """Takes pictures in the opposite colours for those of left hands."""

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        found = []
        for picture in pictures:
            is_left = picture.mean() > 140
            hands = super().detect([255 - picture if is_left else picture])[0]
            found.append([replace(hand, side="left" if is_left else "right") for hand in hands])
        return found


@pytest.mark.parametrize(("faulty", "named"), [(range(2), {0, 1}), (range(0, HANDS, 2), set())])
def test_other_sides_are_named_where_they_are_few(faulty: range, named: set[int]) -> None:
    dataset = Mirrored(dict.fromkeys(faulty, "side"))
    drawn = [(dataset, row, dataset.label(row)) for row in range(HANDS)]
    second = take_second_look(drawn, [], HANDS, SideDetector())
    assert {bad.row for bad in second.bad} == named
    if named:
        assert second.bad[0].reasons == ("labelled as a right hand, and the detector sees a left one",)
