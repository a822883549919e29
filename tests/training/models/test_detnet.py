"""DetNet: its maps, their losses, what is decoded from them, and that it learns a few hands."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from handsim.metrics.pose import score_poses
from handsim.skeleton import PARENTS, REFERENCE_BONE, WRIST
from handsim.synthetic import MotionConfig, SyntheticConfig, synthesise_labelled
from tests.training.models.builders import draw_targets, some_hidden
from training.models.detnet import (
    DetNetHead,
    DetNetMaps,
    bone_directions,
    find_peaks,
    gaussian_heat_maps,
)
from training.models.head import HandTargets

HANDS, SIDE, CHANNELS = 4, 16, 32
NAMES = ("heat_maps", "delta_maps", "location_maps")


@pytest.fixture(scope="module")
def head() -> DetNetHead:
    torch.manual_seed(0)
    return DetNetHead(CHANNELS, balanced=False)


def _random_maps(seed: int = 0) -> DetNetMaps:
    random = torch.Generator().manual_seed(seed)
    heat = torch.randn(HANDS, 21, SIDE, SIDE, generator=random, dtype=torch.float64)
    vectors = torch.randn(2, HANDS, 21, 3, SIDE, SIDE, generator=random, dtype=torch.float64)
    return DetNetMaps(heat.requires_grad_(), vectors[0].requires_grad_(), vectors[1].requires_grad_())


def _true_maps(targets: HandTargets) -> DetNetMaps:
    def everywhere(vectors: Tensor) -> Tensor:
        return vectors[..., None, None].expand(-1, -1, -1, SIDE, SIDE)

    return DetNetMaps(
        gaussian_heat_maps(targets.masked_keypoints, SIDE),
        everywhere(bone_directions(targets.masked_joints, targets.valid_3d)[0]),
        everywhere(targets.masked_joints),
    )


def _gradients(head: DetNetHead, targets: HandTargets) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, and the gradient of each kind of map."""
    maps = _random_maps()
    losses = head.loss(maps, targets)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for name in NAMES:
        gradient = getattr(maps, name).grad
        assert gradient is not None
        gradients[name] = gradient
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def test_the_loss_is_100_heat_maps_and_the_two_others_joint_by_joint(head: DetNetHead) -> None:
    targets = some_hidden(draw_targets(HANDS), torch.nan)
    maps = _random_maps()
    true = _true_maps(targets)
    _, has_bone = bone_directions(targets.masked_joints, targets.valid_3d)
    expected = {}
    for name, mask in zip(NAMES, (targets.valid, has_bone, targets.valid_3d), strict=True):
        apart = getattr(maps, name).detach() - getattr(true, name)
        if name == "heat_maps":
            costs = 0.5 * 21 * apart.square().mean((2, 3))
        else:
            costs = (true.heat_maps[:, :, None] * apart).square().sum((2, 3, 4))
        expected[name.removesuffix("_maps")] = float(costs[mask].mean())
    losses = {name: float(loss.detach()) for name, loss in head.loss(maps, targets).items()}
    expected["loss"] = 100 * expected["heat"] + expected["delta"] + expected["location"]
    expected["heat_map"] = expected.pop("heat")
    assert losses == pytest.approx(expected, rel=1e-9)


def _parts_of_the_loss(head: DetNetHead, side: int) -> tuple[float, float]:
    """What the heat maps and what the other maps add to the loss of a head that has learned nothing."""
    targets = draw_targets(HANDS)
    nothing = torch.zeros(HANDS, 21, 4, side, side, dtype=torch.float64)
    losses = head.loss(DetNetMaps(nothing[:, :, 0], nothing[:, :, 1:], nothing[:, :, 1:]), targets)
    others = float(losses["delta"] + losses["location"])
    return float(losses["loss"]) - others, others


def test_the_parts_of_the_loss_are_balanced_alike_at_64_and_128_pixels(head: DetNetHead) -> None:
    balanced = DetNetHead(CHANNELS)
    parts = {px: _parts_of_the_loss(balanced, px // 4) for px in (64, 128, 256)}
    assert parts[128] == _parts_of_the_loss(head, 32)  # which is the paper's
    for px in (64, 256):
        assert parts[px] == pytest.approx(parts[128], rel=0.02)
    assert _parts_of_the_loss(head, 16)[0] > 3.5 * parts[64][0]


def test_heat_maps_through_a_sigmoid_lie_between_0_and_1(head: DetNetHead) -> None:
    sigmoid = DetNetHead(CHANNELS, sigmoid=True)
    sigmoid.load_state_dict(head.state_dict())
    features = (torch.randn(1, CHANNELS, 2, 2, generator=torch.Generator().manual_seed(1)),)
    linear, squashed = head.eval()(features).heat_maps, sigmoid.eval()(features).heat_maps
    torch.testing.assert_close(squashed, linear.sigmoid())


def test_only_joints_in_the_mask_of_a_kind_of_map_get_a_gradient(head: DetNetHead) -> None:
    targets = some_hidden(draw_targets(HANDS), torch.nan)
    _, gradients = _gradients(head, targets)
    _, has_bone = bone_directions(targets.masked_joints, targets.valid_3d)
    for name, mask in zip(NAMES, (targets.valid, has_bone, targets.valid_3d), strict=True):
        assert torch.equal(gradients[name].flatten(2).ne(0).any(2), mask), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_true_maps_are_decoded_to_the_true_joints(head: DetNetHead, dtype: torch.dtype) -> None:
    targets = draw_targets(HANDS, dtype=dtype)
    estimate = head.decode(_true_maps(targets), None)
    assert estimate.keypoints.dtype == estimate.joints.dtype == estimate.confidence.dtype == torch.float32
    torch.testing.assert_close(estimate.keypoints, targets.keypoints.float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate.joints, targets.joints.float(), rtol=0, atol=1e-5)
    assert (estimate.confidence > 0.75).all()
    assert (estimate.confidence <= 1).all()


def test_3d_joints_are_read_at_their_own_peaks_and_relative_to_the_wrist(head: DetNetHead) -> None:
    targets = draw_targets(HANDS)
    true = _true_maps(targets)
    at_peak = true.heat_maps == true.heat_maps.amax((2, 3), keepdim=True)
    wrong = torch.full_like(true.location_maps, 99.0)
    moved = true.location_maps + torch.tensor([0.5, -1.0, 2.0])[:, None, None]
    maps = replace(true, location_maps=moved.where(at_peak[:, :, None], wrong))
    torch.testing.assert_close(head.decode(maps, None).joints, targets.joints.float(), rtol=0, atol=1e-5)


def test_confidence_is_the_height_of_the_peak_clipped_to_0_and_1(head: DetNetHead) -> None:
    maps = _true_maps(draw_targets(HANDS))
    heights = torch.linspace(-0.5, 1.5, 21, dtype=torch.float64)[:, None, None]
    flat = torch.zeros_like(maps.heat_maps) - 9
    flat[..., 3, 5] = heights[:, 0, 0]
    estimate = head.decode(replace(maps, heat_maps=flat), None)
    torch.testing.assert_close(estimate.confidence, heights[:, 0, 0].clamp(0, 1).float().expand(HANDS, 21))


def test_bone_directions_are_those_of_loops_over_bones() -> None:
    targets = some_hidden(draw_targets(4), 0.0)
    directions, exists = bone_directions(targets.masked_joints, targets.valid_3d)
    for hand in range(4):
        valid, joints = targets.valid_3d[hand].tolist(), targets.masked_joints[hand].tolist()
        for joint, parent in enumerate(PARENTS):
            direction = directions[hand, joint].tolist()
            if joint == 0:
                assert direction == [0, 0, 0]
                assert bool(exists[hand, 0]) == valid[0]
                continue
            assert bool(exists[hand, joint]) == (valid[joint] and valid[parent])
            if not exists[hand, joint]:
                assert direction == [0, 0, 0]
                continue
            length = math.dist(joints[joint], joints[parent])
            expected = [(b - a) / length for a, b in zip(joints[parent], joints[joint], strict=True)]
            assert math.dist(direction, expected) < 1e-12


def test_bones_without_length_have_no_direction() -> None:
    targets = draw_targets(2)
    joints = targets.joints.clone()
    joints[0, 6] = joints[0, 5]
    joints[1, 13] = joints[1, 0] + torch.tensor([0, 1e-7, 0])
    directions, exists = bone_directions(joints, targets.valid)
    assert not exists[0, 6]
    assert not exists[1, 13]
    assert exists.sum() == 2 * 21 - 2
    assert (directions[~exists] == 0).all()
    assert torch.isfinite(directions).all()


def _points(seed: int, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    unit = torch.rand(4, 21, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * unit


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_heat_maps_are_gaussians_cell_by_cell(sigma: float) -> None:
    points = _points(0, low=-0.2, high=1.2)
    maps = gaussian_heat_maps(points, 6, sigma)
    assert maps.shape == (4, 21, 6, 6)
    for hand, joint in [(0, 0), (1, 20), (3, 7)]:
        x, y = (6 * float(value) for value in points[hand, joint])
        for row in range(6):
            for column in range(6):
                apart = math.dist((column + 0.5, row + 0.5), (x, y))
                expected = math.exp(-(apart**2) / (2 * sigma**2))
                assert float(maps[hand, joint, row, column]) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**31), st.sampled_from([8, 16, 32]), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=40, deadline=None)
def test_peaks_of_gaussians_are_found_exactly(seed: int, side: int, dtype: torch.dtype) -> None:
    points = _points(seed, low=1 / side, high=1 - 1 / side).to(dtype)
    cells, found, _ = find_peaks(gaussian_heat_maps(points, side))
    torch.testing.assert_close(found, points, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
    column, row = (points * side).long().unbind(-1)
    assert torch.equal(cells, row * side + column)


def test_peaks_are_found_whatever_their_height() -> None:
    points = _points(1, low=0.1, high=0.9)
    for height in (0.05, 3.0):
        _, found, heights = find_peaks(height * gaussian_heat_maps(points, SIDE))
        torch.testing.assert_close(found, points, rtol=0, atol=1e-12)
        assert (heights <= height).all()
        assert (heights >= height * math.exp(-0.25)).all(), "no cell's centre is further away"


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_peak_at_the_border_is_the_centre_of_its_cell(seed: int) -> None:
    points = _points(seed, low=0.1, high=0.9)
    points[0, :, 0] /= 2 * SIDE  # left of the first cell's centre
    points[1, :, 0] = 1 + points[1, :, 0]
    points[2, :, 1] = -points[2, :, 1] / SIDE
    points[3, :, 1] = 1 + points[3, :, 1] / SIDE
    _, found, _ = find_peaks(gaussian_heat_maps(points, SIDE))
    for hand, axis, place in [(0, 0, 0.5), (1, 0, SIDE - 0.5), (2, 1, 0.5), (3, 1, SIDE - 0.5)]:
        assert (found[hand, :, axis] == place / SIDE).all()
        if hand != 1:  # so far outside that all cells are about 0
            other = 1 - axis
            torch.testing.assert_close(found[hand, :, other], points[hand, :, other], rtol=0, atol=1e-12)


def _single_cells(cells: dict[tuple[int, int], float], background: float = 0.0) -> Tensor:
    maps = torch.full((1, 21, 4, 6), background)
    for (row, column), heat in cells.items():
        maps[..., row, column] = heat
    return maps


@pytest.mark.parametrize("background", [0.0, -1.0])
def test_a_peak_beside_cells_of_0_is_the_centre_of_the_first_highest_cell(background: float) -> None:
    cells, points, heights = find_peaks(_single_cells({(2, 3): 1.0, (2, 4): 0.5}, background))
    assert (cells == 2 * 6 + 3).all()
    assert (points == torch.tensor([3.5 / 6, 2.5 / 4])).all()
    assert (heights == 1).all()
    cells, _, _ = find_peaks(_single_cells({(1, 4): 1.0, (2, 2): 1.0, (3, 5): 1.0}, background))
    assert (cells == 1 * 6 + 4).all()


def test_peaks_of_plateaus_stay_within_their_cell() -> None:
    for maps in (
        _single_cells({}),
        _single_cells({}, -3.0),
        _single_cells({}, 0.7),
        _single_cells({(1, 2): 0.9, (1, 3): 0.9}, 0.5),
    ):
        cells, points, _ = find_peaks(maps)
        column, row = cells % 6, cells // 6
        apart = points * torch.tensor([6.0, 4.0]) - torch.stack([column, row], -1) - 0.5
        assert (apart.abs() <= 0.5 + 1e-6).all()


VIDEOS, LEARNED_HANDS, SIZE_PX = 2, 8, 32
STEPS, WARMUP_STEPS, DECAY_STEPS, LEARNING_RATE = 120, 10, 50, 2e-3
"""All hands are in every step; the rate rises linearly over the first steps and falls to 0 over the last."""


def _hands() -> tuple[Tensor, HandTargets, NDArray[np.float64]]:
    """Images in 0..1, targets, and joints in the camera frame, of right hands of two people, four each."""
    config = SyntheticConfig(
        videos=VIDEOS,
        hands_per_video=LEARNED_HANDS // VIDEOS,
        seed=0,
        size_px=SIZE_PX,
        motion=MotionConfig(left_share=0.0),
    )
    hands = [*synthesise_labelled(config, crop_enlargement=1.75)]
    images = torch.from_numpy(np.stack([hand.image for hand in hands])).permute(0, 3, 1, 2) / 255
    joints_mm = np.stack([hand.joints_3d_mm for hand in hands]).astype(np.float64)
    relative = joints_mm - joints_mm[:, [WRIST]]
    bones_mm = np.linalg.norm(relative[:, REFERENCE_BONE[1]], axis=-1)
    targets = HandTargets(
        keypoints=torch.from_numpy(np.stack([hand.keypoints_2d_px for hand in hands]) / SIZE_PX).float(),
        joints=torch.from_numpy(relative / bones_mm[:, None, None]).float(),
        valid=torch.ones(LEARNED_HANDS, 21, dtype=torch.bool),
        has_scale=torch.ones(LEARNED_HANDS, dtype=torch.bool),
    )
    return images, targets, joints_mm


def _small_trunk() -> nn.Sequential:
    """Maps of 128 channels at 1/32 of a view's side; a ResNet takes four times as long to learn the hands."""
    channels = (3, 32, 64, 128, 128, 128)
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_detnet_learns_8_hands_to_less_than_3_mm() -> None:
    """Evaluated with the running statistics of its batch norms."""
    images, targets, joints_mm = _hands()
    torch.manual_seed(0)
    trunk, head = _small_trunk(), DetNetHead(128)
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS, (STEPS - step) / DECAY_STEPS)
    )
    for _ in range(STEPS):
        loss = head.loss(head((trunk(images),)), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    trunk.eval()
    head.eval()
    with torch.no_grad():
        estimate = head.decode(head((trunk(images),)), None)
    assert float((estimate.keypoints - targets.keypoints).norm(dim=-1).mean()) * SIZE_PX < 0.5
    scores = score_poses(estimate.joints.numpy(), joints_mm, targets.valid.numpy())
    assert scores.root_scale.mpjpe_mm < 3
