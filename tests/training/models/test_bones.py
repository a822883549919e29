import math

import torch

from handsim.skeleton import PARENTS
from tests.training.models.drawn_targets import draw_targets, some_hidden
from training.models.detnet import bone_directions


def test_bone_by_bone() -> None:
    targets = some_hidden(draw_targets(4), 0.0)
    directions, there = bone_directions(targets.known_joints, targets.valid_3d)
    for hand in range(4):
        valid, joints = targets.valid_3d[hand].tolist(), targets.known_joints[hand].tolist()
        for joint, parent in enumerate(PARENTS):
            told = directions[hand, joint].tolist()
            if joint == 0:
                assert told == [0, 0, 0]
                assert bool(there[hand, 0]) == valid[0]
                continue
            assert bool(there[hand, joint]) == (valid[joint] and valid[parent])
            if not there[hand, joint]:
                assert told == [0, 0, 0]
                continue
            length = math.dist(joints[joint], joints[parent])
            expected = [(b - a) / length for a, b in zip(joints[parent], joints[joint], strict=True)]
            assert math.dist(told, expected) < 1e-12


def test_bones_without_length_have_no_direction() -> None:
    targets = draw_targets(2)
    joints = targets.joints.clone()
    joints[0, 6] = joints[0, 5]
    joints[1, 13] = joints[1, 0] + torch.tensor([0, 1e-7, 0])
    directions, there = bone_directions(joints, targets.valid)
    assert not there[0, 6]
    assert not there[1, 13]
    assert there.sum() == 2 * 21 - 2
    assert (directions[~there] == 0).all()
    assert torch.isfinite(directions).all()
