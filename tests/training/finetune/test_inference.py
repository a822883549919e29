"""What a checkpoint says of pictures, and checkpoints that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handsim.errors import HandsimError, NotThereError
from tests.training.finetune.drawn_hands import DrawnHands
from tests.training.finetune.small_runs import Place
from training.finetune.predictor import Inference, load_estimator

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
    told = inference.predict([hand.image for hand in hands], squares, cameras, batch_size=2)
    read = list(inference.predict_dataset(HANDS, batch_size=3))
    assert [len(batch) for batch, _ in read] == [3, 2]
    for name in ("joints_3d_mm", "keypoints_2d_px", "confidence", "camera_3d_mm"):
        joined = np.concatenate([getattr(each, name) for _, each in read])
        assert getattr(told, name) == pytest.approx(joined, rel=1e-3, abs=1e-2), name
    assert told.camera_3d_mm is not None
    assert told.joints_3d_mm.shape == told.camera_3d_mm.shape == (5, 21, 3)
    assert (told.joints_3d_mm[:, 0] == 0).all()
    assert told.camera_3d_mm - told.camera_3d_mm[:, :1] == pytest.approx(told.joints_3d_mm, abs=1e-2)
    assert ((told.confidence >= 0) & (told.confidence <= 1)).all()
    (only, _) = inference.predict_dataset(HANDS, np.array([4, 1]), batch_size=2), None
    assert next(iter(only))[0].sample_ids == ("val/00004", "val/00001")


def test_keypoints_lie_in_their_squares(inference: Inference) -> None:
    """Peaks of heat maps lie in the crop, and so in the square."""
    hand = HANDS[0]
    square = np.array([10.0, -5.0, 50.0, 35.0])
    told = inference.predict([hand.image], square[None])
    assert told.camera_3d_mm is None
    assert (told.keypoints_2d_px[0] >= square[:2] - 1e-3).all()
    assert (told.keypoints_2d_px[0] <= square[2:] + 1e-3).all()
    moved = inference.predict([np.roll(hand.image, (3, 7), axis=(0, 1))], square[None] + (7, 3, 7, 3))
    inner = np.abs(moved.keypoints_2d_px - told.keypoints_2d_px - (7, 3)).max(axis=2)
    assert np.median(inner) < 0.5


def test_size_is_that_of_the_hands_it_was_trained_on(inference: Inference, whole: Place) -> None:
    facts = whole.checkpoint("plain")["handsim"]
    assert inference.mean_bone_mm == facts["mean_bone_mm"]
    assert (inference.crop.factor, inference.crop.size_px) == (1.75, 32)
    assert not inference.estimator.training


@pytest.mark.parametrize(
    ("pictures", "squares", "cameras", "said"),
    [
        (0, 0, None, "there is no picture to estimate a hand in"),
        (2, 1, None, "there are 2 pictures and 1 squares; give one for each"),
        (1, 1, 3, "there are 1 pictures and 3 K; give one for each"),
    ],
)
def test_counts_that_do_not_match(
    inference: Inference, pictures: int, squares: int, cameras: int | None, said: str
) -> None:
    with pytest.raises(HandsimError, match=said):
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
    with pytest.raises(HandsimError) as told:
        load_estimator(path)
    assert "\n" not in str(told.value)
    return str(told.value)


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
    told = whole.checkpoint("plain")["handsim"]
    told["config"]["encoder"]["architecture"] = "resnet34"
    torch.save({"handsim": told, "state_dict": whole.checkpoint("plain")["state_dict"]}, path)
    assert "holds other weights than those of the resnet34" in _refused(path)
