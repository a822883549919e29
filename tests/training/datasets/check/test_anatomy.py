"""Units, bones and sides: each check fires on just what it is for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.skeleton import PARENTS
from tests.training.datasets.check.hands import odd_hands, whole_hands
from training.datasets.sanity import check_bones, check_sides, check_units

HANDS = whole_hands()
IDS = [f"hand{number}" for number in range(len(HANDS))]


def mirrored(hands: NDArray[np.float64]) -> NDArray[np.float64]:
    return hands * [-1, 1, 1]


def test_millimetres_pass() -> None:
    finding = check_units(HANDS)
    assert finding.verdict == "passed"
    assert 60 < finding.numbers["wrist_to_middle_mcp_mm"] < 120


@pytest.mark.parametrize(("factor", "says"), [(1e3, "1000"), (1e-3, "0.001"), (10, "10"), (0.1, "0.1")])
def test_other_units_are_told(factor: float, says: str) -> None:
    finding = check_units(HANDS * factor)
    assert finding.verdict == "failed"
    assert f"seem to be {says} times as large" in finding.detail


def test_units_need_a_wrist() -> None:
    hands = HANDS.copy()
    hands[:, 0] = np.nan
    assert check_units(hands).verdict == "skipped"
    hands[3] = HANDS[3]
    assert check_units(hands).verdict == "passed"


@pytest.mark.parametrize("hands", [HANDS, HANDS * 1000, odd_hands(1, 3.0), odd_hands(2, 3.0)])
def test_bones_of_hands_of_any_size_pass(hands: NDArray[np.float64]) -> None:
    finding = check_bones(hands, IDS[: len(hands)])
    assert finding.verdict == "passed", finding.detail


def test_a_bone_of_the_wrong_length_is_named() -> None:
    hands = HANDS.copy()
    hands[:, 8] = hands[:, PARENTS[8]] + 2.5 * (hands[:, 8] - hands[:, PARENTS[8]])
    finding = check_bones(hands, IDS)
    assert finding.verdict == "failed"
    assert finding.detail.startswith("index_dip to index_tip is 2.")


def test_single_impossible_hands_are_named_when_they_are_many() -> None:
    hands = HANDS.copy()
    hands[5, 12] += 500
    assert check_bones(hands, IDS).numbers["impossible_hands"] == 1
    assert check_bones(hands, IDS).verdict == "passed"
    hands[50:60, 12] += 500
    finding = check_bones(hands, IDS)
    assert finding.verdict == "failed"
    assert "11 of 200 hands have an impossible bone, such as hand5" in finding.detail


def test_bones_without_joints_are_left_out() -> None:
    hands = HANDS.copy()
    hands[:, 20] = np.nan
    hands[7] = np.nan
    assert check_bones(hands, IDS).verdict == "passed"
    assert check_bones(np.full_like(HANDS, np.nan), IDS).verdict == "skipped"


def told(side: Side, count: int) -> list[Side]:
    return [side] * count


def test_right_hands_pass_whatever_side_they_were() -> None:
    sides = told("left", 100) + told("right", 100)
    finding = check_sides(HANDS, sides)
    assert finding.verdict == "passed"
    assert finding.numbers == {"left_as_told_share": 1.0, "right_as_told_share": 1.0}


@pytest.mark.parametrize("seed", range(6))
def test_badly_annotated_odd_hands_pass(seed: int) -> None:
    assert check_sides(odd_hands(seed, 4.0), told("right", 50)).verdict == "passed"


def test_left_hands_that_were_not_mirrored_fail_alone() -> None:
    hands = np.concatenate([mirrored(HANDS[:100]), HANDS[100:]])
    finding = check_sides(hands, told("left", 100) + told("right", 100))
    assert finding.verdict == "failed"
    assert finding.detail == "100% of the hands labelled left are not"


def test_sides_that_are_told_at_random_fail() -> None:
    hands = np.concatenate([mirrored(HANDS[:60]), HANDS[60:]])
    finding = check_sides(hands, told("right", 200))
    assert finding.verdict == "failed"
    assert "30% of the hands labelled right are not" in finding.detail


def test_flat_hands_tell_no_side() -> None:
    flat = HANDS.copy()
    wrist, across, along = flat[:, 0], flat[:, 17] - flat[:, 5], flat[:, 9] - flat[:, 0]
    axes = np.linalg.qr(np.stack([across, along], axis=-1))[0]
    flat = wrist[:, None] + ((flat - wrist[:, None]) @ axes) @ axes.swapaxes(-1, -2)
    assert check_sides(flat, told("right", 200)).verdict == "skipped"
