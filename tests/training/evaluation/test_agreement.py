"""Agreement with MediaPipe, of estimators that are MediaPipe itself or say the same of every hand."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.detection.networks import HandNetworks, TurnedSquare
from handsim.errors import HandsimError
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from training.evaluation.agreement import ALIGNMENTS, measure_agreement
from training.finetune.pose_model import CropSettings, PoseModel

CROP_PX = 224


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    path = tmp_path_factory.mktemp("agreement") / "pool"
    synthesise_pool(path, SyntheticConfig(videos=8, hands_per_video=2, seed=5, size_px=128))
    return Pool.open(path)


class Itself(PoseModel):
    """MediaPipe, which sees upright crops, of hands twice as large as it says."""

    def __init__(self, networks: HandNetworks, *, needs_camera: bool = False) -> None:
        self._networks, self._needs_camera = networks, needs_camera

    @property
    def crop(self) -> CropSettings:
        return CropSettings(2.0, CROP_PX)

    @property
    def needs_camera(self) -> bool:
        return self._needs_camera

    def estimate_crops(
        self,
        crops: NDArray[np.uint8],
        squares_px: NDArray[np.float64],
        intrinsics: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        whole = TurnedSquare(np.full(2, CROP_PX / 2), float(CROP_PX))
        hands = [self._networks.predict_joints(crop, whole) for crop in crops]
        world = np.stack([hand.world_mm for hand in hands if hand.world_mm is not None])
        seen = np.stack([hand.keypoints_px[:, :2] for hand in hands]) / np.float32(CROP_PX)
        doubled: NDArray[np.float32] = 2 * (world - world[:, :1])
        return seen.astype(np.float32), doubled, np.ones(world.shape[:2], np.float32)


def test_mediapipe_agrees_with_itself_far_better_than_its_mean_hand(pool: Pool, model_path: Path) -> None:
    networks = HandNetworks(model_path)
    measured = measure_agreement(pool, Itself(networks), networks)
    assert 12 < measured.hands + sum(measured.left_out.values()) == len(pool)
    assert measured.videos == len({pool.videos[row] for row in range(len(pool))})
    for name in ("root_scale", "procrustes_proper"):
        own, mean = measured.estimator[name], measured.mean_hand[name]
        assert own.mean_mm < 0.6 * mean.mean_mm
        assert own.interval_mm is not None
        assert own.interval_mm[0] < own.mean_mm < own.interval_mm[1]
    assert measured.estimator["root_relative"].mean_mm > 40  # nothing forgives the size
    assert set(measured.estimator) == set(measured.mean_hand) == set(ALIGNMENTS)
    assert asdict(measure_agreement(pool, Itself(networks), networks)) == asdict(measured)
    few = measure_agreement(pool, Itself(networks), networks, sample=2, seed=1)
    assert few.hands + sum(few.left_out.values()) == 2


def test_what_cannot_be_compared_is_refused(pool: Pool, model_path: Path, tmp_path: Path) -> None:
    networks = HandNetworks(model_path)
    with pytest.raises(HandsimError, match="needs the camera's K"):
        measure_agreement(pool, Itself(networks, needs_camera=True), networks)
    synthesise_pool(tmp_path / "none", SyntheticConfig(videos=1, hands_per_video=1))
    empty = Pool.open(tmp_path / "none")
    empty.has_side[:] = False
    with pytest.raises(HandsimError, match="can be compared: none has a picture, all its joints and a side"):
        measure_agreement(empty, Itself(networks), networks)
