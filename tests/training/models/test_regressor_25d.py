"""PeCLR's regressor, and 3D joints from exact and from noisy 2.5D ones, against numpy's roots."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.models.builders import (
    CHANNELS,
    draw_targets,
    mean_absolute_error,
    see_hands,
    some_hidden,
    stages,
)
from training.models.regressor_25d import Joints25D, Regressor25DHead, lift, wrist_depth

HANDS = see_hands(100)
DEPTHS = HANDS.joints[..., 2]


@pytest.fixture(scope="module")
def head() -> Regressor25DHead:
    torch.manual_seed(0)
    return Regressor25DHead(CHANNELS)


def test_it_is_two_layers_on_pooled_features(head: Regressor25DHead) -> None:
    maps = stages()
    prediction = head(maps)
    weights = head.state_dict()
    pooled = maps[-1].mean((2, 3))
    hidden = (pooled @ weights["layers.0.weight"].T + weights["layers.0.bias"]).clamp(min=0)
    out = (hidden @ weights["layers.2.weight"].T + weights["layers.2.bias"]).view(-1, 21, 3)
    torch.testing.assert_close(prediction.keypoints, out[..., :2] + 0.5)
    torch.testing.assert_close(prediction.depths, out[..., 2] - out[:, :1, 2])
    assert (prediction.depths[:, 0] == 0).all()
    assert (prediction.keypoints - 0.5).abs().max() < 1, "untrained, joints are near the view's centre"


def test_losses_are_absolute_errors_joint_by_joint(head: Regressor25DHead) -> None:
    targets, random = some_hidden(draw_targets(4), torch.nan), torch.Generator().manual_seed(2)
    keypoints = torch.randn(4, 21, 2, generator=random, dtype=torch.float64)
    depths = torch.randn(4, 21, generator=random, dtype=torch.float64)
    losses = head.loss(Joints25D(keypoints, depths), targets)
    keypoint = mean_absolute_error(keypoints, targets.keypoints, targets.valid)
    depth = mean_absolute_error(depths[..., None], targets.joints[..., 2:], targets.valid_3d)
    expected = {"loss": 2.5 * keypoint + depth, "keypoint": keypoint, "depth": depth}
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected, rel=1e-12)


def test_true_25d_joints_are_decoded_to_the_true_pose(head: Regressor25DHead) -> None:
    estimate = head.decode(Joints25D(HANDS.keypoints, HANDS.joints[..., 2]), HANDS.intrinsics)
    torch.testing.assert_close(estimate.keypoints, HANDS.keypoints.float())
    torch.testing.assert_close(estimate.joints, HANDS.joints.float(), rtol=0, atol=2e-5)
    assert (estimate.confidence == 1).all()


def test_without_k_there_is_no_pose(head: Regressor25DHead) -> None:
    with pytest.raises(HandsimError, match=r"regressor_25d needs the camera's K for a pose, .* give it"):
        head.decode(head(stages()), None)


def _slow_depth(keypoints: Tensor, depths: Tensor, intrinsics: Tensor) -> float:
    """The larger root for one hand: Iqbal's a, b and c, joint by joint."""
    back = np.linalg.inv(intrinsics.numpy())
    wrist, end = (back @ np.append(keypoints[joint].numpy(), 1.0) for joint in (0, 9))
    d = float(depths[9])
    a, b, c = (end - wrist) @ (end - wrist), 2 * d * (end - wrist) @ end, d**2 * end @ end - 1
    roots = np.roots([a, b, c])
    return float(max(roots.real))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_exact_25d_joints_give_exact_3d_joints(dtype: torch.dtype, atol: float) -> None:
    """200 hands, seen from everywhere: the larger root is the right one."""
    arguments = [tensor.to(dtype) for tensor in (HANDS.keypoints, DEPTHS, HANDS.intrinsics)]
    lifted = lift(*arguments)
    assert lifted.dtype == dtype
    assert (lifted[:, 0] == 0).all()
    torch.testing.assert_close(lifted.double(), HANDS.joints, rtol=0, atol=atol)
    torch.testing.assert_close(wrist_depth(*arguments).double(), HANDS.wrist_depth, rtol=10 * atol, atol=0)


def _noisy(keypoint: float, depth: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(HANDS.joints.shape, generator=random, dtype=torch.float64)
    depths = DEPTHS + depth * noise[..., 2]
    return HANDS.keypoints + keypoint * noise[..., :2], depths - depths[:, :1], HANDS.intrinsics


def test_the_wrists_depth_is_the_larger_root() -> None:
    noisy = _noisy(0.01, 0.05)
    roots = wrist_depth(*noisy)
    for hand in range(0, 200, 7):
        expected = _slow_depth(*(tensor[hand] for tensor in noisy))
        assert float(roots[hand]) == pytest.approx(expected, rel=1e-7)


def test_the_reference_bone_keeps_its_length_where_there_is_a_solution() -> None:
    lifted = lift(*_noisy(0.01, 0.05))
    length = lifted[:, 9].norm(dim=-1)
    assert (length - 1).abs().median() < 1e-9
    assert ((length - 1).abs() < 1e-6).double().mean() > 0.95


@given(st.integers(0, 2**31))
@settings(max_examples=10)
def test_the_unit_of_pixels_does_not_matter(seed: int) -> None:
    """Picture and K stretched, moved and turned together: the same pose."""
    random = torch.Generator().manual_seed(seed)
    linear = torch.eye(2, dtype=torch.float64) + 0.5 * torch.rand(2, 2, generator=random, dtype=torch.float64)
    moved = torch.eye(3, dtype=torch.float64)
    moved[:2, :2] = linear * 10 ** float(torch.rand(1, generator=random) * 4 - 1)
    moved[:2, 2] = 100 * torch.randn(2, generator=random, dtype=torch.float64)
    keypoints, depths, intrinsics = _noisy(0.01, 0.05)
    there = keypoints @ moved[:2, :2].T + moved[:2, 2]
    torch.testing.assert_close(
        lift(there, depths, moved @ intrinsics), lift(keypoints, depths, intrinsics), rtol=0, atol=1e-6
    )


def test_without_a_solution_it_is_where_the_bone_comes_nearest_to_its_length() -> None:
    """An end twice a bone deeper than the wrist: the bone is shortest where it is seen straight on."""
    keypoints, depths = HANDS.keypoints[:, :1].repeat(1, 21, 1), torch.zeros_like(DEPTHS)
    depths[:, 9] = 2.0
    keypoints[:, 9] = keypoints[:, 0] * 0.9 + 0.05
    roots = wrist_depth(keypoints, depths, HANDS.intrinsics)
    grid = torch.linspace(0.5, 40, 4000, dtype=torch.float64)
    checked = 0
    for hand in range(0, 200, 3):
        points = torch.nn.functional.pad(keypoints[hand, [0, 9]], (0, 1), value=1.0)
        rays = torch.linalg.inv(HANDS.intrinsics[hand]) @ points.T
        lengths = ((grid + 2.0) * rays[:, 1:] - grid * rays[:, :1]).norm(dim=0)
        assert lengths.min() > 1
        nearest = float(grid[lengths.argmin()])
        if 0.5 < nearest < 30:
            assert float(roots[hand]) == pytest.approx(nearest, abs=0.02)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("depth", [0.0, 1.0, -5.0, 30.0])
def test_impossible_joints_still_give_a_finite_pose_in_front_of_the_camera(depth: float) -> None:
    """All joints at one point, joints far outside, depths that no hand has."""
    random = torch.Generator().manual_seed(3)
    points = torch.stack([torch.full((200, 21, 2), 0.5), torch.randn(200, 21, 2, generator=random) * 5])
    for keypoints in points:
        depths = torch.full((200, 21), depth) * torch.rand(200, 21, generator=random)
        depths[:, 0] = 0
        arguments = keypoints, depths, HANDS.intrinsics.float()
        assert ((wrist_depth(*arguments)[:, None] + depths).amin(1) >= 0.5 - 1e-4).all()
        assert torch.isfinite(lift(*arguments)).all()


def test_a_reference_bone_in_the_line_of_sight_gives_a_hand_of_usual_size() -> None:
    keypoints = HANDS.keypoints.clone()
    keypoints[:, 9] = keypoints[:, 0]
    lifted = lift(keypoints, DEPTHS * 0.5, HANDS.intrinsics)
    assert torch.isfinite(lifted).all()
    assert lifted.norm(dim=-1).max() < 5
