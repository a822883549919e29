import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.pose import (
    joint_errors_mm,
    mean_of_each_hand_mm,
    mean_of_each_joint_mm,
    median_mm,
    mpjpe_mm,
)
from tests.handsim.metrics.hands import Hands, random_hands
from tests.handsim.metrics.oracles import JointLists


def errors_of(hands: Hands) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return joint_errors_mm(hands.predicted_mm, hands.true_mm, hands.valid)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.7, 0.1]))
def test_every_number_is_the_one_of_lists_of_each_joint(seed: int, valid_share: float) -> None:
    hands = random_hands(seed, count=8, valid_share=valid_share)
    hands.valid[0, 0] = True
    hands.true_mm[0, 0] = (1, 2, 700)
    errors, slow = errors_of(hands), JointLists(hands)
    assert mpjpe_mm(errors) == pytest.approx(slow.mean())
    assert median_mm(errors) == pytest.approx(slow.median())
    for joint, mean in enumerate(mean_of_each_joint_mm(errors)):
        assert mean == pytest.approx(np.mean(slow.lists[joint]) if slow.lists[joint] else np.nan, nan_ok=True)
    for hand, mean in enumerate(mean_of_each_hand_mm(errors)):
        own = errors[hand, hands.valid[hand]]
        assert mean == pytest.approx(own.mean() if len(own) else np.nan, nan_ok=True)


def test_joints_count_alike_however_many_hands_have_them() -> None:
    errors = np.full((3, 21), np.nan)
    errors[:, 0] = (1, 2, 9)
    errors[0, 20] = 10
    assert mpjpe_mm(errors) == 7
    assert median_mm(errors) == 6
    assert mean_of_each_hand_mm(errors).tolist() == [5.5, 2, 9]


def test_the_mean_of_all_where_all_are_valid() -> None:
    hands = random_hands(0)
    differences = hands.predicted_mm - hands.true_mm
    assert mpjpe_mm(errors_of(hands)) == pytest.approx(np.sqrt((differences**2).sum(axis=-1)).mean())


def test_what_is_not_valid_may_be_anything() -> None:
    hands = random_hands(1, valid_share=0.5)
    before = errors_of(hands)
    hands.predicted_mm[~hands.valid] = np.nan
    np.testing.assert_array_equal(errors_of(hands), before)
    np.testing.assert_array_equal(np.isnan(before), ~hands.valid)


@pytest.mark.parametrize(
    "number",
    [mpjpe_mm, median_mm, mean_of_each_joint_mm, mean_of_each_hand_mm],
    ids=lambda each: each.__name__,
)
def test_nothing_to_measure(number: object) -> None:
    assert callable(number)
    with pytest.raises(HandsimError, match=r"none of the joints of the 4 hands can be measured.*; choose"):
        number(np.full((4, 21), np.nan))


def test_predictions_for_other_hands() -> None:
    hands = random_hands(2)
    with pytest.raises(HandsimError, match=r"predictions for 5 hands, but the truth has 6; predict every"):
        joint_errors_mm(hands.predicted_mm[:5], hands.true_mm, hands.valid)


@pytest.mark.parametrize("shape", [(6, 20, 3), (6, 21, 2), (6, 63), (6, 21, 3, 1)])
def test_other_shapes(shape: tuple[int, ...]) -> None:
    hands = random_hands(3)
    with pytest.raises(HandsimError, match=r"predicted joints have shape .*; expected \[N, 21, 3\]"):
        joint_errors_mm(np.zeros(shape), hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match=r"true joints have shape .*; expected \[N, 21, 3\]"):
        joint_errors_mm(hands.predicted_mm, np.zeros(shape), hands.valid)
    with pytest.raises(HandsimError, match=r"predicted joints have shape \(\)"):
        joint_errors_mm(0.0, hands.true_mm, hands.valid)


@pytest.mark.parametrize("valid", [np.ones((6, 20), bool), np.ones((5, 21), bool), np.ones((6, 21), int)])
def test_other_masks(valid: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    hands = random_hands(4)
    with pytest.raises(HandsimError, match=r"valid has shape .* and type .*; expected bool \[6, 21\]"):
        joint_errors_mm(hands.predicted_mm, hands.true_mm, valid)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_predictions_that_are_not_finite(number: float) -> None:
    hands = random_hands(5)
    hands.predicted_mm[3:5, 8, 1] = number
    said = rf"prediction of sample 3 is .*{number}.* mm at index_tip \(2 of 6 samples .*\); predict again"
    with pytest.raises(HandsimError, match=said):
        errors_of(hands)


def test_truth_that_is_not_finite_where_it_is_valid() -> None:
    hands = random_hands(6)
    hands.true_mm[2, 0] = np.nan
    with pytest.raises(HandsimError, match=r"truth of sample 2 .* at wrist .*; mend the annotation or mark"):
        errors_of(hands)
