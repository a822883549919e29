"""What an estimator of a checkpoint estimates in pictures and videos, and where in the camera frame."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handsim.detection import Detection
from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.hand import Side
from handsim.metrics.pose import score_poses
from handsim.synthetic.camera import project
from tests.handsim.builders import write_video
from tests.training.drawn_hands import DrawnHands
from tests.training.finetune.conftest import Place
from training.evaluation.evaluate import predict_split
from training.evaluation.report import score_split
from training.finetune.pose_model import camera_root_mm
from training.finetune.predictor import Inference, load_estimator
from training.models.estimator import HeadName
from training.predict import (
    HandPlace,
    estimate_hands,
    place_of_box,
    place_of_detection,
    place_of_whole_picture,
    read_pictures,
)

HANDS = DrawnHands(5, "val", seed=1)


def test_pictures_and_datasets_have_the_same_estimates(untrained: Inference) -> None:
    hands = [HANDS[row] for row in range(5)]
    cameras = np.stack([hand.intrinsics for hand in hands])
    squares = np.stack([untrained.square(hand.keypoints_2d_px, hand.size_px) for hand in hands])
    result = untrained.predict([hand.image for hand in hands], squares, cameras, batch_size=2)
    read = list(untrained.predict_dataset(HANDS, batch_size=3))
    assert [len(batch) for batch, _ in read] == [3, 2]
    for name in ("joints_3d_mm", "keypoints_2d_px", "confidence", "camera_3d_mm"):
        joined = np.concatenate([getattr(each, name) for _, each in read])
        assert getattr(result, name) == pytest.approx(joined, rel=1e-3, abs=1e-2), name
    assert result.camera_3d_mm is not None
    assert (result.joints_3d_mm[:, 0] == 0).all()
    assert result.camera_3d_mm - result.camera_3d_mm[:, :1] == pytest.approx(result.joints_3d_mm, abs=1e-2)
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()
    ((batch, _),) = untrained.predict_dataset(HANDS, np.array([4, 1]), batch_size=2)
    assert batch.sample_ids == ("val/00004", "val/00001")


def test_keypoints_lie_in_their_squares(untrained: Inference) -> None:
    """Peaks of heat maps lie in the crop, and so in the square."""
    hand = HANDS[0]
    square = np.array([10.0, -5.0, 50.0, 35.0])
    result = untrained.predict([hand.image], square[None])
    assert result.camera_3d_mm is None
    assert (result.keypoints_2d_px[0] >= square[:2] - 1e-3).all()
    assert (result.keypoints_2d_px[0] <= square[2:] + 1e-3).all()
    moved = untrained.predict([np.roll(hand.image, (3, 7), axis=(0, 1))], square[None] + (7, 3, 7, 3))
    inner = np.abs(moved.keypoints_2d_px - result.keypoints_2d_px - (7, 3)).max(axis=2)
    assert np.median(inner) < 0.5


@pytest.mark.parametrize(
    ("pictures", "squares", "cameras", "message"),
    [
        (0, 0, None, "there is no picture to estimate a hand in"),
        (2, 1, None, "there are 2 pictures and 1 squares; give one for each"),
        (1, 1, 3, "there are 1 pictures and 3 K; give one for each"),
    ],
)
def test_numbers_of_pictures_squares_and_cameras_have_to_match(
    untrained: Inference, pictures: int, squares: int, cameras: int | None, message: str
) -> None:
    with pytest.raises(HandsimError, match=message):
        untrained.predict(
            [HANDS[0].image] * pictures,
            np.tile([0.0, 0, 50, 50], (squares, 1)),
            None if cameras is None else np.tile(np.eye(3), (cameras, 1, 1)),
        )


class _Trap:
    """Opens a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return open, (str(self._path), "w")


def _refused(path: Path) -> str:
    with pytest.raises(HandsimError) as caught:
        load_estimator(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    with pytest.raises(NotThereError, match=r"no checkpoint .*other\.ckpt; give one that `handsim finetune`"):
        load_estimator(path)
    path.write_bytes(b"no checkpoint")
    assert "is a text, not weights (it begins with 'no checkpoint')" in _refused(path)
    sprung = tmp_path / "sprung"
    torch.save({"handsim": _Trap(sprung), "state_dict": {}}, path)
    assert "holds a pickled object" in _refused(path)
    assert not sprung.exists()
    torch.save({"conv1.weight": torch.zeros(2)}, path)
    assert f"an encoder is fine-tuned first, with --init {path}" in _refused(path)
    torch.save({"handsim": {"architecture": "resnet18"}, "state_dict": {}}, path)  # of pre-training
    assert "is no checkpoint of `handsim finetune`, but of something else" in _refused(path)


def test_weights_of_another_network_than_the_metadata_name_are_refused(
    untrained: Inference, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.ckpt"
    metadata = deepcopy(untrained.metadata)
    metadata["config"]["encoder"]["architecture"] = "resnet34"
    state = {f"estimator.{name}": tensor for name, tensor in untrained.estimator.state_dict().items()}
    torch.save({"handsim": metadata, "state_dict": state}, path)
    assert "holds other weights than those of the resnet34" in _refused(path)


@pytest.mark.slow
@pytest.mark.parametrize("head", get_args(HeadName))
def test_a_checkpoint_has_the_errors_that_its_run_wrote(
    place: Place, head: HeadName, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read as a dataset in batches, as pictures one after the other, and by the network in memory."""
    missing = {1: [3, 4, 20], 4: [0], 5: [9], 6: list(range(21))}
    val_set = DrawnHands(7, "val", seed=1, invalid=missing)
    steps = ["--trainer.max_steps=2", "--trainer.freeze_trunk=always", "--log.figures_every_steps=2"]
    place.train("run", [f"--estimator.head={head}", *steps], val_set=val_set)
    assert [*(place.folder("run").path / "figures").iterdir()]
    inference = load_estimator(place.folder("run").last, device="cpu")
    assert inference.config.estimator.head == head

    predicted, true = predict_split(inference, val_set, batch_size=2)
    scores = score_split(predicted, true).metrics
    ((_, rooted, scaled),) = place.errors("run")
    assert scores["root_relative_mpjpe_mm"] == pytest.approx(rooted, rel=1e-4)
    assert scores["root_scale_mpjpe_mm"] == pytest.approx(scaled, rel=1e-4)
    summary = f"epoch 0.6667: {rooted:.2f} mm root-relative, {scaled:.2f} mm with the scale aligned, over 7"
    assert summary in capsys.readouterr().out  # beside the progress bar

    hands = [val_set[row] for row in range(7)]
    squares = [inference.square(hand.keypoints_2d_px, hand.size_px, hand.valid) for hand in hands]
    cameras = np.stack([hand.intrinsics for hand in hands])
    result = inference.predict([hand.image for hand in hands], np.stack(squares), cameras, batch_size=1)
    for name in ("joints_3d_mm", "camera_3d_mm", "keypoints_2d_px", "confidence"):
        array = getattr(result, name)
        assert np.isfinite(array).all(), name
        assert array == pytest.approx(getattr(predicted, name), rel=1e-3, abs=1e-2), name
    true_mm, valid = (np.stack([getattr(hand, key) for hand in hands]) for key in ("joints_3d_mm", "valid"))
    poses = score_poses(result.joints_3d_mm, true_mm, valid)
    assert poses.root_relative.mpjpe_mm == pytest.approx(rooted, rel=1e-4)
    assert poses.root_scale.mpjpe_mm == pytest.approx(scaled, rel=1e-4)


EVEN = np.ones((1, 21))


@settings(max_examples=30)
@given(index=st.integers(0, 1000))
def test_exact_keypoints_give_the_exact_place(index: int) -> None:
    label = DrawnHands(1001).label(index)
    joints = label.joints_3d_mm.astype(np.float64)
    keypoints = project(joints, label.intrinsics)
    root = camera_root_mm((joints - joints[0])[None], keypoints[None], label.intrinsics[None], EVEN)
    assert root[0] == pytest.approx(joints[0], abs=1e-6)


def test_noisy_keypoints_give_the_place_of_a_general_solver() -> None:
    random = np.random.default_rng(0)
    labels = [DrawnHands(4, scale=4).label(index) for index in range(4)]
    joints = np.stack([label.joints_3d_mm - label.joints_3d_mm[0] for label in labels]).astype(np.float64)
    keypoints = np.stack([label.keypoints_2d_px for label in labels]) + random.normal(0, 2, (4, 21, 2))
    intrinsics = np.stack([label.intrinsics for label in labels])
    weights = random.uniform(0.1, 1, (4, 21))
    found = camera_root_mm(joints, keypoints, intrinsics, weights)
    for row in range(4):
        focal, middle = np.diag(intrinsics[row])[:2], intrinsics[row][:2, 2]
        rays = (keypoints[row] - middle) / focal
        equations = np.stack([[(1, 0, -x), (0, 1, -y)] for x, y in rays]).reshape(42, 3)
        wanted = (rays * joints[row, :, 2:] - joints[row, :, :2]).ravel()
        share = np.sqrt(np.repeat(weights[row], 2))
        solved = np.linalg.lstsq(share[:, None] * equations, share * wanted, rcond=None)[0]
        assert found[row] == pytest.approx(solved, rel=1e-9)
        assert np.linalg.norm(found[row] - labels[row].joints_3d_mm[0]) < 30


def test_a_joint_that_is_not_trusted_does_not_count() -> None:
    label = DrawnHands(1).label(0)
    joints = label.joints_3d_mm.astype(np.float64)[None]
    keypoints = project(joints, label.intrinsics)
    keypoints[0, 8] += 40
    weights = EVEN.copy()
    weights[0, 8] = 0
    root = camera_root_mm(joints - joints[:, :1], keypoints, label.intrinsics[None], weights)
    assert root[0] == pytest.approx(joints[0, 0], abs=1e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 500))
def test_keypoints_that_fit_no_hand_give_a_place_before_the_camera(seed: int) -> None:
    """What an untrained network says: keypoints that have nothing to do with the joints."""
    random = np.random.default_rng(seed)
    joints = random.normal(0, 50, (1, 21, 3))
    keypoints = random.uniform(0, 96, (1, 21, 2))
    intrinsics = DrawnHands(1).label(0).intrinsics[None]
    placed = joints + camera_root_mm(joints, keypoints, intrinsics, EVEN)[:, None]
    assert np.isfinite(placed).all()
    assert placed[..., 2].mean() > 0


def test_keypoints_in_one_spot_give_a_finite_place() -> None:
    intrinsics = DrawnHands(1).label(0).intrinsics[None]
    root = camera_root_mm(np.zeros((1, 21, 3)), np.full((1, 21, 2), 48.0), intrinsics, EVEN)
    assert np.isfinite(root).all()


PICTURE = DrawnHands(1)[0].image
K = np.array([[150.0, 0, 48], [0, 150, 40], [0, 0, 1]])


def _place(x0: float, x1: float, side: Side, inference: Inference) -> HandPlace:
    return place_of_box([x0, 20, x1, 70], side, (96, 80), inference)


def test_a_right_hand_is_the_output_of_the_estimator(untrained: Inference) -> None:
    place = _place(30, 70, "right", untrained)
    (hand,) = estimate_hands(untrained, PICTURE, [place], K)
    expected = untrained.predict([PICTURE], place.square_px[None], K[None])
    for name in ("keypoints_2d_px", "joints_3d_mm", "confidence", "camera_3d_mm"):
        np.testing.assert_array_equal(getattr(hand, name), getattr(expected, name)[0], name)


def test_a_left_hand_is_the_right_hand_of_the_mirrored_picture(untrained: Inference) -> None:
    """Its camera's axis need not go through the centre."""
    mirrored, k = np.ascontiguousarray(PICTURE[:, ::-1]), np.array([[150.0, 0, 30], *K[1:]])
    left_place = _place(20, 60, "left", untrained)
    (left,) = estimate_hands(untrained, PICTURE, [left_place], k)
    (selfie,) = estimate_hands(untrained, PICTURE, [replace(left_place, side="right")], k)
    np.testing.assert_array_equal(selfie.joints_3d_mm, left.joints_3d_mm)  # a right hand that looks left
    place = _place(96 - 60, 96 - 20, "right", untrained)
    (right,) = estimate_hands(untrained, mirrored, [place], np.array([[150.0, 0, 96 - 30], *K[1:]]))
    np.testing.assert_allclose(left.keypoints_2d_px[:, 0], 96 - right.keypoints_2d_px[:, 0], atol=1e-3)
    np.testing.assert_allclose(left.keypoints_2d_px[:, 1], right.keypoints_2d_px[:, 1], atol=1e-3)
    flip = np.array([-1, 1, 1])
    np.testing.assert_allclose(left.joints_3d_mm, right.joints_3d_mm * flip, atol=1e-3)
    assert left.camera_3d_mm is not None
    assert right.camera_3d_mm is not None
    np.testing.assert_allclose(left.camera_3d_mm, right.camera_3d_mm * flip, atol=0.1)


def test_the_focal_length_gives_positions_in_the_camera_frame(untrained: Inference) -> None:
    """Seen by a camera of twice the focal length, the same picture shows a hand about twice as far away."""
    place = _place(30, 70, "left", untrained)
    depths = []
    for focal_px in (5_000.0, 10_000.0):
        k = np.array([[focal_px, 0, 48], [0, focal_px, 40], [0, 0, 1]])
        (hand,) = estimate_hands(untrained, PICTURE, [place], k)
        assert hand.camera_3d_mm is not None
        relative = hand.camera_3d_mm - hand.camera_3d_mm[0]
        np.testing.assert_allclose(relative, hand.joints_3d_mm - hand.joints_3d_mm[0], atol=0.1)
        depths.append(float(hand.camera_3d_mm[0, 2]))
    assert depths[1] / depths[0] == pytest.approx(2, rel=0.1)
    (relative,) = estimate_hands(untrained, PICTURE, [place])
    assert relative.camera_3d_mm is None


def test_hands_of_both_sides_keep_their_order(untrained: Inference) -> None:
    places = [_place(20 + 5 * n, 60 + 5 * n, "left" if n % 2 else "right", untrained) for n in range(4)]
    together = estimate_hands(untrained, PICTURE, places)
    for hand, place in zip(together, places, strict=True):
        assert hand.place is place
        (alone,) = estimate_hands(untrained, PICTURE, [place])
        np.testing.assert_allclose(hand.keypoints_2d_px, alone.keypoints_2d_px, atol=0.01)
        np.testing.assert_allclose(hand.joints_3d_mm, alone.joints_3d_mm, atol=0.01)
    assert estimate_hands(untrained, PICTURE, []) == []


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


def test_a_box_is_enlarged_as_in_training_and_a_whole_picture_to_its_longer_side(
    untrained: Inference,
) -> None:
    place = place_of_box([40, 50, 80, 70], "right", (200, 100), untrained)
    np.testing.assert_allclose(place.square_px, [60 - 35, 60 - 35, 60 + 35, 60 + 35])
    assert (place.side, place.score) == ("right", None)
    np.testing.assert_allclose(place_of_whole_picture("right", (80, 100)).square_px, [-10, 0, 90, 100])


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([10, 10, 10, 20], r"box \[10.0, 10.0, 10.0, 20.0\] is not"),
        ([10, 10, 5, 20], "with x1 > x0"),
        ([200, 10, 240, 20], "lies outside the picture of 200 x 100 pixels; give x0,y0,x1,y1"),
        ([10, -40, 30, -20], "lies outside the picture"),
    ],
)
def test_bad_boxes_are_refused(untrained: Inference, box: list[float], problem: str) -> None:
    with pytest.raises(HandsimError, match=problem):
        place_of_box(box, "right", (200, 100), untrained)


def test_a_photograph_is_one_picture(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / "a.png")
    (picture,) = read_pictures(tmp_path / "a.png", 1.0)
    assert picture.image.shape == (20, 30, 3)
    assert picture.image[0, 0].tolist() == [10, 200, 30]
    assert (picture.frame, picture.time_s) == (None, None)


def test_a_video_gives_a_frame_every_so_often(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.MP4", seconds=2)
    for every_s in (0.5, 1.0):
        pictures = list(read_pictures(path, every_s))
        assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(0, 2, every_s))
        for picture in pictures:
            assert picture.frame is not None
            assert abs(float(picture.image.mean()) - picture.frame / 2) < 5


def test_an_animation_gives_frames_as_a_video_does(tmp_path: Path) -> None:
    frames = [Image.new("L", (30, 20), 40 * number) for number in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=500)
    pictures = list(read_pictures(tmp_path / "a.gif", 1.0))
    assert [(picture.time_s, int(picture.image.mean())) for picture in pictures] == [(0.0, 0), (1.0, 80)]


def test_unusable_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    (tmp_path / "v.mp4").write_text("no video")
    for name, problem in (
        ("gone.jpg", "no such file"),
        (".", r"a folder: its pictures would do, as in .*\*.jpg"),
        ("note.txt", "not an image"),
        ("v.mp4", "not an image or video: it looks like text"),
    ):
        with pytest.raises(UnusableError, match=problem):
            next(read_pictures(tmp_path / name, 1.0))
