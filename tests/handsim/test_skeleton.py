import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.skeleton import (
    BONES,
    FINGER_JOINTS,
    FINGERTIPS,
    JOINT_COUNT,
    JOINT_NAMES,
    JOINT_ORDERS,
    PARENTS,
    from_handsim_order,
    joint_colour,
    to_handsim_order,
)


def test_the_skeleton_is_a_tree_of_five_fingers_rooted_in_the_wrist() -> None:
    assert JOINT_COUNT == 21
    assert len(set(JOINT_NAMES)) == 21
    assert len(BONES) == 20
    for joint, parent in enumerate(PARENTS):
        assert parent < joint  # a parent comes first, so a single pass walks the tree
    assert FINGERTIPS == (4, 8, 12, 16, 20)
    assert [JOINT_NAMES[tip] for tip in FINGERTIPS] == [
        "thumb_tip",
        "index_tip",
        "middle_tip",
        "ring_tip",
        "little_tip",
    ]
    for joints in FINGER_JOINTS.values():
        assert PARENTS[joints[0]] == 0
        assert len({joint_colour(joint) for joint in joints}) == 1


@pytest.mark.parametrize("order", JOINT_ORDERS)
def test_orders_are_permutations_that_round_trip(order: str) -> None:
    joints = np.random.default_rng(0).random((3, 21, 2)).astype(np.float32)
    assert sorted(JOINT_ORDERS[order]) == list(range(21))
    assert (from_handsim_order(to_handsim_order(joints, order), order) == joints).all()
    assert (to_handsim_order(from_handsim_order(joints, order), order) == joints).all()


def test_assemblyhands_has_tips_first_and_the_wrist_last() -> None:
    theirs = np.arange(21)[:, None]
    ours = to_handsim_order(theirs, "assemblyhands")[:, 0]
    assert ours.tolist() == [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16]


def test_mano_has_its_tips_last() -> None:
    theirs = np.arange(21)[:, None]
    ours = to_handsim_order(theirs, "mano")[:, 0]
    assert ours[list(FINGERTIPS)].tolist() == [16, 17, 18, 19, 20]
    assert ours[0] == 0


def test_bad_orders_and_shapes_are_named() -> None:
    with pytest.raises(HandsimError, match=r"'openpose'.*freihand"):
        to_handsim_order(np.zeros((21, 3)), "openpose")
    with pytest.raises(HandsimError, match=r"\(20, 3\)"):
        to_handsim_order(np.zeros((20, 3)), "mano")
