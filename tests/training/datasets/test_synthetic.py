"""The project's own labelled set: written, read back, and broken in every way."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
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


def test_what_was_written_is_read_as_of_right_hands(root: Path) -> None:
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


def test_bad_folders_are_told(root: Path, tmp_path: Path, copy_of: Copier) -> None:
    with pytest.raises(NotThereError, match="is not a synthetic dataset"):
        SyntheticHands(tmp_path, "train")
    with pytest.raises(HandsimError, match=r"no split eval; did you mean val\?; it has train, val, test"):
        SyntheticHands(root, "eval")
    copy = copy_of(root)
    facts = (copy / METADATA_FILE).read_text()
    (copy / METADATA_FILE).write_text(facts.replace('"format": 1', '"format": 2'))
    with pytest.raises(HandsimError, match="has format 2, this handsim reads 1"):
        SyntheticHands(copy, "train")
    (copy / METADATA_FILE).write_text("{")
    with pytest.raises(HandsimError, match=f"{METADATA_FILE} cannot be read"):
        SyntheticHands(copy, "train")
    (copy / METADATA_FILE).write_text('{"format": 1}')
    with pytest.raises(HandsimError, match=f"{METADATA_FILE} lacks 'world'; write it again with"):
        SyntheticHands(copy, "train")
    (copy / METADATA_FILE).write_text(facts)
    whole = dict(np.load(copy / LABELS_FILE))
    np.savez(copy / LABELS_FILE, **{**whole, "joints_3d_mm": whole["joints_3d_mm"][:, :20]})
    with pytest.raises(HandsimError, match=r"has joints_3d_mm \[24, 20, 3\], expected \[24, 21, 3\]"):
        SyntheticHands(copy, "train")
    np.savez(copy / LABELS_FILE, **{**whole, "joints_3d_mm": np.full_like(whole["joints_3d_mm"], np.nan)})
    with pytest.raises(HandsimError, match="has numbers in joints_3d_mm that are not finite; write it again"):
        SyntheticHands(copy, "train")
    np.savez(
        copy / LABELS_FILE, **{**whole, "split": np.array([None] * 24)}
    )  # an array of objects is a pickle
    with pytest.raises(HandsimError, match=f"{LABELS_FILE} cannot be read"):
        SyntheticHands(copy, "train")
    (copy / LABELS_FILE).write_bytes((root / LABELS_FILE).read_bytes()[:500])
    with pytest.raises(HandsimError, match=f"{LABELS_FILE} cannot be read"):
        SyntheticHands(copy, "train")
    (copy / LABELS_FILE).unlink()
    with pytest.raises(NotThereError, match=f"{LABELS_FILE} is missing"):
        SyntheticHands(copy, "train")


@pytest.mark.parametrize(("videos", "people"), [(3, 0), (3, 3), (4, 20), (12, 3)])
def test_small_worlds_have_every_split(tmp_path: Path, videos: int, people: int) -> None:
    world = replace(SYNTHETIC, videos=videos, hands_per_video=1, people=PeopleConfig(count=people))
    write_synthetic(tmp_path / "set", world)
    counts = [len(SyntheticHands(tmp_path / "set", split)) for split in SPLITS]
    assert sum(counts) == videos
    assert min(counts) > 0


def test_worlds_that_are_too_small_are_told(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"videos is 2; the layout of synthetic needs 3"):
        write_synthetic(tmp_path / "set", replace(SYNTHETIC, videos=2))
    with pytest.raises(HandsimError, match=r"people.count is 2; splits are by people, so 3 are needed"):
        write_synthetic(tmp_path / "set", replace(SYNTHETIC, people=PeopleConfig(count=2)))
    assert not (tmp_path / "set").exists()


def test_broken_pictures_are_named(root: Path, copy_of: Copier) -> None:
    dataset = SyntheticHands(copy_of(root), "train")
    first, second = (dataset.files(index)[0] for index in range(2))
    first.write_bytes(first.read_bytes()[:500])
    second.unlink()
    for index, said in enumerate((f"{first.name} cannot be read", f"{second.name} is missing")):
        with pytest.raises(HandsimError, match=f"{said}.*handsim synth --layout synthetic"):
            dataset[index]
    with pytest.raises(IndexError):
        dataset.label(len(dataset))
