import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.pose import PCK_0_50, PCK_20_50, PckRange, area_under_curve, joint_errors_mm, pck_curve
from tests.handsim.metrics.hands import random_hands
from tests.handsim.metrics.oracles import JointLists


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([PCK_0_50, PCK_20_50, PckRange(5, 9, 2)]),
)
def test_curve_and_area_are_those_of_lists_of_each_joint(
    seed: int, valid_share: float, thresholds: PckRange
) -> None:
    hands = random_hands(seed, count=4, valid_share=valid_share)
    slow = JointLists(hands)
    curve = pck_curve(joint_errors_mm(hands.predicted_mm, hands.true_mm, hands.valid), thresholds)
    np.testing.assert_allclose(curve, [slow.pck(threshold) for threshold in thresholds.thresholds_mm])
    area = area_under_curve(curve, thresholds)
    assert area == pytest.approx(slow.auc(thresholds.lowest_mm, thresholds.highest_mm, thresholds.steps))
    assert 0 <= area <= 1
    assert (np.diff(curve) >= 0).all()
    assert 0 <= curve[0] <= curve[-1] <= 1


def test_an_error_at_the_threshold_counts() -> None:
    thresholds = PckRange(0, 50, 11)
    errors = np.full((1, 21), 20.0)
    assert pck_curve(errors, thresholds).tolist() == [0] * 4 + [1] * 7
    assert pck_curve(np.nextafter(errors, 21), thresholds).tolist() == [0] * 5 + [1] * 6
    assert pck_curve(np.zeros((1, 21)), thresholds).tolist() == [1] * 11
    assert pck_curve(np.full((1, 21), np.inf), thresholds).tolist() == [0] * 11


def test_perfect_and_hopeless_predictions() -> None:
    for thresholds in (PCK_0_50, PCK_20_50):
        assert area_under_curve(pck_curve(np.zeros((2, 21)), thresholds), thresholds) == pytest.approx(1)
        assert area_under_curve(pck_curve(np.full((2, 21), 51.0), thresholds), thresholds) == 0


def test_the_ranges_are_those_of_the_evaluations() -> None:
    np.testing.assert_allclose(PCK_0_50.thresholds_mm, np.linspace(0, 0.05, 100) * 1000)
    np.testing.assert_allclose(PCK_20_50.thresholds_mm, np.linspace(20, 50, 15))


@pytest.mark.parametrize("numbers", [(50, 0, 100), (0, 50, 1), (-1, 50, 9), (7, 7, 9), (0, np.inf, 9)])
def test_a_range_without_extent(numbers: tuple[float, float, int]) -> None:
    with pytest.raises(HandsimError, match=r"PCK range of .* is empty; it needs 0 <= lowest < highest"):
        PckRange(*numbers)


def test_nothing_to_measure() -> None:
    with pytest.raises(HandsimError, match="none of the joints of the 3 hands can be measured"):
        pck_curve(np.full((3, 21), np.nan), PCK_0_50)
