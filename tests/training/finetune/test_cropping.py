"""Squares around hands, and the crops in them."""

from dataclasses import replace

import numpy as np
import pytest

from handsim.geometry import apply_affine, crop_affine
from tests.training.finetune.drawn_hands import DrawnHands, dot_colour
from training.finetune.data import CropSettings, cut_hand, hand_square

ALL = np.ones(21, np.bool_)


def test_the_square_has_the_box_in_its_middle() -> None:
    points = np.full((21, 2), 30.0)
    points[3], points[7] = (10, 20), (50, 40)
    assert hand_square(points, ALL, (100, 80), 1.75) == pytest.approx([-5, -5, 65, 65])
    some = ALL.copy()
    some[7] = False
    assert hand_square(points, some, (100, 80), 2.0) == pytest.approx([0, 5, 40, 45])


@pytest.mark.parametrize("keep", [[], [5]])
def test_too_few_joints_take_the_whole_picture(keep: list[int]) -> None:
    valid = np.zeros(21, np.bool_)
    valid[keep] = True
    assert hand_square(np.full((21, 2), 7.0), valid, (100, 80), 1.75) == pytest.approx([0, -10, 100, 90])


def test_a_straight_line_has_a_square() -> None:
    points = np.zeros((21, 2))
    points[:, 1] = np.linspace(10, 30, 21)
    assert hand_square(points, ALL, (100, 80), 1.5) == pytest.approx([-15, 5, 15, 35])


@pytest.mark.parametrize("factor", [1.0, 1.75, 2.6])
def test_dots_lie_where_the_crops_keypoints_are(factor: float) -> None:
    hand = DrawnHands(1, scale=2.5)[0]
    cut = cut_hand(hand, CropSettings(factor, 160))
    assert cut.crop.shape == (160, 160, 3)
    back = apply_affine(crop_affine(cut.square_px, 1.0), hand.keypoints_2d_px.astype(np.float64))
    assert cut.keypoints == pytest.approx(back, abs=1e-6)
    extent = cut.keypoints.max(axis=0) - cut.keypoints.min(axis=0)
    assert extent.max() == pytest.approx(1 / factor, abs=1e-6)
    for joint, (x, y) in enumerate(cut.keypoints * 160):
        if 1 < x < 159 and 1 < y < 159:
            assert np.abs(cut.crop[int(y), int(x)].astype(int) - dot_colour(joint)).max() < 40, joint


def test_joints_without_annotation_lie_in_the_middle_of_the_others() -> None:
    hand = DrawnHands(1, invalid={0: [4, 8]})[0]
    cut = cut_hand(hand, CropSettings(1.75, 32))
    middle = cut.keypoints[hand.valid].mean(axis=0)
    assert cut.keypoints[[4, 8]] == pytest.approx(np.stack([middle, middle]), abs=1e-6)
    none = cut_hand(replace(hand, valid=np.zeros(21, np.bool_)), CropSettings(1.75, 32))
    assert (none.keypoints == 0.5).all()
