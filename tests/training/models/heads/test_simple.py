"""The light regressor: where it attends, what it says, and what it should."""

import pytest
import torch
from torch import Tensor

from tests.training.models.drawn_targets import draw_targets, some_hidden
from tests.training.models.heads.some_heads import CHANNELS, HANDS, stages
from tests.training.models.seen_hands import see_hands
from training.models.encoder import EncoderSettings
from training.models.estimator import EstimatorSettings, build_estimator
from training.models.simple_head import AttendedJoints, SimpleHead

SEEN = see_hands(20)


@pytest.fixture
def head() -> SimpleHead:
    torch.manual_seed(0)
    return SimpleHead(CHANNELS)


def _say_everywhere(head: SimpleHead, number: float) -> None:
    """Let the last layer say a number whatever it is given."""
    torch.nn.init.zeros_(head.output_weight)
    torch.nn.init.constant_(head.output_bias, number)


def _attend(head: SimpleHead, cells: Tensor, side: int = 8) -> Tensor:
    """2D joints [1, 21, 2] of a head whose map of each joint has one cell alone, and corrects nothing."""
    logits = torch.zeros(1, 21, side * side)
    logits[0, torch.arange(21), cells] = 1e4
    _say_everywhere(head, 0.0)
    head.attention.register_forward_hook(lambda *_: logits.view(1, 21, side, side))
    with torch.no_grad():
        keypoints: Tensor = head.eval()(stages(hands=1)).keypoints
    return keypoints


@pytest.mark.parametrize("side_px", [32, 64, 96])
def test_maps_are_two_steps_finer_than_the_trunk(side_px: int) -> None:
    with torch.device("meta"):
        estimator = build_estimator(EncoderSettings("resnet18"), EstimatorSettings("simple"))
        said = estimator(torch.zeros(3, 3, side_px, side_px))
    assert said.attention.shape == (3, 21, side_px // 8, side_px // 8)
    assert said.keypoints.shape == (3, 21, 2)
    assert said.joints.shape == (3, 21, 3)


def test_2d_joints_are_the_mean_places_of_maps_cell_by_cell(head: SimpleHead) -> None:
    """But for what is added to all of a joint's places; the wrist is the origin in 3D."""
    _say_everywhere(head, 0.25)
    with torch.no_grad():
        said = head(stages())
    torch.testing.assert_close(said.attention.sum((2, 3)), torch.ones(HANDS, 21))
    for hand in range(HANDS):
        for joint in range(21):
            x = y = 0.0
            for row in range(8):
                for column in range(8):
                    share = float(said.attention[hand, joint, row, column])
                    x, y = x + share * (column + 0.5) / 8, y + share * (row + 0.5) / 8
            assert said.keypoints[hand, joint].tolist() == pytest.approx([x + 0.25, y + 0.25], abs=1e-5)
    assert not said.joints[:, 0].any()


def test_a_map_of_one_cell_tells_its_centre(head: SimpleHead) -> None:
    cells = torch.arange(21) * 3
    expected = torch.stack([cells % 8, cells // 8], -1)[None]
    torch.testing.assert_close(_attend(head, cells), (expected + 0.5) / 8)


def test_autocast_does_not_round_places(head: SimpleHead) -> None:
    cells = torch.full((21,), 63)
    with torch.autocast("cpu", torch.bfloat16):
        keypoints = _attend(head, cells)
    assert keypoints.dtype == torch.float32
    assert torch.equal(keypoints, torch.full((1, 21, 2), 7.5 / 8))


def test_each_joint_hears_of_the_others(head: SimpleHead) -> None:
    """What one joint's map attends to changes where the others are said to be in 3D."""
    embedding = head.joint_embedding
    torch.nn.init.normal_(head.output_weight)
    with torch.no_grad():
        before = head.eval()(stages()).joints
        embedding[7] += torch.randn(embedding.shape[1], generator=torch.Generator().manual_seed(1))
        moved = (head(stages()).joints - before).abs().amax((0, 2))
    assert (moved[1:] > 1e-4).all()


def test_absolute_errors_joint_by_joint(head: SimpleHead) -> None:
    targets = some_hidden(draw_targets(4), torch.nan)
    random = torch.Generator().manual_seed(2)
    keypoints = torch.randn(4, 21, 2, generator=random, dtype=torch.float64)
    joints = torch.randn(4, 21, 3, generator=random, dtype=torch.float64)
    off, off_3d = [], []
    for hand in range(4):
        for joint in range(21):
            if targets.valid[hand, joint]:
                x, y = (keypoints[hand, joint] - targets.keypoints[hand, joint]).tolist()
                off.append((abs(x) + abs(y)) / 2)
            if targets.valid[hand, joint] and targets.has_scale[hand]:
                x, y, z = (joints[hand, joint] - targets.joints[hand, joint]).tolist()
                off_3d.append((abs(x) + abs(y) + abs(z)) / 3)
    keypoint, joint_loss = sum(off) / len(off), sum(off_3d) / len(off_3d)
    found = head.loss(AttendedJoints(keypoints, joints, torch.zeros(4, 21, 8, 8)), targets)
    assert found.keys() == {"loss", "keypoint", "joint"}
    assert float(found["keypoint"]) == pytest.approx(keypoint, rel=1e-12)
    assert float(found["joint"]) == pytest.approx(joint_loss, rel=1e-12)
    assert float(found["loss"]) == pytest.approx(2.5 * keypoint + joint_loss, rel=1e-12)


def test_poses_are_those_of_the_views_frame_without_k(head: SimpleHead) -> None:
    """They are said as they were taught: turned with the view, so K has nothing to add."""
    attention = torch.zeros(len(SEEN.keypoints), 21, 8, 8)
    attention[..., 2, 5] = torch.linspace(0.2, 1, 21)
    said = AttendedJoints(SEEN.keypoints, SEEN.joints, attention)
    for intrinsics in (None, SEEN.intrinsics):
        told = head.decode(said, intrinsics)
        assert torch.equal(told.keypoints, SEEN.keypoints.float())
        assert torch.equal(told.joints, SEEN.joints.float())
        torch.testing.assert_close(told.confidence, torch.linspace(0.2, 1, 21).expand(len(attention), 21))
