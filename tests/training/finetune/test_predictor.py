"""What an estimator of a checkpoint predicts, what is no checkpoint, and where a hand is in its camera."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim.errors import HandsimError, NotThereError
from tests.training.finetune.builders import DrawnHands, Place
from training.evaluation.evaluate import predict_split
from training.evaluation.report import score_split
from training.finetune.predictor import Inference, camera_root_mm, load_estimator
from training.models.estimator import HeadName

HANDS = DrawnHands(5, "val", seed=1)


@pytest.fixture(scope="module")
def inference(whole: Place) -> Inference:
    return load_estimator(whole.folder("plain").last, device="cpu")


def _squares(inference: Inference) -> list[Any]:
    return [inference.square(hand.keypoints_2d_px, hand.size_px) for hand in map(HANDS.__getitem__, range(5))]


def test_pictures_and_datasets_are_told_alike(inference: Inference) -> None:
    hands = [HANDS[row] for row in range(5)]
    cameras = np.stack([hand.intrinsics for hand in hands])
    squares = np.stack(_squares(inference))
    result = inference.predict([hand.image for hand in hands], squares, cameras, batch_size=2)
    read = list(inference.predict_dataset(HANDS, batch_size=3))
    assert [len(batch) for batch, _ in read] == [3, 2]
    for name in ("joints_3d_mm", "keypoints_2d_px", "confidence", "camera_3d_mm"):
        joined = np.concatenate([getattr(each, name) for _, each in read])
        assert getattr(result, name) == pytest.approx(joined, rel=1e-3, abs=1e-2), name
    assert result.camera_3d_mm is not None
    assert result.joints_3d_mm.shape == result.camera_3d_mm.shape == (5, 21, 3)
    assert (result.joints_3d_mm[:, 0] == 0).all()
    assert result.camera_3d_mm - result.camera_3d_mm[:, :1] == pytest.approx(result.joints_3d_mm, abs=1e-2)
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()
    (only, _) = inference.predict_dataset(HANDS, np.array([4, 1]), batch_size=2), None
    assert next(iter(only))[0].sample_ids == ("val/00004", "val/00001")


def test_keypoints_lie_in_their_squares(inference: Inference) -> None:
    """Peaks of heat maps lie in the crop, and so in the square."""
    hand = HANDS[0]
    square = np.array([10.0, -5.0, 50.0, 35.0])
    result = inference.predict([hand.image], square[None])
    assert result.camera_3d_mm is None
    assert (result.keypoints_2d_px[0] >= square[:2] - 1e-3).all()
    assert (result.keypoints_2d_px[0] <= square[2:] + 1e-3).all()
    moved = inference.predict([np.roll(hand.image, (3, 7), axis=(0, 1))], square[None] + (7, 3, 7, 3))
    inner = np.abs(moved.keypoints_2d_px - result.keypoints_2d_px - (7, 3)).max(axis=2)
    assert np.median(inner) < 0.5


def test_size_is_that_of_the_hands_it_was_trained_on(inference: Inference, whole: Place) -> None:
    facts = whole.checkpoint("plain")["handsim"]
    assert inference.mean_bone_mm == facts["mean_bone_mm"]
    assert (inference.crop.factor, inference.crop.size_px) == (1.75, 32)
    assert not inference.estimator.training


@pytest.mark.parametrize(
    ("pictures", "squares", "cameras", "message"),
    [
        (0, 0, None, "there is no picture to estimate a hand in"),
        (2, 1, None, "there are 2 pictures and 1 squares; give one for each"),
        (1, 1, 3, "there are 1 pictures and 3 K; give one for each"),
    ],
)
def test_counts_that_do_not_match(
    inference: Inference, pictures: int, squares: int, cameras: int | None, message: str
) -> None:
    with pytest.raises(HandsimError, match=message):
        inference.predict(
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


def test_checkpoints_that_are_none(whole: Place, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    with pytest.raises(NotThereError, match=r"no checkpoint .*other\.ckpt; give one that `handsim finetune`"):
        load_estimator(path)
    path.write_bytes(b"no checkpoint")
    assert "cannot be read as a checkpoint" in _refused(path)
    sprung = tmp_path / "sprung"
    torch.save({"handsim": _Trap(sprung), "state_dict": {}}, path)
    assert "cannot be read as a checkpoint" in _refused(path)
    assert not sprung.exists()
    torch.save({"conv1.weight": torch.zeros(2)}, path)
    assert f"an encoder is fine-tuned first, with --init {path}" in _refused(path)
    torch.save({"handsim": {"architecture": "resnet18"}, "state_dict": {}}, path)  # of pre-training
    assert "is no checkpoint of `handsim finetune`, but of something else" in _refused(path)


def test_weights_of_another_network_than_is_told(whole: Place, tmp_path: Path) -> None:
    path = tmp_path / "mixed.ckpt"
    metadata = whole.checkpoint("plain")["handsim"]
    metadata["config"]["encoder"]["architecture"] = "resnet34"
    torch.save({"handsim": metadata, "state_dict": whole.checkpoint("plain")["state_dict"]}, path)
    assert "holds other weights than those of the resnet34" in _refused(path)


@pytest.mark.parametrize("head", get_args(HeadName))
def test_what_was_trained_is_what_is_asked(place: Place, head: HeadName) -> None:
    """The network in memory is judged at the run's end; what its checkpoint says has the same errors."""
    val_set = DrawnHands(5, "val", seed=1, invalid={1: [4, 8]})
    steps = ["--trainer.max_steps=2", "--log.figures_every_steps=2"]
    place.train("run", [f"--estimator.head={head}", *steps], val_set=val_set)
    assert [*(place.folder("run").path / "figures").iterdir()]
    inference = load_estimator(place.folder("run").last, device="cpu")
    assert inference.config.estimator.head == head

    predicted, true = predict_split(inference, val_set, batch_size=2)
    assert predicted.camera_3d_mm is not None
    for name, shape in (
        ("joints_3d_mm", (5, 21, 3)),
        ("camera_3d_mm", (5, 21, 3)),
        ("keypoints_2d_px", (5, 21, 2)),
        ("confidence", (5, 21)),
    ):
        array = getattr(predicted, name)
        assert array.shape == shape, name
        assert np.isfinite(array).all(), name
    scores = score_split(predicted, true).metrics
    ((_, rooted, scaled),) = place.errors("run")
    assert scores["root_relative_mpjpe_mm"] == pytest.approx(rooted, rel=1e-4)
    assert scores["root_scale_mpjpe_mm"] == pytest.approx(scaled, rel=1e-4)

    hands = [val_set[row] for row in range(5)]
    squares = [inference.square(hand.keypoints_2d_px, hand.size_px, hand.valid) for hand in hands]
    cameras = np.stack([hand.intrinsics for hand in hands])
    result = inference.predict([hand.image for hand in hands], np.stack(squares), cameras)
    assert result.joints_3d_mm == pytest.approx(predicted.joints_3d_mm, rel=1e-3, abs=1e-2)
    assert result.keypoints_2d_px == pytest.approx(predicted.keypoints_2d_px, rel=1e-3, abs=1e-2)


EVEN = np.ones((1, 21))


@settings(deadline=None)
@given(index=st.integers(0, 1000))
def test_exact_keypoints_tell_the_place_exactly(index: int) -> None:
    label = DrawnHands(1001).label(index)
    joints = label.joints_3d_mm.astype(np.float64)
    seen = joints @ label.intrinsics.T
    keypoints = seen[:, :2] / seen[:, 2:]
    root = camera_root_mm((joints - joints[0])[None], keypoints[None], label.intrinsics[None], EVEN)
    assert root[0] == pytest.approx(joints[0], abs=1e-6)


def test_noisy_keypoints_beside_a_general_solver() -> None:
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

        rows, wanted = [], []
        for joint in range(21):
            for axis in range(2):
                share = np.sqrt(weights[row, joint])
                equation = np.zeros(3)
                equation[axis], equation[2] = 1, -rays[joint, axis]
                rows.append(share * equation)
                placed = joints[row, joint]
                wanted.append(share * (rays[joint, axis] * placed[2] - placed[axis]))
        solved = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
        assert found[row] == pytest.approx(solved, rel=1e-9)
        assert np.linalg.norm(found[row] - labels[row].joints_3d_mm[0]) < 30


def test_a_joint_that_is_not_trusted_does_not_count() -> None:
    label = DrawnHands(1).label(0)
    joints = label.joints_3d_mm.astype(np.float64)[None]
    seen = joints @ label.intrinsics.T
    keypoints = seen[..., :2] / seen[..., 2:]
    keypoints[0, 8] += 40
    weights = EVEN.copy()
    weights[0, 8] = 0
    root = camera_root_mm(joints - joints[:, :1], keypoints, label.intrinsics[None], weights)
    assert root[0] == pytest.approx(joints[0, 0], abs=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 500))
def test_nonsense_lies_before_the_camera(seed: int) -> None:
    """What an untrained network says: keypoints that have nothing to do with the joints."""
    random = np.random.default_rng(seed)
    joints = random.normal(0, 50, (1, 21, 3))
    keypoints = random.uniform(0, 96, (1, 21, 2))
    intrinsics = DrawnHands(1).label(0).intrinsics[None]
    placed = joints + camera_root_mm(joints, keypoints, intrinsics, EVEN)[:, None]
    assert np.isfinite(placed).all()
    assert placed[..., 2].mean() > 0


def test_keypoints_in_one_spot_tell_a_direction() -> None:
    intrinsics = DrawnHands(1).label(0).intrinsics[None]
    root = camera_root_mm(np.zeros((1, 21, 3)), np.full((1, 21, 2), 48.0), intrinsics, EVEN)
    assert np.isfinite(root).all()
