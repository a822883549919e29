"""The hand model and its motion: limits, constant bones, and which way a right hand bends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim.skeleton import BONES, FINGER_JOINTS, FINGERTIPS, WRIST
from handsim.synthetic import MotionConfig, PeopleConfig
from handsim.synthetic.hand_model import (
    ANGLE_INDEX,
    HIGHEST_DEG,
    LOWEST_DEG,
    clip_to_limits,
    forward_kinematics,
    sample_person,
)
from handsim.synthetic.motion import PROTOTYPE_ANGLES, nearest_labels, sample_motion

seeds = st.integers(0, 2**32)
INDEX_MCP, LITTLE_MCP = FINGER_JOINTS["index"][0], FINGER_JOINTS["little"][0]


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    start, end = np.array(BONES).T
    lengths: np.ndarray = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    return lengths


@given(seeds)
def test_bone_lengths_do_not_depend_on_the_pose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = sample_person(rng, PeopleConfig()).shape
    lengths = bone_lengths(
        forward_kinematics(shape, rng.uniform(LOWEST_DEG, HIGHEST_DEG, (8, len(LOWEST_DEG)))).joints_mm
    )
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)


@given(seeds, st.booleans())
def test_joint_limits_hold_along_a_video(seed: int, holding: bool) -> None:
    angles = sample_motion(
        np.random.default_rng(seed), MotionConfig(jitter_deg=40, wobble_deg=20), 40, holding=holding
    )
    assert (angles >= LOWEST_DEG).all()
    assert (angles <= HIGHEST_DEG).all()
    assert angles.std(axis=0).max() > 5


@given(seeds)
def test_the_palm_normal_of_a_right_hand(seed: int) -> None:
    """Index knuckle x little knuckle, seen from the wrist, points out of the palm; fists close towards it."""
    shape = sample_person(np.random.default_rng(seed), PeopleConfig()).shape
    joints = forward_kinematics(shape, PROTOTYPE_ANGLES["fist"][None]).joints_mm[0]
    wrist = joints[WRIST]
    normal = np.cross(joints[INDEX_MCP] - wrist, joints[LITTLE_MCP] - wrist)
    for tip in FINGERTIPS:
        assert (joints[tip] - joints[INDEX_MCP]) @ normal > 0
    flat = forward_kinematics(shape, PROTOTYPE_ANGLES["flat"][None]).joints_mm[0]
    thumb_tip, little_tip = flat[FINGERTIPS[0]], flat[FINGERTIPS[-1]]
    assert thumb_tip[0] > flat[INDEX_MCP][0] > flat[LITTLE_MCP][0]
    assert little_tip[1] > flat[LITTLE_MCP][1] > 0


def test_flexing_a_single_joint_moves_the_tip_towards_the_palm() -> None:
    shape = sample_person(np.random.default_rng(0), PeopleConfig()).shape
    straight = np.zeros((1, len(LOWEST_DEG)))
    tips = forward_kinematics(shape, straight).joints_mm[0, list(FINGERTIPS)]
    for finger, name in enumerate(("index", "middle", "ring", "little"), start=1):
        for joint in ("mcp", "pip", "dip"):
            bent = straight.copy()
            bent[0, ANGLE_INDEX[f"{name}_{joint}"]] = 30
            tip = forward_kinematics(shape, bent).joints_mm[0, FINGERTIPS[finger]]
            assert tip[2] > tips[finger, 2] + 3
            assert tip[1] < tips[finger, 1]


@pytest.mark.parametrize("touching", ["ok", "pinch"])
def test_thumb_and_index_meet(touching: str) -> None:
    shape = sample_person(
        np.random.default_rng(1), PeopleConfig(hand_length_mm=(186, 0), child_share=0)
    ).shape
    joints = forward_kinematics(shape, PROTOTYPE_ANGLES[touching][None]).joints_mm[0]
    gap = np.linalg.norm(joints[FINGERTIPS[0]] - joints[FINGERTIPS[1]])
    assert gap < 28


def test_a_prototype_is_labelled_with_its_own_name() -> None:
    assert nearest_labels(np.array(list(PROTOTYPE_ANGLES.values()))) == list(PROTOTYPE_ANGLES)
    odd = PROTOTYPE_ANGLES["flat"].copy()
    odd[4:8], odd[12:16] = PROTOTYPE_ANGLES["fist"][4:8], PROTOTYPE_ANGLES["fist"][12:16]
    assert nearest_labels(odd[None]) == [None]


def test_limits_clip() -> None:
    assert (clip_to_limits(np.full((1, len(LOWEST_DEG)), 999.0)) == HIGHEST_DEG).all()
