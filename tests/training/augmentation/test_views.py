import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.augmentation.hands import COLOURS_KEPT, UNCHANGED, random_keypoints, seeded, smooth_crops
from training.augmentation import AugmentationSettings, AugmentedViews, augment
from training.augmentation.pixels import FILLED_WITH
from training.losses.equivariance import motion_of

EVERYTHING = AugmentationSettings(
    size_px=37, grey_probability=0.5, blur_probability=0.5, cut_out_probability=0.5, blur_sigma_px=(0.1, 2.0)
)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def equal(one: AugmentedViews, other: AugmentedViews) -> bool:
    return all(
        torch.equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(AugmentedViews)
    )


def test_views_are_what_they_say() -> None:
    crops, keypoints = smooth_crops(5, 64), random_keypoints(5)
    views = augment(crops, keypoints, AugmentationSettings(size_px=48), seeded())
    assert views.images.shape == (5, 3, 48, 48)
    assert 0 <= float(views.images.min()) < float(views.images.max()) <= 1
    assert {getattr(views, field.name).dtype for field in fields(AugmentedViews)} == {torch.float32}
    mapped = torch.einsum("bij,bkj->bki", views.affine[:, :, :2], keypoints) + views.affine[:, None, :, 2]
    torch.testing.assert_close(views.keypoints, mapped)
    translation, angle_deg = motion_of(views.affine, keypoints.mean(1))
    torch.testing.assert_close(views.translation, translation, atol=1e-5, rtol=0)
    torch.testing.assert_close(views.angle_deg, angle_deg, atol=1e-3, rtol=0)


def test_with_every_step_off_the_view_is_the_crop() -> None:
    crops, keypoints = smooth_crops(3, 40), random_keypoints(3)
    views = augment(crops, keypoints, replace(UNCHANGED, size_px=40), seeded())
    torch.testing.assert_close(views.images * 255, crops.permute(0, 3, 1, 2).float(), atol=0.01, rtol=0)
    torch.testing.assert_close(views.keypoints, keypoints)
    assert not views.angle_deg.any()


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads() -> None:
    crops, keypoints = smooth_crops(23, 61), random_keypoints(23)
    results = []
    for number in (1, 2, 3):
        with threads(number):
            results.append(augment(crops, keypoints, EVERYTHING, seeded(7)))
    assert equal(results[0], results[1])
    assert equal(results[0], results[2])
    assert not equal(results[0], augment(crops, keypoints, EVERYTHING, seeded(8)))


def test_geometry_is_the_same_on_any_number_of_threads_for_large_batches() -> None:
    crops, keypoints = smooth_crops(1, 8).expand(3001, -1, -1, -1), random_keypoints(3001)
    results = []
    for number in (1, 2):
        with threads(number):
            results.append(augment(crops, keypoints, AugmentationSettings(size_px=8), seeded(7)))
    assert equal(*results)


def test_a_view_does_not_depend_on_the_rest_of_the_batch() -> None:
    crops, keypoints = smooth_crops(9, 224), random_keypoints(9)
    many, few = (augment(crops[:n], keypoints[:n], EVERYTHING, seeded(2)) for n in (9, 4))
    torch.testing.assert_close(many.images[:4], few.images, atol=1e-6, rtol=0)
    assert torch.equal(many.affine[:4], few.affine)


def test_spoiling_touches_the_views_it_was_drawn_for_and_no_others() -> None:
    crops, keypoints = smooth_crops(40, 32), random_keypoints(40)
    plain = augment(crops, keypoints, AugmentationSettings(size_px=32), seeded(3))
    for name in ("grey_probability", "blur_probability", "cut_out_probability"):
        changed: dict[str, Any] = {name: 0.4}
        some = augment(crops, keypoints, AugmentationSettings(size_px=32, **changed), seeded(3))
        touched = (some.images != plain.images).flatten(1).any(1)
        assert 8 <= int(touched.sum()) <= 24
        assert torch.equal(some.affine, plain.affine)
    all_grey = augment(
        crops, keypoints, AugmentationSettings(size_px=32, grey_probability=1), seeded(3)
    ).images
    assert torch.equal(all_grey[:, 0], all_grey[:, 2])


def test_the_square_is_cut_last_with_clean_edges() -> None:
    settings = replace(
        UNCHANGED, size_px=40, blur_probability=1, cut_out_probability=1, cut_out_side=(0.5, 0.5)
    )
    images = augment(smooth_crops(10, 40), random_keypoints(10), settings, seeded()).images
    filled = (images == torch.tensor(FILLED_WITH)[:, None, None]).all(1)
    assert filled.flatten(1).any(1).all()


def test_colours_are_kept_when_asked_for() -> None:
    crops = torch.full((2, 32, 32, 3), 77, dtype=torch.uint8)
    settings = replace(COLOURS_KEPT, size_px=32)
    assert augment(crops, random_keypoints(2), settings, seeded()).images.mul(255).sub(77).abs().max() < 1e-3


def test_a_hand_of_broken_keypoints_still_has_a_view_of_its_crop() -> None:
    crops, keypoints = smooth_crops(2, 64), random_keypoints(2)
    keypoints[1, 3] = torch.nan
    views = augment(crops, keypoints, AugmentationSettings(), seeded())
    assert views.images.isfinite().all()
    assert views.translation.isfinite().all()
    assert views.keypoints[1].isnan().any(1).nonzero().tolist() == [[3]]


def test_half_precision_around_it_is_not_for_pixels_places() -> None:
    crops, keypoints = smooth_crops(6, 64), random_keypoints(6).half()
    plain = augment(crops, keypoints, EVERYTHING, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert equal(augment(crops, keypoints, EVERYTHING, seeded()), plain)


def test_views_can_be_trained_on() -> None:
    keypoints = random_keypoints(2).requires_grad_()
    views = augment(smooth_crops(2, 32), keypoints, AugmentationSettings(size_px=32), seeded())
    assert not views.keypoints.requires_grad
    layer = torch.nn.Conv2d(3, 1, 3)
    layer(views.images).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize(
    ("crops", "keypoints", "named"),
    [
        (torch.zeros(2, 32, 32, 3), torch.zeros(2, 21, 2), "crops are float32 [2, 32, 32, 3]"),
        (
            torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
            torch.zeros(2, 21, 2),
            "crops are uint8 [2, 3, 32, 32]",
        ),
        (
            torch.zeros(2, 32, 30, 3, dtype=torch.uint8),
            torch.zeros(2, 21, 2),
            "crops are uint8 [2, 32, 30, 3]",
        ),
        (torch.zeros(32, 32, 3, dtype=torch.uint8), torch.zeros(1, 21, 2), "crops are uint8 [32, 32, 3]"),
        (torch.zeros(0, 32, 32, 3, dtype=torch.uint8), torch.zeros(0, 21, 2), "a batch holds at least one"),
        (torch.zeros(2, 0, 0, 3, dtype=torch.uint8), torch.zeros(2, 21, 2), "of at least one pixel"),
        (
            torch.zeros(2, 32, 32, 3, dtype=torch.uint8),
            torch.zeros(3, 21, 2),
            "keypoints are float32 [3, 21, 2]",
        ),
        (
            torch.zeros(2, 32, 32, 3, dtype=torch.uint8),
            torch.zeros(2, 21, 3),
            "keypoints are float32 [2, 21, 3]",
        ),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.zeros(2, 21, 2).int(), "keypoints are int32"),
    ],
)
def test_what_is_no_batch_is_named(crops: Tensor, keypoints: Tensor, named: str) -> None:
    with pytest.raises(HandsimError, match=re.escape(named)):
        augment(crops, keypoints, AugmentationSettings(), seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU, and there is no GPU")
def test_a_gpu_makes_the_same_views() -> None:
    crops, keypoints = smooth_crops(20, 224), random_keypoints(20)
    settings = replace(EVERYTHING, size_px=128)
    on_cpu = augment(crops, keypoints, settings, seeded())
    on_gpu = augment(crops.cuda(), keypoints.cuda(), settings, seeded())
    assert on_gpu.images.is_cuda
    torch.testing.assert_close(on_gpu.affine.cpu(), on_cpu.affine)
    apart = (on_gpu.images.cpu() - on_cpu.images).abs()
    assert float((apart > 2e-3).double().mean()) < 1e-3
    with pytest.raises(HandsimError, match="draws from one of the CPU"):
        augment(crops.cuda(), keypoints, settings, torch.Generator("cuda"))
