import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.training.augmentation.hands import random_keypoints, seeded
from training.augmentation import AugmentationSettings
from training.augmentation.views import Placement, draw_parameters, place
from training.losses.equivariance import motion_of

SETTINGS = AugmentationSettings(rotation_deg=180, jitter_px=(-15, 15))


def placed(seed: int, count: int = 6, *, follow_hand: bool = True) -> Placement:
    draws = draw_parameters(SETTINGS, count, seeded(seed))
    return place(random_keypoints(count, seed).double(), draws, follow_hand=follow_hand)


def step_by_step(
    keypoints: NDArray[np.float64], angle_deg: float, margin: float, jitter_px: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Keypoints [21, 2] of a hand in its view, in the order told: turn, box, enlarge, move, resize."""
    joints = keypoints * 224
    matrix = cv2.getRotationMatrix2D(joints.mean(axis=0).tolist(), angle_deg, 1.0)
    turned = joints @ matrix[:, :2].T + matrix[:, 2]
    width, height = turned.max(axis=0) - turned.min(axis=0)
    side = margin * max(width, height)
    corner = turned.mean(axis=0) - side / 2 - jitter_px  # the box goes one way, the hand in it the other
    mapped: NDArray[np.float64] = (turned - corner) / side
    return mapped


@given(st.integers(0, 2**31))
def test_views_lie_where_each_step_alone_puts_them(seed: int) -> None:
    keypoints, draws = random_keypoints(3, seed).double(), draw_parameters(SETTINGS, 3, seeded(seed))
    placement = place(keypoints, draws, follow_hand=True)
    for row in range(3):
        expected = step_by_step(
            keypoints[row].numpy(),
            float(draws.angle_deg[row]),
            float(draws.margin[row]),
            draws.jitter_px[row].numpy(),
        )
        np.testing.assert_allclose(placement.keypoints[row].numpy(), expected, atol=1e-9)


@given(st.integers(0, 2**31), st.booleans())
def test_keypoints_translation_and_angle_are_those_of_the_affine(seed: int, follow_hand: bool) -> None:
    keypoints = random_keypoints(6, seed).double()
    placement = placed(seed, follow_hand=follow_hand)
    mapped = (
        torch.einsum("bij,bkj->bki", placement.affine[:, :, :2], keypoints) + placement.affine[:, None, :, 2]
    )
    torch.testing.assert_close(placement.keypoints, mapped)
    translation, angle_deg = motion_of(placement.affine, keypoints.mean(1))
    torch.testing.assert_close(placement.translation, translation)
    torch.testing.assert_close(angle_deg, draw_parameters(SETTINGS, 6, seeded(seed)).angle_deg)
    torch.testing.assert_close(placement.translation, placement.keypoints.mean(1) - 0.5)


@given(st.integers(0, 2**31))
def test_the_translation_is_the_jitter(seed: int) -> None:
    placement = placed(seed)
    jitter_px = draw_parameters(SETTINGS, 6, seeded(seed)).jitter_px
    torch.testing.assert_close(placement.translation * placement.side[:, None] * 224, jitter_px)


def test_a_positive_angle_turns_counter_clockwise_as_displayed() -> None:
    keypoints = random_keypoints(1).double()
    keypoints[0, 5] = keypoints[0].mean(0) + torch.tensor([0.2, 0.0])  # to the right of the others
    draws = draw_parameters(AugmentationSettings(jitter_px=(0, 0)), 1, seeded())
    draws.angle_deg.fill_(90)
    around = place(keypoints, draws, follow_hand=True).keypoints[0]
    up = around[5] - around.mean(0)
    assert up[1] < -10 * up[0].abs()


def test_the_margin_leaves_the_box_of_the_turned_hand_as_much_room_as_asked_for() -> None:
    draws = draw_parameters(AugmentationSettings(margin=(1.25, 1.25)), 40, seeded(1))
    keypoints = place(random_keypoints(40).double(), draws, follow_hand=True).keypoints
    longer = (keypoints.amax(1) - keypoints.amin(1)).amax(1)
    torch.testing.assert_close(longer, torch.full_like(longer, 1 / 1.25))


@pytest.mark.parametrize("broken", ["one joint", "all joints", "infinite", "in one spot"])
@pytest.mark.parametrize("follow_hand", [True, False])
def test_a_broken_hand_is_taken_for_one_that_fills_its_crop(broken: str, follow_hand: bool) -> None:
    keypoints, draws = random_keypoints(3).double(), draw_parameters(SETTINGS, 3, seeded(2))
    sound = place(keypoints, draws, follow_hand=follow_hand)
    keypoints = keypoints.clone()
    match broken:
        case "one joint":
            keypoints[1, 4, 0] = torch.nan
        case "all joints":
            keypoints[1] = torch.nan
        case "infinite":
            keypoints[1, 0] = torch.inf
        case _:
            keypoints[1] = 0.25
    placement = place(keypoints, draws, follow_hand=follow_hand)
    for name in ("affine", "side", "keypoints", "translation"):  # the others are as they were
        assert torch.equal(getattr(placement, name)[::2], getattr(sound, name)[::2])
    assert float(placement.side[1]) == pytest.approx(float(draws.margin[1]) / 1.3 if follow_hand else 1)
    translation, angle_deg = motion_of(placement.affine[1:2], torch.full((1, 2), 0.5, dtype=torch.float64))
    torch.testing.assert_close(placement.translation[1:2], translation)
    torch.testing.assert_close(angle_deg, draws.angle_deg[1:2])
    assert torch.equal(placement.keypoints[1].isfinite(), keypoints[1].isfinite()) or broken == "one joint"
    assert int((~placement.keypoints[1].isfinite().all(1)).sum()) == int(
        (~keypoints[1].isfinite().all(1)).sum()
    )


@pytest.mark.parametrize(
    ("crop_px", "view_px", "side", "halvings"),
    [
        (224, 128, 0.5, 0),  # enlarged
        (224, 128, 1.0, 0),  # 1.75 times smaller
        (224, 112, 1.0, 1),
        (224, 64, 1.0, 1),
        (224, 56, 1.0, 2),
        (224, 8, 4.0, 5),  # 112 times, but 224 can be halved five times
        (225, 64, 1.0, 0),
    ],
)
def test_crops_are_halved_as_long_as_less_than_half_is_left_to_go(
    crop_px: int, view_px: int, side: float, halvings: int
) -> None:
    placement = placed(0, count=1)
    placement.side.fill_(side)
    assert placement.halvings(crop_px, view_px).tolist() == [halvings]
