"""The light regressor: where it attends, what it predicts, and its losses."""

import pytest
import torch
from torch import Tensor

from tests.training.models.builders import (
    CHANNELS,
    HANDS,
    draw_targets,
    see_hands,
    slow_mean_absolute_error,
    some_hidden,
    stages,
)
from training.models.encoder import EncoderSettings
from training.models.estimator import EstimatorSettings, build_estimator
from training.models.simple_head import AttendedJoints, SimpleHead

TRUE_HANDS = see_hands(20)


@pytest.fixture
def head() -> SimpleHead:
    torch.manual_seed(0)
    return SimpleHead(CHANNELS)


def _set_output(head: SimpleHead, number: float) -> None:
    """Let the last layer output a number for any input."""
    torch.nn.init.zeros_(head.output_weight)
    torch.nn.init.constant_(head.output_bias, number)


def _attend(head: SimpleHead, cells: Tensor, side: int = 8) -> Tensor:
    """2D joints [1, 21, 2] of a head whose maps have one cell each, and whose output is 0."""
    logits = torch.zeros(1, 21, side * side)
    logits[0, torch.arange(21), cells] = 1e4
    _set_output(head, 0.0)
    head.attention.register_forward_hook(lambda *_: logits.view(1, 21, side, side))
    with torch.no_grad():
        keypoints: Tensor = head.eval()(stages(hands=1)).keypoints
    return keypoints


@pytest.mark.parametrize("side_px", [32, 64, 96])
def test_maps_are_two_steps_finer_than_the_trunk(side_px: int) -> None:
    with torch.device("meta"):
        estimator = build_estimator(EncoderSettings("resnet18"), EstimatorSettings("simple"))
        prediction = estimator(torch.zeros(3, 3, side_px, side_px))
    assert prediction.attention.shape == (3, 21, side_px // 8, side_px // 8)
    assert prediction.keypoints.shape == (3, 21, 2)
    assert prediction.joints.shape == (3, 21, 3)


def test_2d_joints_are_the_mean_places_of_maps_plus_the_output(head: SimpleHead) -> None:
    _set_output(head, 0.25)
    with torch.no_grad():
        prediction = head(stages())
    torch.testing.assert_close(prediction.attention.sum((2, 3)), torch.ones(HANDS, 21))
    for hand in range(HANDS):
        for joint in range(21):
            x = y = 0.0
            for row in range(8):
                for column in range(8):
                    share = float(prediction.attention[hand, joint, row, column])
                    x, y = x + share * (column + 0.5) / 8, y + share * (row + 0.5) / 8
            assert prediction.keypoints[hand, joint].tolist() == pytest.approx([x + 0.25, y + 0.25], abs=1e-5)
    assert not prediction.joints[:, 0].any()


def test_a_map_of_one_cell_gives_its_centre(head: SimpleHead) -> None:
    cells = torch.arange(21) * 3
    expected = torch.stack([cells % 8, cells // 8], -1)[None]
    torch.testing.assert_close(_attend(head, cells), (expected + 0.5) / 8)


def test_autocast_does_not_round_places(head: SimpleHead) -> None:
    cells = torch.full((21,), 63)
    with torch.autocast("cpu", torch.bfloat16):
        keypoints = _attend(head, cells)
    assert keypoints.dtype == torch.float32
    assert torch.equal(keypoints, torch.full((1, 21, 2), 7.5 / 8))


def test_each_joint_depends_on_the_tokens_of_the_others(head: SimpleHead) -> None:
    embedding = head.joint_embedding
    torch.nn.init.normal_(head.output_weight)
    with torch.no_grad():
        before = head.eval()(stages()).joints
        embedding[7] += torch.randn(embedding.shape[1], generator=torch.Generator().manual_seed(1))
        moved = (head(stages()).joints - before).abs().amax((0, 2))
    assert (moved[1:] > 1e-4).all()


def test_losses_are_absolute_errors_joint_by_joint(head: SimpleHead) -> None:
    targets, random = some_hidden(draw_targets(4), torch.nan), torch.Generator().manual_seed(2)
    keypoints = torch.randn(4, 21, 2, generator=random, dtype=torch.float64)
    joints = torch.randn(4, 21, 3, generator=random, dtype=torch.float64)
    losses = head.loss(AttendedJoints(keypoints, joints, torch.zeros(4, 21, 8, 8)), targets)
    keypoint = slow_mean_absolute_error(keypoints, targets.keypoints, targets.valid)
    joint = slow_mean_absolute_error(joints, targets.joints, targets.valid_3d)
    expected = {"loss": 2.5 * keypoint + joint, "keypoint": keypoint, "joint": joint}
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected, rel=1e-12)


def test_poses_are_the_predictions_with_and_without_k(head: SimpleHead) -> None:
    attention = torch.zeros(len(TRUE_HANDS.keypoints), 21, 8, 8)
    attention[..., 2, 5] = torch.linspace(0.2, 1, 21)
    prediction = AttendedJoints(TRUE_HANDS.keypoints, TRUE_HANDS.joints, attention)
    for intrinsics in (None, TRUE_HANDS.intrinsics):
        estimate = head.decode(prediction, intrinsics)
        assert torch.equal(estimate.keypoints, TRUE_HANDS.keypoints.float())
        assert torch.equal(estimate.joints, TRUE_HANDS.joints.float())
        torch.testing.assert_close(estimate.confidence, torch.linspace(0.2, 1, 21).expand(len(attention), 21))
