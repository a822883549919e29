"""3D joints from exact and from wrong 2.5D ones, against numpy's roots of the same equation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.models.seen_hands import see_hands
from training.models.regressor_25d import lift, wrist_depth

SEEN = see_hands(300)
DEPTHS = SEEN.joints[..., 2]


def _slow_depth(keypoints: Tensor, depths: Tensor, intrinsics: Tensor) -> float:
    """The larger root for one hand: Iqbal's a, b and c, joint by joint."""
    back = np.linalg.inv(intrinsics.numpy())
    wrist, end = (back @ np.append(keypoints[joint].numpy(), 1.0) for joint in (0, 9))
    d = float(depths[9])
    roots = np.roots(
        [
            sum((end - wrist) ** 2),
            2 * sum((end - wrist) * d * end),
            sum((d * end) ** 2) - 1,
        ]
    )
    return float(max(roots.real))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_exact_joints_come_back_whole(dtype: torch.dtype, atol: float) -> None:
    """600 hands, seen from everywhere: the larger root is the right one."""
    given = [tensor.to(dtype) for tensor in (SEEN.keypoints, DEPTHS, SEEN.intrinsics)]
    lifted = lift(*given)
    assert lifted.dtype == dtype
    assert (lifted[:, 0] == 0).all()
    torch.testing.assert_close(lifted.double(), SEEN.joints, rtol=0, atol=atol)
    torch.testing.assert_close(wrist_depth(*given).double(), SEEN.wrist_depth, rtol=10 * atol, atol=0)


def _noisy(keypoint: float, depth: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    off = torch.randn(SEEN.joints.shape, generator=random, dtype=torch.float64)
    depths = DEPTHS + depth * off[..., 2]
    return SEEN.keypoints + keypoint * off[..., :2], depths - depths[:, :1], SEEN.intrinsics


def test_of_two_distances_it_is_the_larger() -> None:
    noisy = _noisy(0.01, 0.05)
    found = wrist_depth(*noisy)
    for hand in range(0, 600, 7):
        expected = _slow_depth(*(tensor[hand] for tensor in noisy))
        assert float(found[hand]) == pytest.approx(expected, rel=1e-7)


def test_wrong_joints_give_a_pose_that_is_as_wrong() -> None:
    """Errors grow with the noise, and no hand flies apart."""
    before = 0.0
    for keypoint, depth in [(0.002, 0.02), (0.01, 0.1), (0.03, 0.2)]:
        noisy = _noisy(keypoint, depth)
        apart = (lift(*noisy) - SEEN.joints).norm(dim=-1)
        assert before < apart.mean() < 2 * depth
        assert apart.max() < 4
        before = float(apart.mean())


def test_the_reference_bone_keeps_its_length_where_there_is_a_solution() -> None:
    lifted = lift(*_noisy(0.01, 0.05))
    length = lifted[:, 9].norm(dim=-1)
    assert (length - 1).abs().median() < 1e-9
    assert ((length - 1).abs() < 1e-6).double().mean() > 0.95


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
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


def test_a_mirrored_camera_sees_a_mirrored_hand() -> None:
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    keypoints, depths, intrinsics = _noisy(0.01, 0.05)
    seen = lift(keypoints * torch.tensor([-1.0, 1]), depths, mirror @ intrinsics @ mirror)
    torch.testing.assert_close(seen, lift(keypoints, depths, intrinsics) @ mirror, rtol=0, atol=1e-9)


def test_without_a_solution_it_is_where_the_bone_comes_nearest_to_its_length() -> None:
    """An end twice a bone deeper than the wrist: the bone is shortest where it is seen straight on."""
    keypoints, depths = SEEN.keypoints[:, :1].repeat(1, 21, 1), torch.zeros_like(DEPTHS)
    depths[:, 9] = 2.0
    keypoints[:, 9] = keypoints[:, 0] * 0.9 + 0.05
    found = wrist_depth(keypoints, depths, SEEN.intrinsics)
    grid = torch.linspace(0.5, 40, 4000, dtype=torch.float64)
    checked = 0
    for hand in range(0, 600, 11):
        rays = (
            torch.linalg.inv(SEEN.intrinsics[hand])
            @ torch.cat([keypoints[hand, [0, 9]], torch.ones(2, 1, dtype=torch.float64)], 1).T
        )
        lengths = ((grid + 2.0) * rays[:, 1:] - grid * rays[:, :1]).norm(dim=0)
        assert lengths.min() > 1
        nearest = float(grid[lengths.argmin()])
        if 0.5 < nearest < 30:
            assert float(found[hand]) == pytest.approx(nearest, abs=0.02)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("depth", [0.0, 1.0, -5.0, 30.0])
def test_nonsense_stays_before_the_camera_and_together(depth: float) -> None:
    """All joints at one point, joints far outside, depths that no hand has."""
    random = torch.Generator().manual_seed(3)
    points = torch.stack([torch.full((600, 21, 2), 0.5), torch.randn(600, 21, 2, generator=random) * 5])
    for keypoints in points:
        depths = torch.full((600, 21), depth) * torch.rand(600, 21, generator=random)
        depths[:, 0] = 0
        given = keypoints, depths, SEEN.intrinsics.float()
        assert ((wrist_depth(*given)[:, None] + depths).amin(1) >= 0.5 - 1e-4).all()
        assert torch.isfinite(lift(*given)).all()


def test_a_bone_in_the_line_of_sight_does_not_tear_the_hand_apart() -> None:
    """Its length then says nothing of the distance, but how far a hand reaches does."""
    keypoints = SEEN.keypoints.clone()
    keypoints[:, 9] = keypoints[:, 0]
    lifted = lift(keypoints, DEPTHS * 0.5, SEEN.intrinsics)
    assert torch.isfinite(lifted).all()
    assert lifted.norm(dim=-1).max() < 5
