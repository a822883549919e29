"""Checks of labels: each fires for exactly its own fault, and never for odd people or noisy annotations."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.skeleton import (
    FINGER_JOINTS,
    JOINT_COUNT,
    JOINT_ORDERS,
    PARENTS,
    from_handsim_order,
    to_handsim_order,
)
from handsim.synthetic.camera import project
from tests.training.datasets.builders import odd_hands, whole_hands
from training.datasets.record import HandLabel
from training.datasets.sanity import (
    WORST_SCORE,
    check_bones,
    check_depth,
    check_inside,
    check_joint_order,
    check_projection,
    check_sides,
    check_units,
    joint_distances,
    order_score,
)

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


def label_of(joints_mm: NDArray[np.float64]) -> HandLabel:
    return HandLabel(
        sample_id="s",
        subject="1",
        side="right",
        size_px=(640, 480),
        keypoints_2d_px=project(joints_mm, K).astype(np.float32),
        joints_3d_mm=joints_mm.astype(np.float32),
        intrinsics=K,
        valid=np.ones(JOINT_COUNT, dtype=np.bool_),
    )


LABELS = [label_of(hand) for hand in whole_hands(8)]
POINTS = np.stack([label.keypoints_2d_px for label in LABELS])


def test_right_labels_pass() -> None:
    finding = check_projection(LABELS, POINTS)
    assert finding.verdict == "passed"
    assert finding.numbers["max_px"] < 0.01
    assert check_depth(LABELS).verdict == "passed"
    assert check_inside(LABELS).verdict == "passed"


def test_2d_joints_of_another_picture_fail() -> None:
    finding = check_projection(LABELS, POINTS[::-1])
    assert finding.verdict == "failed"
    assert "joints or cameras are of other pictures" in finding.detail


def test_a_camera_of_another_picture_size_fails() -> None:
    other = [replace(label, intrinsics=np.diag([0.5, 0.5, 1]) @ K) for label in LABELS]
    assert check_projection(other, POINTS).verdict == "failed"


def test_half_a_pixel_and_a_few_bad_joints_pass() -> None:
    points = POINTS + 0.5
    points[0, :10] += 100
    finding = check_projection(LABELS, points)
    assert finding.verdict == "passed"
    assert finding.numbers["max_px"] > 100


def test_without_2d_joints_there_is_nothing_to_compare() -> None:
    assert check_projection(LABELS, None).verdict == "skipped"
    assert check_projection(LABELS, np.full_like(POINTS, np.nan)).verdict == "skipped"


def test_world_coordinates_fail() -> None:
    world = [
        replace(label, joints_3d_mm=label.joints_3d_mm - np.array([0, 0, 2000], dtype=np.float32))
        for label in LABELS
    ]
    finding = check_depth(world)
    assert finding.verdict == "failed"
    assert "they are not in the camera frame" in finding.detail


def test_pictures_of_another_size_fail() -> None:
    halved = [replace(label, size_px=(160, 120)) for label in LABELS]
    finding = check_inside(halved)
    assert finding.verdict == "failed"
    assert "pictures or cameras are of another size" in finding.detail


def test_joints_without_annotation_are_ignored() -> None:
    valid = np.arange(JOINT_COUNT) < 15
    broken = [
        replace(
            label,
            valid=valid,
            joints_3d_mm=np.where(valid[:, None], label.joints_3d_mm, np.nan),
            keypoints_2d_px=np.where(valid[:, None], label.keypoints_2d_px, np.nan),
        )
        for label in LABELS
    ]
    assert check_projection(broken, POINTS).verdict == "passed"
    assert check_depth(broken).numbers["implausible_share"] == 0
    assert check_inside(broken).verdict == "passed"


HANDS = whole_hands()
IDS = [f"hand{number}" for number in range(len(HANDS))]


def mirrored(hands: NDArray[np.float64]) -> NDArray[np.float64]:
    return hands * [-1, 1, 1]


def test_millimetres_pass() -> None:
    finding = check_units(HANDS)
    assert finding.verdict == "passed"
    assert 60 < finding.numbers["wrist_to_middle_mcp_mm"] < 120


@pytest.mark.parametrize(("factor", "says"), [(1e3, "1000"), (1e-3, "0.001"), (10, "10"), (0.1, "0.1")])
def test_other_units_are_named(factor: float, says: str) -> None:
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


def sides_of(side: Side, count: int) -> list[Side]:
    return [side] * count


def test_right_hands_pass_whatever_side_they_were() -> None:
    sides = sides_of("left", 100) + sides_of("right", 100)
    finding = check_sides(HANDS, sides)
    assert finding.verdict == "passed"
    assert finding.numbers == {"left_as_told_share": 1.0, "right_as_told_share": 1.0}


@pytest.mark.parametrize("seed", range(6))
def test_badly_annotated_odd_hands_pass(seed: int) -> None:
    assert check_sides(odd_hands(seed, 4.0), sides_of("right", 50)).verdict == "passed"


def test_left_hands_that_are_not_mirrored_fail_alone() -> None:
    hands = np.concatenate([mirrored(HANDS[:100]), HANDS[100:]])
    finding = check_sides(hands, sides_of("left", 100) + sides_of("right", 100))
    assert finding.verdict == "failed"
    assert finding.detail == "100% of the hands labelled left are not"


def test_random_sides_fail() -> None:
    hands = np.concatenate([mirrored(HANDS[:60]), HANDS[60:]])
    finding = check_sides(hands, sides_of("right", 200))
    assert finding.verdict == "failed"
    assert "30% of the hands labelled right are not" in finding.detail


def test_flat_hands_have_no_side() -> None:
    flat = HANDS.copy()
    wrist, across, along = flat[:, 0], flat[:, 17] - flat[:, 5], flat[:, 9] - flat[:, 0]
    axes = np.linalg.qr(np.stack([across, along], axis=-1))[0]
    flat = wrist[:, None] + ((flat - wrist[:, None]) @ axes) @ axes.swapaxes(-1, -2)
    assert check_sides(flat, sides_of("right", 200)).verdict == "skipped"


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


def test_few_hands_are_not_checked() -> None:
    assert check_joint_order(HANDS[:7]).verdict == "skipped"
