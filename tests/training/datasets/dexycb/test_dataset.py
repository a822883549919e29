"""What was filmed comes back from DexYCB's layout, in every split and for both sides."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.skeleton import JOINT_COUNT
from tests.training.datasets.dexycb.test_splits import oracle
from tests.training.datasets.small_sets import DEXYCB, told_as_right
from training.datasets.dexycb import SERIALS, SPLITS, SUBJECTS, DexYCB
from training.datasets.layouts import (
    UNANNOTATED_FRAME_EVERY,
    focal_of_camera,
    place_of_take,
    sequence_folder,
    video_of_take,
)

WORLD = replace(DEXYCB, people=replace(DEXYCB.people, count=len(SUBJECTS)))


def filmed(root: Path, split: str) -> dict[str, tuple[int, int, int]]:
    """Take, camera and frame of every annotated picture of a split, by sample id."""
    setup, part = split.split("_")
    expected = {}
    for take in range(DEXYCB.videos):
        subject, sequence = place_of_take(take)
        folder = sequence_folder(root, subject, sequence).relative_to(root)
        for camera, serial in enumerate(SERIALS):
            for frame in range(DEXYCB.hands_per_video):
                annotated = (take * DEXYCB.hands_per_video + frame + 1) % UNANNOTATED_FRAME_EVERY
                if annotated and oracle(setup, subject, camera, sequence) == part:
                    expected[f"{folder}/{serial}/{frame:06d}"] = take, camera, frame
    return expected


@pytest.mark.parametrize("split", SPLITS)
def test_round_trip(dexycb_root: Path, split: str) -> None:
    dataset = DexYCB(dexycb_root, split)
    expected = filmed(dexycb_root, split)
    assert len(dataset) == len(expected) > 0
    seen = set()
    for index in range(len(dataset)):
        label = dataset.label(index)
        take, camera, frame = expected[label.sample_id]
        focal = focal_of_camera(DEXYCB, camera, len(SERIALS))
        assert label.side == ("left", "right")[take % 2]
        joints, points, intrinsics = told_as_right(WORLD, video_of_take(take, camera), label.side, focal)
        np.testing.assert_allclose(label.joints_3d_mm, joints[frame], atol=0.01)
        np.testing.assert_allclose(label.keypoints_2d_px, points[frame], atol=0.01)
        np.testing.assert_allclose(label.intrinsics, intrinsics, atol=1e-6)
        assert label.subject == SUBJECTS[place_of_take(take)[0]]
        assert label.size_px == (80, 64)
        assert label.valid.all()
        seen.add(label.sample_id)
    assert seen == set(expected)


def test_the_splits_of_each_setup_share_the_annotated_pictures_out(dexycb_root: Path) -> None:
    ids = {split: sample_ids(DexYCB(dexycb_root, split)) for split in SPLITS}
    everything = sorted(ids["s0_train"] + ids["s0_val"] + ids["s0_test"])
    assert len(set(everything)) == len(everything)
    for setup in ("s1", "s2", "s3"):
        assert sorted(ids[f"{setup}_train"] + ids[f"{setup}_val"] + ids[f"{setup}_test"]) == everything


def sample_ids(dataset: DexYCB) -> list[str]:
    return [dataset.label(index).sample_id for index in range(len(dataset))]


def test_frames_without_a_valid_joint_are_skipped_and_counted(dexycb_root: Path) -> None:
    datasets = [DexYCB(dexycb_root, split) for split in ("s1_train", "s1_val", "s1_test")]
    pictures = DEXYCB.videos * DEXYCB.hands_per_video * len(SERIALS)
    unannotated = DEXYCB.videos * DEXYCB.hands_per_video // UNANNOTATED_FRAME_EVERY * len(SERIALS)
    assert sum(dataset.skipped for dataset in datasets) == unannotated
    assert sum(map(len, datasets)) == pictures - unannotated


def test_samples_come_camera_after_camera_in_each_sequence(dexycb_root: Path) -> None:
    ids = sample_ids(DexYCB(dexycb_root, "s0_train"))
    assert ids == sorted(ids)


def test_left_hands_pictures_are_mirrored_and_right_ones_are_not(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, "s1_val")
    sides = {dataset.label(index).side: index for index in range(len(dataset))}
    dataset = DexYCB(dexycb_root, "s0_train")
    sides |= {dataset.label(index).side: index for index in range(len(dataset))}
    assert set(sides) == {"left", "right"}
    for side, index in sides.items():
        stored = np.asarray(Image.open(dataset.files(index)[0]))
        hand = dataset[index]
        assert hand.image.shape == (64, 80, 3)
        np.testing.assert_array_equal(hand.image, stored[:, ::-1] if side == "left" else stored)
        assert hand.sample_id == dataset.label(index).sample_id


def test_what_is_stored_is_official(dexycb_root: Path) -> None:
    """Metres, pixels that are centred at whole numbers, left hands as the camera saw them."""
    dataset = DexYCB(dexycb_root, "s0_train")
    left = next(index for index in range(len(dataset)) if dataset.label(index).side == "left")
    label = dataset.label(left)
    with np.load(dataset.files(left)[1]) as stored:
        assert stored["joint_3d"].shape == (1, JOINT_COUNT, 3)
        assert stored["joint_3d"].dtype == stored["joint_2d"].dtype == np.float32
        np.testing.assert_allclose(stored["joint_3d"][0] * 1000, label.joints_3d_mm * [-1, 1, 1], atol=0.01)
        np.testing.assert_allclose(
            80 - (stored["joint_2d"][0, :, 0] + 0.5), label.keypoints_2d_px[:, 0], atol=0.01
        )


def test_a_dataset_can_be_pickled(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, "s3_val")
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[3].image, dataset[3].image)


def test_past_the_end_is_an_index_error(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, "s3_val")
    with pytest.raises(IndexError):
        dataset.label(len(dataset))
    assert len(list(iter(dataset))) == len(dataset)
