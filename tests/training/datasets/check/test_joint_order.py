"""Wrong permutations are caught and named; right ones never are, however odd the hands."""

import numpy as np
import pytest

from handsim.skeleton import FINGER_JOINTS, JOINT_COUNT, JOINT_ORDERS, from_handsim_order, to_handsim_order
from tests.training.datasets.check.hands import odd_hands, whole_hands
from training.datasets.sanity import WORST_SCORE, check_joint_order, joint_distances, order_score

HANDS = whole_hands()


def test_hands_in_our_order_pass() -> None:
    finding = check_joint_order(HANDS)
    assert finding.verdict == "passed"
    assert finding.numbers["score"] < 0.15
    assert finding.numbers["best_other_score"] > finding.numbers["score"] + 0.03


@pytest.mark.parametrize("seed", range(12))
def test_odd_hands_badly_annotated_pass(seed: int) -> None:
    finding = check_joint_order(odd_hands(seed, noise_mm=3.0))
    assert finding.verdict == "passed", finding.detail


@pytest.mark.parametrize("name", sorted({"assemblyhands", "mano"}))
def test_another_datasets_order_is_named(name: str) -> None:
    not_reordered = from_handsim_order(HANDS, name)
    finding = check_joint_order(not_reordered)
    assert finding.verdict == "failed"
    assert f"in the order of {name}:" in finding.detail
    twice = to_handsim_order(HANDS, name)
    assert f"reordered from that of {name} once too often:" in check_joint_order(twice).detail


@pytest.mark.parametrize("first", range(JOINT_COUNT))
def test_any_two_joints_exchanged_fail(first: int) -> None:
    for second in range(first + 1, JOINT_COUNT):
        order = np.arange(JOINT_COUNT)
        order[[first, second]] = second, first
        finding = check_joint_order(HANDS[::5, order])
        assert finding.verdict == "failed", (first, second)


def test_exchanged_joints_are_named() -> None:
    order = np.arange(JOINT_COUNT)
    order[[7, 8]] = 8, 7
    assert check_joint_order(HANDS[:, order]).detail.startswith(
        "index_dip and index_tip seem to be exchanged"
    )


def test_exchanged_and_reversed_fingers_are_named() -> None:
    fingers = list(FINGER_JOINTS.values())
    order = np.arange(JOINT_COUNT)
    order[[*fingers[1], *fingers[2]]] = [*fingers[2], *fingers[1]]
    assert "index and middle finger seem to be exchanged" in check_joint_order(HANDS[:, order]).detail
    reversed_fingers = [0, *(joint for finger in fingers for joint in finger[::-1])]
    assert "fingers seem to go from tip to base" in check_joint_order(HANDS[:, reversed_fingers]).detail
    little_first = [0, *(joint for finger in fingers[::-1] for joint in finger)]
    assert "from little finger to thumb" in check_joint_order(HANDS[:, little_first]).detail


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_joints_fail(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(JOINT_COUNT)
    assert order_score(joint_distances(HANDS), order) > 1.5 * WORST_SCORE
    assert check_joint_order(HANDS[:, order]).verdict == "failed"


def test_a_shuffle_that_was_not_tried_fails_by_its_score() -> None:
    order = np.array([*range(10, JOINT_COUNT), *range(10)])
    finding = check_joint_order(HANDS[:, order])
    assert finding.verdict == "failed"


def test_the_score_of_an_order_is_that_of_the_reordered_hands() -> None:
    order, ours = np.array(JOINT_ORDERS["mano"]), np.arange(JOINT_COUNT)
    reordered = order_score(joint_distances(HANDS[:, order]), ours)
    assert order_score(joint_distances(HANDS), order) == pytest.approx(reordered, abs=1e-12)


def test_few_hands_are_not_judged() -> None:
    assert check_joint_order(HANDS[:7]).verdict == "skipped"
