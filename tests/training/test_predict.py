"""Estimates in photographs and videos: left hands are mirrored on the way in and back on the way out."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handsim.detection import Detection
from handsim.errors import HandsimError, UnusableError
from tests.handsim.builders import write_video
from tests.training.finetune.builders import DrawnHands
from training.finetune.predictor import Inference
from training.predict import (
    HandPlace,
    estimate_hands,
    is_video,
    place_of_box,
    place_of_detection,
    place_of_whole_picture,
    read_pictures,
)

FOCAL_PX = 150.0


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return DrawnHands(1)[0].image


def _place(x0: float, x1: float, side: str, inference: Inference, picture: NDArray[np.uint8]) -> HandPlace:
    size = (picture.shape[1], picture.shape[0])
    return place_of_box([x0, 20, x1, 70], "left" if side == "left" else "right", size, inference)


def test_a_right_hand_is_the_output_of_the_estimator(
    untrained: Inference, picture: NDArray[np.uint8]
) -> None:
    place = _place(30, 70, "right", untrained, picture)
    (hand,) = estimate_hands(untrained, picture, [place], FOCAL_PX)
    k = np.array([[FOCAL_PX, 0, 48], [0, FOCAL_PX, 40], [0, 0, 1]])
    expected = untrained.predict([picture], place.square_px[None], k[None])
    np.testing.assert_array_equal(hand.keypoints_2d_px, expected.keypoints_2d_px[0])
    np.testing.assert_array_equal(hand.joints_3d_mm, expected.joints_3d_mm[0])
    np.testing.assert_array_equal(hand.confidence, expected.confidence[0])
    assert expected.camera_3d_mm is not None
    np.testing.assert_array_equal(hand.camera_3d_mm, expected.camera_3d_mm[0])


def test_a_left_hand_is_the_right_hand_of_the_mirrored_picture(
    untrained: Inference, picture: NDArray[np.uint8]
) -> None:
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    (left,) = estimate_hands(untrained, picture, [_place(20, 60, "left", untrained, picture)], FOCAL_PX)
    place = _place(96 - 60, 96 - 20, "right", untrained, picture)
    (right,) = estimate_hands(untrained, mirrored, [place], FOCAL_PX)
    np.testing.assert_allclose(left.keypoints_2d_px[:, 0], 96 - right.keypoints_2d_px[:, 0], atol=1e-3)
    np.testing.assert_allclose(left.keypoints_2d_px[:, 1], right.keypoints_2d_px[:, 1], atol=1e-3)
    flip = np.array([-1, 1, 1])
    np.testing.assert_allclose(left.joints_3d_mm, right.joints_3d_mm * flip, atol=1e-3)
    assert left.camera_3d_mm is not None
    assert right.camera_3d_mm is not None
    np.testing.assert_allclose(left.camera_3d_mm, right.camera_3d_mm * flip, atol=0.1)


def test_the_focal_length_gives_positions_in_the_camera_frame(
    untrained: Inference, picture: NDArray[np.uint8]
) -> None:
    """Seen by a camera of twice the focal length, the same picture shows a hand about twice as far away."""
    place = _place(30, 70, "left", untrained, picture)
    depths = []
    for focal_px in (5_000.0, 10_000.0):
        (hand,) = estimate_hands(untrained, picture, [place], focal_px)
        assert hand.camera_3d_mm is not None
        relative = hand.camera_3d_mm - hand.camera_3d_mm[0]
        np.testing.assert_allclose(relative, hand.joints_3d_mm - hand.joints_3d_mm[0], atol=0.1)
        depths.append(float(hand.camera_3d_mm[0, 2]))
    assert depths[1] / depths[0] == pytest.approx(2, rel=0.1)
    (relative,) = estimate_hands(untrained, picture, [place])
    assert relative.camera_3d_mm is None


def test_hands_of_both_sides_keep_their_order(untrained: Inference, picture: NDArray[np.uint8]) -> None:
    places = [
        _place(20 + 5 * n, 60 + 5 * n, "left" if n % 2 else "right", untrained, picture) for n in range(4)
    ]
    together = estimate_hands(untrained, picture, places)
    for hand, place in zip(together, places, strict=True):
        assert hand.place is place
        (alone,) = estimate_hands(untrained, picture, [place])
        np.testing.assert_allclose(hand.keypoints_2d_px, alone.keypoints_2d_px, atol=0.01)
        np.testing.assert_allclose(hand.joints_3d_mm, alone.joints_3d_mm, atol=0.01)


def test_no_places_give_no_hands(untrained: Inference, picture: NDArray[np.uint8]) -> None:
    assert estimate_hands(untrained, picture, []) == []


def test_a_detected_hand_is_cropped_as_in_training(untrained: Inference) -> None:
    hand = DrawnHands(1).label(0)
    keypoints = np.concatenate([hand.keypoints_2d_px, np.zeros((21, 1), np.float32)], axis=1)
    place = place_of_detection(Detection("left", 0.8, keypoints), hand.size_px, untrained)
    assert (place.side, place.score) == ("left", 0.8)
    box = np.concatenate([hand.keypoints_2d_px.min(axis=0), hand.keypoints_2d_px.max(axis=0)])
    np.testing.assert_allclose(place.box_px, box)
    # DetNet's 1.75, as the recipe says.
    side = 1.75 * max(box[2] - box[0], box[3] - box[1])
    np.testing.assert_allclose(place.square_px[2:] - place.square_px[:2], side, rtol=1e-5)
    np.testing.assert_allclose(place.square_px[:2] + place.square_px[2:], box[:2] + box[2:], rtol=1e-5)


def test_a_box_is_enlarged_as_in_training(untrained: Inference) -> None:
    place = place_of_box([40, 50, 80, 70], "right", (200, 100), untrained)
    np.testing.assert_allclose(place.square_px, [60 - 35, 60 - 35, 60 + 35, 60 + 35])
    assert (place.side, place.score) == ("right", None)


def test_a_whole_picture_becomes_a_square_of_its_longer_side() -> None:
    np.testing.assert_allclose(place_of_whole_picture("right", (80, 100)).square_px, [-10, 0, 90, 100])


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([10, 10, 10, 20], r"box \[10.0, 10.0, 10.0, 20.0\] is not"),
        ([10, 10, 5, 20], "with x1 > x0"),
        ([200, 10, 240, 20], "lies outside the picture of 200 x 100 pixels; give x0,y0,x1,y1"),
        ([10, -40, 30, -20], "lies outside the picture"),
    ],
)
def test_bad_boxes_are_refused(untrained: Inference, box: list[float], said: str) -> None:
    with pytest.raises(HandsimError, match=said):
        place_of_box(box, "right", (200, 100), untrained)


def test_a_photograph_is_one_picture(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / "a.png")
    (picture,) = read_pictures(tmp_path / "a.png", 1.0)
    assert picture.image.shape == (20, 30, 3)
    assert picture.image[0, 0].tolist() == [10, 200, 30]
    assert (picture.frame, picture.time_s) == (None, None)


@pytest.mark.parametrize("every_s", [0.5, 1.0, 2.0])
def test_a_video_gives_a_frame_every_so_often(tmp_path: Path, every_s: float) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=4)
    pictures = list(read_pictures(path, every_s))
    assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(0, 4, every_s))
    for picture in pictures:
        assert picture.frame is not None
        assert abs(float(picture.image.mean()) - picture.frame / 2) < 5


def test_videos_are_recognised_by_their_names() -> None:
    assert is_video(Path("a/B.MP4"))
    assert not is_video(Path("a/mp4.jpg"))


def test_unusable_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    (tmp_path / "v.mp4").write_text("no video")
    for name, said in (
        ("gone.jpg", "no such file"),
        (".", r"a folder: its pictures would do, as in .*\*.jpg"),
        ("note.txt", "not an image"),
        ("v.mp4", "not a video"),
    ):
        with pytest.raises(UnusableError, match=said):
            next(read_pictures(tmp_path / name, 1.0))
