"""Checked joints and the three alignments, against Horn's fit and by what each of them forgives."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.alignment import (
    Floats,
    PoseComparison,
    align_procrustes,
    align_root,
    align_root_and_scale,
    compare_poses,
)
from handsim.metrics.pose import joint_errors_mm
from tests.handsim.builders import random_hands
from tests.handsim.metrics.oracles import orthogonal_fit, rotation_of, similarity_fit

SEEDS = st.integers(0, 2**32 - 1)


def with_predictions(poses: PoseComparison, predicted_mm: Floats) -> PoseComparison:
    return compare_poses(predicted_mm, poses.true_mm, poses.valid)


def squared_errors(aligned: PoseComparison) -> Floats:
    """Sum over the joints of each hand [N]."""
    total: Floats = np.nansum(joint_errors_mm(aligned) ** 2, axis=1)
    return total


def test_root_relative_is_the_difference_of_what_is_relative() -> None:
    hands = random_hands(0)
    aligned = align_root(hands, root=9)
    for moved, predicted, true in zip(aligned.predicted_mm, hands.predicted_mm, hands.true_mm, strict=True):
        np.testing.assert_allclose(moved - true, (predicted - predicted[9]) - (true - true[9]))
    np.testing.assert_array_equal(aligned.valid, hands.valid)
    np.testing.assert_allclose(align_root(hands).predicted_mm[:, 0], hands.true_mm[:, 0])


@given(SEEDS, st.floats(0.2, 5))
def test_root_and_scale_forgives_translation_and_scale_alone(seed: int, scale: float) -> None:
    hands = random_hands(seed)
    moved = with_predictions(hands, hands.predicted_mm * scale + (30, -20, 500))
    after = align_root_and_scale(moved).predicted_mm
    np.testing.assert_allclose(after, align_root_and_scale(hands).predicted_mm, atol=1e-6)
    bones = np.linalg.norm(after[:, 9] - after[:, 0], axis=1)
    np.testing.assert_allclose(bones, np.linalg.norm(hands.true_mm[:, 9] - hands.true_mm[:, 0], axis=1))


@given(SEEDS, st.sampled_from([1.0, 0.7, 0.3]))
def test_procrustes_is_horns_fit_of_the_valid_joints(seed: int, valid_share: float) -> None:
    hands = random_hands(seed, valid_share=valid_share)
    proper, official = align_procrustes(hands, proper=True), align_procrustes(hands, proper=False)
    for hand, valid in enumerate(hands.valid):
        if valid.sum() < 3:
            assert np.isnan(proper.predicted_mm[hand]).all()
            continue
        predicted, true = hands.predicted_mm[hand, valid], hands.true_mm[hand, valid]
        np.testing.assert_allclose(
            proper.predicted_mm[hand, valid], similarity_fit(predicted, true), atol=1e-6
        )
        best = float(((orthogonal_fit(predicted, true) - true) ** 2).sum())
        assert squared_errors(official)[hand] == pytest.approx(best, abs=1e-6)


@given(SEEDS, st.booleans(), st.floats(0.1, 10))
def test_procrustes_forgives_every_similarity(seed: int, proper: bool, scale: float) -> None:
    hands = random_hands(seed, valid_share=0.8)
    align = partial(align_procrustes, proper=proper)
    turn = rotation_of(np.random.default_rng(seed).normal(size=4))
    moved = with_predictions(hands, hands.predicted_mm @ turn.T * scale + (10, 20, 30))
    np.testing.assert_allclose(align(moved).predicted_mm, align(hands).predicted_mm, atol=1e-6)
    same = with_predictions(hands, np.nan_to_num(hands.true_mm @ turn.T * scale + (10, 20, 30)))
    assert squared_errors(align(same)).max() < 1e-12


@given(SEEDS, st.integers(0, 2))
def test_a_mirrored_hand_is_perfect_officially_and_not_properly(seed: int, axis: int) -> None:
    hands = random_hands(seed)
    hands.predicted_mm[:] = hands.true_mm
    hands.predicted_mm[..., axis] *= -1
    assert squared_errors(align_procrustes(hands, proper=False)).max() < 1e-12
    assert squared_errors(align_procrustes(hands, proper=True)).min() > 1


@given(SEEDS, st.booleans())
def test_no_similarity_nearby_fits_better(seed: int, proper: bool) -> None:
    hands, random = random_hands(seed, count=1), np.random.default_rng(seed)
    aligned = align_procrustes(hands, proper=proper)
    fit, true = aligned.predicted_mm[0], hands.true_mm[0]
    turn = np.eye(3) + np.cross(np.eye(3), random.normal(0, 0.01, 3))
    other = (fit - fit[0]) @ turn.T * (1 + random.normal(0, 0.01)) + fit[0] + random.normal(0, 0.5, 3)
    assert squared_errors(aligned)[0] <= ((other - true) ** 2).sum()


def test_joints_that_are_not_valid_move_along_but_decide_nothing() -> None:
    hands = random_hands(1, valid_share=0.6)
    hands.valid[:, [0, 9]] = True
    true = random_hands(1).true_mm
    for align in (align_root, align_root_and_scale, partial(align_procrustes, proper=True)):
        fit = align(compare_poses(hands.predicted_mm, true, hands.valid)).predicted_mm
        assert np.isfinite(fit).all()
        for anything in (1e6, np.nan):
            wrong = np.where(hands.valid[..., None], hands.predicted_mm, anything)
            wrong_true = np.where(hands.valid[..., None], true, anything)
            other = align(compare_poses(wrong, wrong_true, hands.valid)).predicted_mm
            np.testing.assert_array_equal(other[hands.valid], fit[hands.valid])


def test_hands_without_the_joints_to_align_by_are_left_out() -> None:
    hands = random_hands(2)
    hands.valid[1, 0] = hands.valid[2, 9] = False
    hands.valid[3, 2:] = False
    for aligned, left_out in (
        (align_root(hands), {1}),
        (align_root_and_scale(hands), {1, 2, 3}),
        (align_procrustes(hands, proper=True), {3}),
    ):
        for hand in range(6):
            assert np.isnan(aligned.predicted_mm[hand]).all() == (hand in left_out)
            np.testing.assert_array_equal(aligned.valid[hand], hands.valid[hand] & (hand not in left_out))


def test_a_prediction_at_one_point_stays_one() -> None:
    hands = random_hands(3)
    hands.predicted_mm[:] = np.random.default_rng(3).normal((0.1, 0.2, 700.3), 1e-5, hands.true_mm.shape)
    by_bone = align_root_and_scale(hands).predicted_mm
    np.testing.assert_allclose(by_bone, np.broadcast_to(hands.true_mm[:, :1], by_bone.shape))
    for proper in (True, False):
        by_fit = align_procrustes(hands, proper=proper).predicted_mm
        centre = hands.true_mm.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(by_fit, np.broadcast_to(centre, by_fit.shape))


def test_hands_on_a_line_are_fitted_too() -> None:
    line = np.zeros((1, 21, 3))
    line[..., 0] = np.arange(21)
    poses = compare_poses(line[..., [2, 0, 1]] * 3 + 5, line, np.ones((1, 21), dtype=bool))
    for proper in (True, False):
        np.testing.assert_allclose(align_procrustes(poses, proper=proper).predicted_mm, line, atol=1e-9)


def test_a_true_hand_at_one_point_is_refused() -> None:
    hands = random_hands(4)
    hands.true_mm[2] = 7
    with pytest.raises(HandsimError, match=r"true hand of sample 2 lie at one point; mend the annotation"):
        align_procrustes(hands, proper=False)


@pytest.mark.parametrize(
    ("kind", "remedy"), [("true", "mend the annotation"), ("predicted", "predict again")]
)
def test_a_bone_without_length_is_refused(kind: str, remedy: str) -> None:
    hands = random_hands(5)
    joints = {"true": hands.true_mm, "predicted": hands.predicted_mm}[kind]
    joints[4, 9] = joints[4, 0]
    message = rf"the {kind} bone from wrist to middle_mcp of sample 4 is shorter than 0.001 mm.*; {remedy}"
    with pytest.raises(HandsimError, match=message):
        align_root_and_scale(hands)
    hands.valid[4, 9] = False
    assert not align_root_and_scale(hands).valid[4].any()


@pytest.mark.parametrize("shape", [(6, 20, 3), (6, 21, 2), (6, 63), (6, 21, 3, 1)])
def test_joints_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    hands = random_hands(3)
    with pytest.raises(HandsimError, match=r"predicted joints have shape .*; expected \[N, 21, 3\]"):
        compare_poses(np.zeros(shape), hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match=r"true joints have shape .*; expected \[N, 21, 3\]"):
        compare_poses(hands.predicted_mm, np.zeros(shape), hands.valid)
    with pytest.raises(HandsimError, match=r"predicted joints have shape \(\)"):
        compare_poses(0.0, hands.true_mm, hands.valid)


@pytest.mark.parametrize("valid", [np.ones((6, 20), bool), np.ones((5, 21), bool), np.ones((6, 21), int)])
def test_another_mask_is_refused(valid: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    hands = random_hands(4)
    with pytest.raises(HandsimError, match=r"valid has shape .* and type .*; expected bool \[6, 21\]"):
        compare_poses(hands.predicted_mm, hands.true_mm, valid)


def test_predictions_for_another_number_of_hands_are_refused() -> None:
    hands = random_hands(2)
    with pytest.raises(HandsimError, match=r"predictions for 5 hands, but the truth has 6; predict every"):
        compare_poses(hands.predicted_mm[:5], hands.true_mm, hands.valid)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_valid_joints_that_are_not_finite_are_refused(number: float) -> None:
    hands = random_hands(5)
    hands.predicted_mm[3:5, 8, 1] = number
    message = rf"prediction of sample 3 is .*{number}.* mm at index_tip \(2 of 6 samples .*\); predict again"
    with pytest.raises(HandsimError, match=message):
        with_predictions(hands, hands.predicted_mm)
    hands = random_hands(6)
    hands.true_mm[2, 0] = number
    with pytest.raises(HandsimError, match=r"truth of sample 2 .* at wrist .*; mend the annotation or mark"):
        with_predictions(hands, hands.predicted_mm)
