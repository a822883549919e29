from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.alignment import AlignedHands, align_procrustes, align_root, align_root_and_scale
from handsim.metrics.pose import joint_errors_mm
from tests.handsim.metrics.hands import Floats, Hands, random_hands, random_rotation
from tests.handsim.metrics.oracles import orthogonal_fit, similarity_fit

SEEDS = st.integers(0, 2**32 - 1)


def procrustes(hands: Hands, *, proper: bool) -> AlignedHands:
    return align_procrustes(hands.predicted_mm, hands.true_mm, hands.valid, proper=proper)


def squared(aligned: AlignedHands, true_mm: Floats) -> Floats:
    """Sum of squared errors of each hand [N]."""
    total: Floats = np.nansum(joint_errors_mm(aligned.predicted_mm, true_mm, aligned.valid) ** 2, axis=1)
    return total


def test_root_relative_is_the_difference_of_what_is_relative() -> None:
    hands = random_hands(0)
    aligned = align_root(hands.predicted_mm, hands.true_mm, hands.valid, root=9)
    for hand in range(6):
        predicted, true = hands.predicted_mm[hand], hands.true_mm[hand]
        np.testing.assert_allclose(
            aligned.predicted_mm[hand] - true, (predicted - predicted[9]) - (true - true[9])
        )
    np.testing.assert_array_equal(aligned.valid, hands.valid)
    wrist = align_root(hands.predicted_mm, hands.true_mm, hands.valid)
    np.testing.assert_allclose(wrist.predicted_mm[:, 0], hands.true_mm[:, 0])


@given(SEEDS, st.floats(0.2, 5))
def test_root_and_scale_forgives_translation_and_scale_alone(seed: int, scale: float) -> None:
    hands = random_hands(seed)
    moved = hands.predicted_mm * scale + (30, -20, 500)
    before = align_root_and_scale(hands.predicted_mm, hands.true_mm, hands.valid).predicted_mm
    after = align_root_and_scale(moved, hands.true_mm, hands.valid).predicted_mm
    np.testing.assert_allclose(after, before, atol=1e-6)
    bones = np.linalg.norm(after[:, 9] - after[:, 0], axis=1)
    np.testing.assert_allclose(bones, np.linalg.norm(hands.true_mm[:, 9] - hands.true_mm[:, 0], axis=1))


@given(SEEDS, st.sampled_from([1.0, 0.7, 0.3]))
def test_procrustes_is_horns_fit_of_the_valid_joints(seed: int, valid_share: float) -> None:
    hands = random_hands(seed, valid_share=valid_share)
    proper, official = procrustes(hands, proper=True), procrustes(hands, proper=False)
    for hand, valid in enumerate(hands.valid):
        if valid.sum() < 3:
            assert np.isnan(proper.predicted_mm[hand]).all()
            continue
        predicted, true = hands.predicted_mm[hand, valid], hands.true_mm[hand, valid]
        np.testing.assert_allclose(
            proper.predicted_mm[hand, valid], similarity_fit(predicted, true), atol=1e-6
        )
        best = float(((orthogonal_fit(predicted, true) - true) ** 2).sum())
        assert squared(official, hands.true_mm)[hand] == pytest.approx(best, abs=1e-6)


@given(SEEDS, st.booleans(), st.floats(0.1, 10))
def test_procrustes_forgives_every_similarity(seed: int, proper: bool, scale: float) -> None:
    hands = random_hands(seed, valid_share=0.8)
    turn = random_rotation(np.random.default_rng(seed))
    moved = Hands(hands.predicted_mm @ turn.T * scale + (10, 20, 30), hands.true_mm, hands.valid)
    np.testing.assert_allclose(
        procrustes(moved, proper=proper).predicted_mm,
        procrustes(hands, proper=proper).predicted_mm,
        atol=1e-6,
    )
    same = Hands(hands.true_mm @ turn.T * scale + (10, 20, 30), hands.true_mm, hands.valid)
    assert squared(procrustes(same, proper=proper), hands.true_mm).max() < 1e-12


@given(SEEDS, st.integers(0, 2))
def test_a_mirrored_hand_is_perfect_officially_and_not_properly(seed: int, axis: int) -> None:
    hands = random_hands(seed)
    mirrored = hands.true_mm.copy()
    mirrored[..., axis] *= -1
    both = Hands(mirrored, hands.true_mm, hands.valid)
    assert squared(procrustes(both, proper=False), hands.true_mm).max() < 1e-12
    assert squared(procrustes(both, proper=True), hands.true_mm).min() > 1


@given(SEEDS, st.booleans())
def test_no_similarity_nearby_fits_better(seed: int, proper: bool) -> None:
    hands, random = random_hands(seed, count=1), np.random.default_rng(seed)
    aligned = procrustes(hands, proper=proper)
    fit, true = aligned.predicted_mm[0], hands.true_mm[0]
    turn = np.eye(3) + np.cross(np.eye(3), random.normal(0, 0.01, 3))
    other = (fit - fit[0]) @ turn.T * (1 + random.normal(0, 0.01)) + fit[0] + random.normal(0, 0.5, 3)
    assert squared(aligned, hands.true_mm)[0] <= ((other - true) ** 2).sum()


def test_joints_that_are_not_valid_move_along_but_decide_nothing() -> None:
    hands = random_hands(1, valid_share=0.6)
    hands.valid[:, [0, 9]] = True
    true = random_hands(1).true_mm
    for align in (align_root, align_root_and_scale, partial(align_procrustes, proper=True)):
        fit = align(hands.predicted_mm, true, hands.valid).predicted_mm
        assert np.isfinite(fit).all()
        for anything in (1e6, np.nan):
            wrong = np.where(hands.valid[..., None], hands.predicted_mm, anything)
            other = align(wrong, np.where(hands.valid[..., None], true, anything), hands.valid).predicted_mm
            np.testing.assert_array_equal(other[hands.valid], fit[hands.valid])


def test_hands_without_the_joints_to_align_by_are_left_out() -> None:
    hands = random_hands(2)
    hands.valid[1, 0] = hands.valid[2, 9] = False
    hands.valid[3, 2:] = False
    by_root = align_root(hands.predicted_mm, hands.true_mm, hands.valid)
    by_bone = align_root_and_scale(hands.predicted_mm, hands.true_mm, hands.valid)
    by_fit = procrustes(hands, proper=True)
    for aligned, left_out in ((by_root, {1}), (by_bone, {1, 2, 3}), (by_fit, {3})):
        for hand in range(6):
            assert np.isnan(aligned.predicted_mm[hand]).all() == (hand in left_out)
            np.testing.assert_array_equal(aligned.valid[hand], hands.valid[hand] & (hand not in left_out))


def test_a_prediction_at_one_point_stays_one() -> None:
    hands = random_hands(3)
    point = np.random.default_rng(3).normal((0.1, 0.2, 700.3), 1e-5, hands.true_mm.shape)
    by_bone = align_root_and_scale(point, hands.true_mm, hands.valid).predicted_mm
    np.testing.assert_allclose(by_bone, np.broadcast_to(hands.true_mm[:, :1], by_bone.shape))
    for proper in (True, False):
        by_fit = align_procrustes(point, hands.true_mm, hands.valid, proper=proper).predicted_mm
        centre = hands.true_mm.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(by_fit, np.broadcast_to(centre, by_fit.shape))


def test_hands_on_a_line_are_fitted_too() -> None:
    line = np.zeros((1, 21, 3))
    line[..., 0] = np.arange(21)
    turned = line[..., [2, 0, 1]] * 3 + 5
    for proper in (True, False):
        aligned = procrustes(Hands(turned, line, np.ones((1, 21), dtype=bool)), proper=proper)
        np.testing.assert_allclose(aligned.predicted_mm, line, atol=1e-9)


def test_a_true_hand_at_one_point_is_refused() -> None:
    hands = random_hands(4)
    hands.true_mm[2] = 7
    with pytest.raises(HandsimError, match=r"true hand of sample 2 lie at one point; mend the annotation"):
        procrustes(hands, proper=False)


@pytest.mark.parametrize(
    ("kind", "remedy"), [("true", "mend the annotation"), ("predicted", "predict again")]
)
def test_a_bone_without_length_is_refused(kind: str, remedy: str) -> None:
    hands = random_hands(5)
    joints = {"true": hands.true_mm, "predicted": hands.predicted_mm}[kind]
    joints[4, 9] = joints[4, 0]
    said = rf"the {kind} bone from wrist to middle_mcp of sample 4 is shorter than 0.001 mm.*; {remedy}"
    with pytest.raises(HandsimError, match=said):
        align_root_and_scale(hands.predicted_mm, hands.true_mm, hands.valid)
    hands.valid[4, 9] = False
    aligned = align_root_and_scale(hands.predicted_mm, hands.true_mm, hands.valid)
    assert not aligned.valid[4].any()
