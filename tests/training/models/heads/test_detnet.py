"""DetNet: its maps, what they should be, and what is read from them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.training.models.drawn_targets import draw_targets, hide, some_hidden
from training.models.detnet import DetNetHead, DetNetMaps, bone_directions, gaussian_heat_maps
from training.models.head import HandTargets

HANDS, SIDE, CHANNELS = 4, 16, 32
NAMES = ("heat_maps", "delta_maps", "location_maps")


@pytest.fixture(scope="module")
def head() -> DetNetHead:
    torch.manual_seed(0)
    return DetNetHead(CHANNELS)


def _drawn_maps(seed: int = 0) -> DetNetMaps:
    random = torch.Generator().manual_seed(seed)
    heat = torch.randn(HANDS, 21, SIDE, SIDE, generator=random, dtype=torch.float64)
    vectors = torch.randn(2, HANDS, 21, 3, SIDE, SIDE, generator=random, dtype=torch.float64)
    return DetNetMaps(heat.requires_grad_(), vectors[0].requires_grad_(), vectors[1].requires_grad_())


def _true_maps(targets: HandTargets) -> DetNetMaps:
    def everywhere(vectors: Tensor) -> Tensor:
        return vectors[..., None, None].expand(-1, -1, -1, SIDE, SIDE)

    return DetNetMaps(
        gaussian_heat_maps(targets.known_keypoints, SIDE),
        everywhere(bone_directions(targets.known_joints, targets.valid_3d)[0]),
        everywhere(targets.known_joints),
    )


def _gradients(head: DetNetHead, targets: HandTargets) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, and the gradient of each kind of map."""
    maps = _drawn_maps()
    losses = head.loss(maps, targets)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for name in NAMES:
        gradient = getattr(maps, name).grad
        assert gradient is not None
        gradients[name] = gradient
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def test_maps_are_four_steps_finer_than_the_trunk(head: DetNetHead) -> None:
    stages = tuple(torch.randn(2, CHANNELS, side, side) for side in (16, 8, 4, 2))
    maps = head(stages)
    assert maps.heat_maps.shape == (2, 21, 16, 16)
    assert maps.delta_maps.shape == maps.location_maps.shape == (2, 21, 3, 16, 16)


def test_each_kind_of_map_sees_features_places_and_all_earlier_maps(head: DetNetHead) -> None:
    """Convolution after convolution, by hand."""
    head = head.eval()
    last = torch.randn(1, CHANNELS, 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = head((last,))
        line = torch.linspace(-1, 1, 16)
        x, y = line.expand(16, 16), line[:, None].expand(16, 16)
        seen = torch.cat([head.upsampling(last), x[None, None], y[None, None]], 1)
        heat = head.heat(seen)
        delta = head.delta(torch.cat([seen, heat], 1))
        location = head.location(torch.cat([seen, heat, delta], 1))
    head.train()
    assert torch.equal(maps.heat_maps, heat)
    assert torch.equal(maps.delta_maps.flatten(1, 2), delta)
    assert torch.equal(maps.location_maps.flatten(1, 2), location)


def test_the_loss_is_100_heat_maps_and_the_two_others(head: DetNetHead) -> None:
    """Joint by joint; the delta maps of joints whose parent is hidden do not count."""
    targets = some_hidden(draw_targets(HANDS), torch.nan)
    maps = _drawn_maps()
    true = _true_maps(targets)
    _, has_bone = bone_directions(targets.known_joints, targets.valid_3d)
    sums, counts = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0)
    for hand in range(HANDS):
        for joint in range(21):
            heat = true.heat_maps[hand, joint]
            for name, mask in zip(NAMES, (targets.valid, has_bone, targets.valid_3d), strict=True):
                if not mask[hand, joint]:
                    continue
                apart = getattr(maps, name)[hand, joint].detach() - getattr(true, name)[hand, joint]
                cost = 0.5 * 21 * (apart**2).mean() if name == "heat_maps" else ((heat * apart) ** 2).sum()
                sums[name] += float(cost)
                counts[name] += 1
    expected = {name.removesuffix("_maps"): sums[name] / counts[name] for name in NAMES}
    found = {name: float(loss.detach()) for name, loss in head.loss(maps, targets).items()}
    assert found.keys() == {"loss", "heat_map", "delta", "location"}
    assert found["heat_map"] == pytest.approx(expected["heat"], rel=1e-9)
    assert found["delta"] == pytest.approx(expected["delta"], rel=1e-9)
    assert found["location"] == pytest.approx(expected["location"], rel=1e-9)
    total = 100 * expected["heat"] + expected["delta"] + expected["location"]
    assert found["loss"] == pytest.approx(total, rel=1e-9)


def test_maps_that_are_right_cost_nothing(head: DetNetHead) -> None:
    targets = some_hidden(draw_targets(HANDS), torch.nan)
    assert all(float(loss) == 0 for loss in head.loss(_true_maps(targets), targets).values())


@pytest.mark.parametrize("filling", [torch.nan, torch.inf, 1e30])
def test_what_is_hidden_has_no_part_in_it(head: DetNetHead, filling: float) -> None:
    """To the last bit: neither the loss nor a gradient knows what stands where nothing is known."""
    losses, gradients = _gradients(head, some_hidden(draw_targets(HANDS), 0.0))
    others, other_gradients = _gradients(head, some_hidden(draw_targets(HANDS), filling))
    assert losses == others
    assert torch.isfinite(losses["loss"])
    assert all(torch.equal(gradients[name], other_gradients[name]) for name in NAMES)
    told = some_hidden(draw_targets(HANDS), 0.0)
    _, has_bone = bone_directions(told.known_joints, told.valid_3d)
    for name, mask in zip(NAMES, (told.valid, has_bone, told.valid_3d), strict=True):
        learned = gradients[name].flatten(2).ne(0).any(2)
        assert torch.equal(learned, mask), name


def test_without_a_scale_only_2d_joints_are_learned(head: DetNetHead) -> None:
    nothing = torch.zeros(HANDS, 21, dtype=torch.bool)
    losses, gradients = _gradients(head, hide(draw_targets(HANDS), nothing, ~nothing[:, 0], torch.nan))
    assert losses["delta"] == losses["location"] == 0
    assert losses["heat_map"] > 0
    assert losses["loss"] == 100 * losses["heat_map"]
    assert (gradients["delta_maps"] == 0).all()
    assert (gradients["location_maps"] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_made_of_the_truth_are_read_as_the_truth(head: DetNetHead, dtype: torch.dtype) -> None:
    targets = draw_targets(HANDS, dtype=dtype)
    told = head.decode(_true_maps(targets), None)
    assert told.keypoints.dtype == told.joints.dtype == told.confidence.dtype == torch.float32
    torch.testing.assert_close(told.keypoints, targets.keypoints.float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(told.joints, targets.joints.float(), rtol=0, atol=1e-5)
    assert (told.confidence > 0.75).all()
    assert (told.confidence <= 1).all()


def test_3d_joints_are_read_at_their_own_peaks_and_from_the_wrist(head: DetNetHead) -> None:
    """Cells elsewhere hold nonsense; the wrist's own location is taken off all."""
    targets = draw_targets(HANDS)
    true = _true_maps(targets)
    warm = true.heat_maps == true.heat_maps.amax((2, 3), keepdim=True)
    wrong = torch.full_like(true.location_maps, 99.0)
    moved = true.location_maps + torch.tensor([0.5, -1.0, 2.0])[:, None, None]
    maps = replace(true, location_maps=moved.where(warm[:, :, None], wrong))
    torch.testing.assert_close(head.decode(maps, None).joints, targets.joints.float(), rtol=0, atol=1e-5)


def test_confidence_is_the_height_of_the_peak_from_0_to_1(head: DetNetHead) -> None:
    maps = _true_maps(draw_targets(HANDS))
    heights = torch.linspace(-0.5, 1.5, 21, dtype=torch.float64)[:, None, None]
    flat = torch.zeros_like(maps.heat_maps) - 9
    flat[..., 3, 5] = heights[:, 0, 0]
    told = head.decode(replace(maps, heat_maps=flat), None)
    torch.testing.assert_close(told.confidence, heights[:, 0, 0].clamp(0, 1).float().expand(HANDS, 21))
