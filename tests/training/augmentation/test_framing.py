"""How views frame their hands, with the margins of the published codes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from handsim import Hand, Pool, PoolWriter
from handsim.geometry import rescale_keypoints
from handsim.images import encode_jpeg
from handsim.synthetic import synthesise_poses
from training.augmentation import AugmentationSettings, measure_framing
from training.finetune.config import finetuning_views
from training.pretrain.train import describe_narrow_crops

PUBLISHED = AugmentationSettings()
BY_BOX = replace(PUBLISHED, extent="box")


def keypoints_in_crops(enlargement: float) -> Tensor:
    poses = synthesise_poses(videos=300, hands_per_video=2, seed=5).keypoints[:, :, :2]
    return torch.from_numpy(rescale_keypoints(poses, 1.3, enlargement))


def test_views_by_radius_hold_the_hand_and_lie_inside_a_new_pools_pictures() -> None:
    narrow, wide = (measure_framing(keypoints_in_crops(factor), PUBLISHED) for factor in (1.3, 2.6))
    assert narrow.fill == pytest.approx(wide.fill)  # whatever the pictures show
    assert narrow.joint_leaves == wide.joint_leaves < 0.2
    assert narrow.area_outside > 0.3
    assert wide.area_outside < 0.01


def test_views_by_box_cut_most_hands() -> None:
    assert measure_framing(keypoints_in_crops(1.3), BY_BOX).joint_leaves > 0.5


def test_a_hand_fills_as_much_of_a_view_in_pre_training_as_in_fine_tuning() -> None:
    pretraining, finetuning = (
        measure_framing(keypoints_in_crops(2.6), settings) for settings in (PUBLISHED, finetuning_views())
    )
    assert pretraining.fill == pytest.approx(finetuning.fill, rel=0.12)
    assert measure_framing(keypoints_in_crops(1.3), BY_BOX).fill > 1.4 * finetuning.fill


@pytest.mark.parametrize("enlargement", [1.3, 2.6])
def test_a_run_says_what_a_pool_with_narrow_crops_cannot_give(tmp_path: Path, enlargement: float) -> None:
    grey, box = encode_jpeg(np.full((32, 32, 3), 99, np.uint8)), np.array([0, 0, 9, 9], np.float32)
    with PoolWriter(tmp_path, crop_size_px=32, crop_enlargement=enlargement) as writer:
        for number, pose in enumerate(synthesise_poses(videos=100, hands_per_video=1, seed=3).keypoints):
            writer.add(Hand(number, "test", f"v{number}", 0, "right", 1.0, box, pose), grey)
    line = describe_narrow_crops(Pool.open(tmp_path), PUBLISHED)
    if enlargement == 2.6:
        assert not line
    else:
        assert line.startswith("3")
        assert "1.3 times" in line
        assert line.endswith("an ingest into a new home makes pictures of 2.6 times")
    assert not describe_narrow_crops(
        Pool.open(tmp_path), replace(PUBLISHED, margin=None, rotation_deg=0.0, jitter_px=(0, 0))
    )
