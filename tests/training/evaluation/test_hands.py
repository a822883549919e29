"""Predictions are matched to a split's hands by their names."""

from dataclasses import replace

import numpy as np
import pytest

from handsim.errors import HandsimError
from tests.training.evaluation.some_hands import some_predictions
from training.evaluation.predictions import PredictedHands


def _rows(hands: PredictedHands, rows: list[int]) -> PredictedHands:
    assert hands.camera_3d_mm is not None
    return PredictedHands(
        tuple(hands.sample_ids[row] for row in rows),
        tuple(hands.sides[row] for row in rows),
        hands.joints_3d_mm[rows],
        hands.camera_3d_mm[rows],
        hands.keypoints_2d_px[rows],
        hands.confidence[rows],
    )


def test_another_order_is_put_right() -> None:
    hands = some_predictions(5)
    sorted_again = _rows(hands, [3, 0, 4, 1, 2]).in_order_of(hands.sample_ids, "file")
    assert sorted_again.sample_ids == hands.sample_ids
    assert sorted_again.sides == hands.sides
    for name in ("joints_3d_mm", "camera_3d_mm", "keypoints_2d_px", "confidence"):
        np.testing.assert_array_equal(getattr(sorted_again, name), getattr(hands, name))


def test_the_right_order_is_left_alone() -> None:
    hands = some_predictions(3)
    assert hands.in_order_of(hands.sample_ids, "file") is hands


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [0, 1, 2],
            "p has predictions for 3 hands and the split has 4; the first one without is set/0003: pre",
        ),
        (
            [0, 1, 1, 2, 3],
            "for 5 hands and the split has 4; set/0001 is there twice: predict the split again",
        ),
        ([0, 1, 2, 3, 4], "for 5 hands and the split has 4; set/0004 is none of its hands: .* --split"),
    ],
)
def test_other_counts_are_told_with_the_first_culprit(rows: list[int], said: str) -> None:
    hands = some_predictions(5)
    with pytest.raises(HandsimError, match=said):
        _rows(hands, rows).in_order_of(hands.sample_ids[:4], "p")


def test_as_many_hands_of_another_split_are_told() -> None:
    hands = some_predictions(2)
    others = replace(hands, sample_ids=("set/0000", "val/0001"))
    with pytest.raises(HandsimError, match=r"2 hands and the split has 2; the first one without is set/0001"):
        others.in_order_of(hands.sample_ids, "p")
