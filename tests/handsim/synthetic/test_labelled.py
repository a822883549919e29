"""Pictures of labelled sets and their truth."""

from dataclasses import fields, replace

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.geometry import crop_affine, cut_crop, square_around
from handsim.skeleton import FINGER_JOINTS, WRIST
from handsim.synthetic import (
    LabelledPicture,
    MotionConfig,
    PeopleConfig,
    SyntheticConfig,
    ViewConfig,
    synthesise,
    synthesise_labelled,
)

CONFIG = SyntheticConfig(
    videos=4,
    hands_per_video=3,
    seed=9,
    size_px=64,
    people=PeopleConfig(count=3),
    motion=MotionConfig(prototypes=("fist",)),
    view=ViewConfig(picture_px=(156, 120), focal_px=(120.0, 220.0)),
)


@pytest.fixture(scope="module")
def whole() -> list[LabelledPicture]:
    return list(synthesise_labelled(CONFIG))


@pytest.fixture(scope="module")
def crops() -> list[LabelledPicture]:
    return list(synthesise_labelled(CONFIG, crop_enlargement=1.3))


def test_what_is_filmed(whole: list[LabelledPicture], crops: list[LabelledPicture]) -> None:
    assert {picture.side for picture in whole} == {"left", "right"}
    for pictures, shape in ((whole, (120, 156, 3)), (crops, (64, 64, 3))):
        assert [picture.image.shape for picture in pictures] == [shape] * 12
        assert [(picture.video, picture.frame) for picture in pictures[2:5]] == [(0, 60), (1, 0), (1, 30)]
        assert [picture.person for picture in pictures[::3]] == [0, 1, 2, 0]


def test_2d_is_the_projection_of_3d(whole: list[LabelledPicture], crops: list[LabelledPicture]) -> None:
    for picture in [*whole, *crops]:
        seen = np.array([picture.intrinsics @ joint for joint in picture.joints_3d_mm.astype(np.float64)])
        np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], picture.keypoints_2d_px, atol=1e-3)
        points = picture.keypoints_2d_px
        np.testing.assert_allclose(picture.box_px, [*points.min(axis=0), *points.max(axis=0)], atol=1e-3)


def test_left_hands_are_left(whole: list[LabelledPicture]) -> None:
    """The triple product of wrist, knuckles and curled fingers has the sign of the hand the camera saw."""
    for picture in whole:
        joints = picture.joints_3d_mm
        index, little = FINGER_JOINTS["index"], FINGER_JOINTS["little"]
        normal = np.cross(joints[index[0]] - joints[WRIST], joints[little[0]] - joints[WRIST])
        sign = np.sign(normal @ (joints[index[1]] - joints[index[0]]))
        assert sign == (1 if picture.side == "right" else -1)


def test_crops_show_the_hands_of_the_pool(crops: list[LabelledPicture]) -> None:
    (samples,) = synthesise(CONFIG, batch_size=100)
    seen = samples.as_seen()
    for row, picture in enumerate(crops):
        np.testing.assert_array_equal(picture.image, seen.images[row])
        np.testing.assert_allclose(picture.keypoints_2d_px, seen.keypoints_px[row], atol=1e-4)
        np.testing.assert_array_equal(picture.joints_3d_mm, seen.joints_mm[row])
        np.testing.assert_allclose(picture.intrinsics, seen.intrinsics[row])


def test_whole_pictures_show_the_same_hands(
    whole: list[LabelledPicture], crops: list[LabelledPicture]
) -> None:
    """Cut out of the whole picture, the hand lies on its crop; backgrounds and sharpness differ."""
    differences = []
    for picture, crop in zip(whole, crops, strict=True):
        square = square_around(picture.box_px)
        inside = picture.box_px.min() > 4 and (picture.box_px[2:] < [152, 116]).all()
        if not inside:
            continue
        affine = crop_affine(square, 64)
        np.testing.assert_allclose(
            picture.keypoints_2d_px * affine[[0, 1], [0, 1]] + affine[:, 2], crop.keypoints_2d_px, atol=1e-2
        )
        there = cut_crop(picture.image, square, 64)
        columns, rows = crop.keypoints_2d_px[crop.visible].astype(int).T
        close = there[rows, columns].astype(float) - crop.image[rows, columns]
        far = there[rows, 63 - columns].astype(float) - crop.image[rows, columns]
        differences.append((np.abs(close).mean(), np.abs(far).mean()))
    assert len(differences) >= 4
    ours, mirrored = np.mean(differences, axis=0)
    assert ours < 20 < mirrored


def test_joints_outside_the_picture_are_not_visible() -> None:
    near = replace(CONFIG, view=replace(CONFIG.view, distance_mm=(250.0, 260.0), focal_px=(400.0, 400.0)))
    hidden = 0
    for picture in synthesise_labelled(near):
        outside = (picture.keypoints_2d_px < 0) | (picture.keypoints_2d_px > [156, 120])
        assert not picture.visible[outside.any(axis=1)].any()
        hidden += outside.any(axis=1).sum()
    assert hidden


def test_same_bytes_whichever_videos_are_filmed(whole: list[LabelledPicture]) -> None:
    again = list(synthesise_labelled(CONFIG, videos=[3, 1]))
    for one, other in zip(again, [*whole[9:12], *whole[3:6]], strict=True):
        for field in fields(LabelledPicture):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_crop_that_cuts_the_hand_is_refused() -> None:
    with pytest.raises(HandsimError, match=r"crop_enlargement is 0\.9"):
        next(synthesise_labelled(CONFIG, crop_enlargement=0.9))
