"""Targets, masked means, the promises of all heads (masks, precision, poses), and the simple head."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.models.builders import (
    CHANNELS,
    HANDS,
    HEADS,
    draw_targets,
    hide,
    make_head,
    mean_absolute_error,
    some_hidden,
    stages,
)
from training.models.encoder import EncoderSettings
from training.models.estimator import EstimatorSettings, HeadName, build_estimator
from training.models.head import HandTargets, masked_mean
from training.models.simple_head import AttendedJoints, SimpleHead


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -1.0])
def test_masked_coordinates_are_0(value: float) -> None:
    targets = some_hidden(draw_targets(4), value)
    assert targets.valid.sum(1).tolist()[2] == 0
    for masked, mask, true in (
        (targets.masked_keypoints, targets.valid, draw_targets(4).keypoints),
        (targets.masked_joints, targets.valid_3d, draw_targets(4).joints),
    ):
        assert torch.equal(masked[mask], true[mask])
        assert (masked[~mask] == 0).all()
    assert targets.valid[1].any()
    assert not targets.valid_3d[1].any(), "without a scale there are no 3D joints"
    assert torch.equal(targets.valid_3d[3], targets.valid[3])


def test_masked_coordinates_of_half_precision_are_float32() -> None:
    for dtype, wide in [(torch.float16, torch.float32), (torch.float64, torch.float64)]:
        targets = draw_targets(2, dtype=dtype)
        assert targets.masked_keypoints.dtype == targets.masked_joints.dtype == wide


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": torch.zeros(3, 21, 3)}, r"keypoints is \[3, 21, 3\]; for 3 hands .* \[3, 21, 2\]"),
        ({"joints": torch.zeros(3, 20, 3)}, r"joints is \[3, 20, 3\]; for 3 hands .* it is \[3, 21, 3\]"),
        ({"valid": torch.ones(2, 21).bool()}, r"keypoints is \[3, 21, 2\]; for 2 hands"),
        ({"has_scale": torch.ones(3, 1).bool()}, r"has_scale is \[3, 1\]; for 3 hands .* it is \[3\]"),
        ({"valid": torch.ones(3, 21)}, "valid is torch.float32; it is a mask, torch.bool"),
        ({"has_scale": torch.ones(3).int()}, "has_scale is torch.int32; it is a mask, torch.bool"),
    ],
)
def test_targets_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        replace(draw_targets(3), **changes)


def test_a_masked_mean_is_the_mean_where_the_mask_is_true() -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(4, 7, generator=random, dtype=torch.float64)
    mask = torch.rand(4, 7, generator=random) < 0.4
    expected = [float(values[row, column]) for row in range(4) for column in range(7) if mask[row, column]]
    assert 0 < len(expected) < 28
    assert float(masked_mean(values, mask)) == pytest.approx(sum(expected) / len(expected), abs=1e-12)


@pytest.mark.parametrize("hidden", [torch.nan, torch.inf, -torch.inf])
def test_masked_values_may_be_anything_and_get_no_gradient(hidden: float) -> None:
    values = torch.tensor([1.0, hidden, 4.0, hidden], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, False, True, False]))
    mean.backward()  # type: ignore[no-untyped-call]
    assert float(mean.detach()) == 2.5
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0, 0.5, 0]


@pytest.mark.parametrize("shape", [(3, 2), (0, 2)])
def test_a_masked_mean_of_nothing_is_0_with_a_gradient_of_0(shape: tuple[int, ...]) -> None:
    values = torch.full(shape, torch.nan, requires_grad=True)
    mean = masked_mean(values, torch.zeros(shape, dtype=torch.bool))
    mean.backward()  # type: ignore[no-untyped-call]
    assert float(mean.detach()) == 0
    assert values.grad is not None
    assert (values.grad == 0).all()


INTRINSICS = torch.tensor([[2.5, 0, 0.4], [0, 2.5, 0.6], [0, 0, 1]]).expand(HANDS, 3, 3)
every_head = pytest.mark.parametrize("name", HEADS)


def _differentiate(name: HeadName, targets: HandTargets) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, and the gradient of every weight."""
    head = make_head(name)
    losses = head.loss(head(stages()), targets)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for weight, parameter in head.named_parameters():
        assert parameter.grad is not None, weight
        gradients[weight] = parameter.grad
    return {part: loss.detach() for part, loss in losses.items()}, gradients


def _targets() -> HandTargets:
    return draw_targets(HANDS, dtype=torch.float32)


@every_head
def test_hidden_joints_change_no_bit_of_losses_and_gradients(name: HeadName) -> None:
    losses, gradients = _differentiate(name, some_hidden(_targets(), 0.0))
    assert all(torch.isfinite(loss) for loss in losses.values())
    for value in (torch.nan, torch.inf, 1e30):
        others, other_gradients = _differentiate(name, some_hidden(_targets(), value))
        assert losses == others
        assert all(torch.equal(gradients[weight], other_gradients[weight]) for weight in gradients)


@every_head
def test_predictions_of_hidden_joints_get_no_gradient(name: HeadName) -> None:
    head, targets = make_head(name), some_hidden(_targets(), torch.nan)
    prediction = head(stages())
    prediction = type(prediction)(*(tensor.detach().requires_grad_() for tensor in vars(prediction).values()))
    head.loss(prediction, targets)["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = [tensor.grad for tensor in vars(prediction).values() if tensor.grad is not None]
    assert gradients
    for gradient in gradients:
        assert not gradient[~targets.valid].any()
        assert gradient[targets.valid].any()


@every_head
@pytest.mark.parametrize("has_scale", [True, False])
def test_without_a_valid_joint_losses_and_gradients_are_0(name: HeadName, has_scale: bool) -> None:
    everything = torch.ones(HANDS, 21, dtype=torch.bool)
    targets = hide(_targets(), everything, everything[:, 0], torch.nan)
    losses, gradients = _differentiate(name, replace(targets, has_scale=torch.full((HANDS,), has_scale)))
    assert all(float(loss) == 0 for loss in losses.values())
    assert not any(gradient.any() for gradient in gradients.values())


@every_head
def test_losses_and_poses_are_computed_in_float32(name: HeadName) -> None:
    head = make_head(name).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        halves = head(stages())
    assert any(tensor.dtype == torch.bfloat16 for tensor in vars(halves).values())
    floats = type(halves)(*(tensor.float() for tensor in vars(halves).values()))
    assert head.loss(halves, _targets()) == head.loss(floats, _targets())
    estimate, expected = head.decode(halves, INTRINSICS), head.decode(floats, INTRINSICS)
    for field, tensor in vars(estimate).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, getattr(expected, field)), field


@every_head
def test_a_pose_has_all_joints(name: HeadName) -> None:
    head = make_head(name).eval()
    with torch.no_grad():
        estimate = head.decode(head(stages()), INTRINSICS)
    assert estimate.keypoints.shape == (HANDS, 21, 2)
    assert estimate.joints.shape == (HANDS, 21, 3)
    assert estimate.confidence.shape == (HANDS, 21)
    assert (estimate.joints[:, 0] == 0).all()
    assert ((estimate.confidence >= 0) & (estimate.confidence <= 1)).all()


@every_head
def test_a_batch_of_one_hand_has_a_finite_loss(name: HeadName) -> None:
    head = make_head(name).train()
    losses = head.loss(head(stages(hands=1)), draw_targets(1, dtype=torch.float32))
    assert torch.isfinite(losses["loss"])


@pytest.mark.parametrize("name", ["regressor_25d", "simple"])  # DetNet learns hands in a test of its own
def test_a_few_steps_lower_the_loss(name: HeadName) -> None:
    head, targets = make_head(name).train(), some_hidden(_targets(), torch.nan)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-4)
    losses = []
    for _ in range(8):
        loss = head.loss(head(stages()), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses


@pytest.fixture
def simple_head() -> SimpleHead:
    torch.manual_seed(0)
    return SimpleHead(CHANNELS)


def _set_output(head: SimpleHead, number: float) -> None:
    """Let the last layer output a number for any input."""
    torch.nn.init.zeros_(head.output_weight)
    torch.nn.init.constant_(head.output_bias, number)


def _attend(head: SimpleHead, cells: Tensor, side: int = 4) -> Tensor:
    """2D joints [1, 21, 2] of a head whose maps have one cell each, and whose output is 0."""
    logits = torch.zeros(1, 21, side * side)
    logits[0, torch.arange(21), cells] = 1e4
    _set_output(head, 0.0)
    head.attention.register_forward_hook(lambda *_: logits.view(1, 21, side, side))
    with torch.no_grad():
        keypoints: Tensor = head.eval()(stages(hands=1)).keypoints
    return keypoints


@pytest.mark.parametrize("side_px", [32, 64, 96])
def test_maps_of_the_simple_head_are_two_steps_finer_than_the_trunk(side_px: int) -> None:
    with torch.device("meta"):
        estimator = build_estimator(EncoderSettings("resnet18"), EstimatorSettings("simple"))
        prediction = estimator(torch.zeros(3, 3, side_px, side_px))
    assert prediction.attention.shape == (3, 21, side_px // 8, side_px // 8)
    assert prediction.keypoints.shape == (3, 21, 2)
    assert prediction.joints.shape == (3, 21, 3)


def test_2d_joints_are_the_mean_places_of_maps_plus_the_output(simple_head: SimpleHead) -> None:
    _set_output(simple_head, 0.25)
    with torch.no_grad():
        prediction = simple_head(stages())
    torch.testing.assert_close(prediction.attention.sum((2, 3)), torch.ones(HANDS, 21))
    centres = (torch.arange(4) + 0.5) / 4
    across, down = (prediction.attention.sum(dimension) @ centres for dimension in (2, 3))
    torch.testing.assert_close(prediction.keypoints, torch.stack([across, down], -1) + 0.25)
    assert not prediction.joints[:, 0].any()


def test_a_map_of_one_cell_gives_its_centre(simple_head: SimpleHead) -> None:
    cells = torch.arange(21) * 3 % 16
    expected = torch.stack([cells % 4, cells // 4], -1)[None]
    torch.testing.assert_close(_attend(simple_head, cells), (expected + 0.5) / 4)


def test_autocast_does_not_round_places(simple_head: SimpleHead) -> None:
    cells = torch.full((21,), 15)
    with torch.autocast("cpu", torch.bfloat16):
        keypoints = _attend(simple_head, cells)
    assert keypoints.dtype == torch.float32
    assert torch.equal(keypoints, torch.full((1, 21, 2), 3.5 / 4))


def test_each_joint_depends_on_the_tokens_of_the_others(simple_head: SimpleHead) -> None:
    embedding = simple_head.joint_embedding
    torch.nn.init.normal_(simple_head.output_weight)
    with torch.no_grad():
        before = simple_head.eval()(stages()).joints
        embedding[7] += torch.randn(embedding.shape[1], generator=torch.Generator().manual_seed(1))
        moved = (simple_head(stages()).joints - before).abs().amax((0, 2))
    assert (moved[1:] > 1e-4).all()


def test_losses_of_the_simple_head_are_absolute_errors_joint_by_joint(simple_head: SimpleHead) -> None:
    targets, random = some_hidden(draw_targets(4), torch.nan), torch.Generator().manual_seed(2)
    keypoints = torch.randn(4, 21, 2, generator=random, dtype=torch.float64)
    joints = torch.randn(4, 21, 3, generator=random, dtype=torch.float64)
    losses = simple_head.loss(AttendedJoints(keypoints, joints, torch.zeros(4, 21, 8, 8)), targets)
    keypoint = mean_absolute_error(keypoints, targets.keypoints, targets.valid)
    joint = mean_absolute_error(joints, targets.joints, targets.valid_3d)
    expected = {"loss": 2.5 * keypoint + joint, "keypoint": keypoint, "joint": joint}
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected, rel=1e-12)


def test_poses_of_the_simple_head_are_the_predictions_with_and_without_k(simple_head: SimpleHead) -> None:
    true, attention = draw_targets(HANDS), torch.zeros(HANDS, 21, 8, 8)
    attention[..., 2, 5] = torch.linspace(0.2, 1, 21)
    prediction = AttendedJoints(true.keypoints, true.joints, attention)
    for intrinsics in (None, INTRINSICS):
        estimate = simple_head.decode(prediction, intrinsics)
        assert torch.equal(estimate.keypoints, true.keypoints.float())
        assert torch.equal(estimate.joints, true.joints.float())
        torch.testing.assert_close(estimate.confidence, torch.linspace(0.2, 1, 21).expand(len(attention), 21))
