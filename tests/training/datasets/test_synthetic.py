"""handsim's own dataset: what is written is read, and damage is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.geometry import mirror_points
from handsim.synthetic import PeopleConfig, synthesise_labelled
from tests.training.datasets.builders import SYNTHETIC
from tests.training.datasets.conftest import Copier
from training.datasets.synthetic import (
    CROP_ENLARGEMENT,
    LABELS_FILE,
    METADATA_FILE,
    SPLITS,
    SyntheticHands,
    write_synthetic,
)


@pytest.fixture
def root(synthetic_root: Path) -> Path:
    return synthetic_root


def test_what_is_written_is_read_as_right_hands(root: Path) -> None:
    truth = {
        (picture.video, picture.frame): picture
        for picture in synthesise_labelled(SYNTHETIC, crop_enlargement=CROP_ENLARGEMENT)
    }
    read = 0
    sides = set()
    for split in SPLITS:
        dataset = SyntheticHands(root, split)
        for index in range(len(dataset)):
            hand = dataset[index]
            video, frame = map(int, hand.sample_id.split("/")[1:])
            picture = truth[video, frame]
            left = picture.side == "left"
            image = picture.image[:, ::-1] if left else picture.image
            joints = picture.joints_3d_mm.astype(np.float64) * [-1 if left else 1, 1, 1]
            keypoints = mirror_points(picture.keypoints_2d_px, 64) if left else picture.keypoints_2d_px
            np.testing.assert_allclose(hand.keypoints_2d_px, keypoints, atol=0.01)
            np.testing.assert_allclose(hand.joints_3d_mm, joints, atol=0.01)
            assert np.abs(hand.image.astype(int) - image).mean() < 8
            assert hand.side == picture.side
            assert hand.valid.all()
            projected = hand.joints_3d_mm.astype(np.float64) @ hand.intrinsics.T
            np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], keypoints, atol=0.01)
            sides.add(hand.side)
            read += 1
    assert read == len(truth) == 24
    assert sides == {"left", "right"}


def test_nobody_is_in_two_splits(root: Path) -> None:
    people = []
    for split in SPLITS:
        dataset = SyntheticHands(root, split)
        people.append({dataset.label(index).subject for index in range(len(dataset))})
    assert len(people[0] | people[1] | people[2]) == sum(map(len, people))
    assert all(people)
    counts = json.loads((root / METADATA_FILE).read_text())["hands"]
    assert counts == {split: len(SyntheticHands(root, split)) for split in SPLITS}


def test_damaged_folders_are_refused_with_the_remedy(root: Path, copy_of: Copier) -> None:
    copy = copy_of(root)
    metadata, labels = copy / METADATA_FILE, copy / LABELS_FILE
    content, arrays, npz = metadata.read_text(), dict(np.load(labels)), labels.read_bytes()

    def refused(problem: str) -> None:
        with pytest.raises(HandsimError, match=f"{problem}.*; write it again with `handsim synth"):
            SyntheticHands(copy, "train")

    for text, problem in (
        (content.replace('"format": 1', '"format": 2'), "has format 2, this handsim reads 1"),
        ("{", f"{METADATA_FILE} cannot be read"),
        ('{"format": 1}', f"{METADATA_FILE} lacks 'world'"),
    ):
        metadata.write_text(text)
        refused(problem)
    metadata.write_text(content)
    joints = arrays["joints_3d_mm"]
    for change, problem in (
        ({"joints_3d_mm": joints[:, :20]}, r"has joints_3d_mm \[24, 20, 3\], expected \[24, 21, 3\]"),
        ({"joints_3d_mm": np.full_like(joints, np.nan)}, "has numbers in joints_3d_mm that are not finite"),
        ({"split": np.array([None] * 24)}, f"{LABELS_FILE} cannot be read"),  # objects would be pickled
    ):
        np.savez(labels, **{**arrays, **change})
        refused(problem)
    labels.write_bytes(npz[:500])
    refused(f"{LABELS_FILE} cannot be read")
    labels.unlink()
    refused(f"{LABELS_FILE} is missing")
    metadata.unlink()
    refused("is not a synthetic dataset")


@pytest.mark.parametrize(("videos", "people"), [(3, 0), (3, 3), (4, 20), (12, 3)])
def test_small_worlds_have_every_split(tmp_path: Path, videos: int, people: int) -> None:
    world = replace(SYNTHETIC, videos=videos, hands_per_video=1, people=PeopleConfig(count=people))
    write_synthetic(tmp_path / "set", world)
    counts = [len(SyntheticHands(tmp_path / "set", split)) for split in SPLITS]
    assert sum(counts) == videos
    assert min(counts) > 0


def test_fewer_people_than_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"people.count is 2; splits are by people, so 3 are needed"):
        write_synthetic(tmp_path / "set", replace(SYNTHETIC, people=PeopleConfig(count=2)))
    assert not (tmp_path / "set").exists()
