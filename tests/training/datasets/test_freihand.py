"""FreiHAND: what is written in its layout is read, and damage is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from handsim.synthetic import LabelledPicture, PeopleConfig, synthesise_labelled
from handsim.synthetic.camera import project
from handsim.synthetic.config import MotionConfig
from tests.training.datasets.builders import FREIHAND
from tests.training.datasets.conftest import Copier
from training.datasets.freihand import SPLITS, FreiHAND
from training.datasets.layouts import CROP_ENLARGEMENT, EVALUATION_EVERY, write_freihand

WORLD = replace(FREIHAND, size_px=224, motion=MotionConfig(left_share=0), people=PeopleConfig(0))


@pytest.fixture
def root(freihand_root: Path) -> Path:
    return freihand_root


@pytest.fixture(scope="module")
def truth() -> dict[str, list[LabelledPicture]]:
    """The pictures of each part, in their order."""
    pictures = list(synthesise_labelled(WORLD, crop_enlargement=CROP_ENLARGEMENT))
    evaluation = [picture for picture in pictures if picture.video % EVALUATION_EVERY == 0]
    training = [picture for picture in pictures if picture.video % EVALUATION_EVERY]
    return {"evaluation": evaluation, "training": training}


@pytest.mark.parametrize("split", ["train", "train_v0", "val", "eval"])
def test_what_is_written_is_read(root: Path, truth: dict[str, list[LabelledPicture]], split: str) -> None:
    dataset = FreiHAND(root, split)
    assert dataset.has_truth
    for index in range(len(dataset)):
        hand = dataset[index]
        part, number = hand.sample_id.split("/")
        picture = truth[part][int(number) % len(truth[part])]
        np.testing.assert_allclose(hand.joints_3d_mm, picture.joints_3d_mm, atol=0.01)
        np.testing.assert_allclose(hand.keypoints_2d_px, picture.keypoints_2d_px, atol=0.01)
        np.testing.assert_allclose(hand.intrinsics, picture.intrinsics, atol=1e-6)
        projected = project(hand.joints_3d_mm.astype(np.float64), hand.intrinsics)
        np.testing.assert_allclose(projected, hand.keypoints_2d_px, atol=0.01)
        assert hand.valid.all()
        assert (hand.side, hand.size_px, hand.image.shape) == ("right", (224, 224), (224, 224, 3))
        if int(number) < len(truth[part]):  # the first version is the picture itself
            assert np.abs(hand.image.astype(int) - picture.image).mean() < 4


def test_splits_have_each_picture_once_and_versions_together(root: Path) -> None:
    train, val, first = (FreiHAND(root, split) for split in ("train", "val", "train_v0"))
    names = [[dataset.label(i).sample_id for i in range(len(dataset))] for dataset in (train, val, first)]
    assert len(names[0]) + len(names[1]) == len(set(names[0] + names[1])) == 4 * 8
    assert len(names[1]) == 4
    assert len({val.label(i).subject for i in range(4)}) == 1
    assert set(names[2]) < set(names[0])
    assert len(names[2]) == len(names[0]) // 4
    again = FreiHAND(root, "val")
    assert [again.label(i).sample_id for i in range(len(again))] == names[1]


def test_evaluation_without_truth_can_be_predicted_on(
    root: Path, copy_of: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copy_of(root)
    moved = copy.with_name("freihand_eval")
    moved.mkdir()
    (copy / "evaluation_xyz.json").rename(moved / "evaluation_xyz.json")
    assert FreiHAND(copy, "eval").has_truth  # found where the second archive is often put
    (moved / "evaluation_xyz.json").rename(copy / "evaluation" / "evaluation_xyz.json")
    assert FreiHAND(copy, "eval").has_truth
    archive = copy.with_name("FreiHAND_pub_v2_eval")
    archive.mkdir()
    (copy / "evaluation" / "evaluation_xyz.json").rename(archive / "evaluation_xyz.json")
    monkeypatch.chdir(copy)
    assert FreiHAND(Path(), "eval").has_truth
    (archive / "evaluation_xyz.json").unlink()
    dataset = FreiHAND(copy, "eval")
    hand = dataset[0]
    assert not dataset.has_truth
    assert not hand.valid.any()
    assert np.isnan(hand.joints_3d_mm).all()
    assert hand.intrinsics[0, 0] > 0


@pytest.mark.parametrize("missing", ["training_xyz.json", "training_K.json"])
def test_an_incomplete_download_is_refused(root: Path, copy_of: Copier, missing: str) -> None:
    copy = copy_of(root)
    (copy / missing).unlink()
    with pytest.raises(NotThereError, match=rf"{missing} is missing; download"):
        FreiHAND(copy, "train")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[[1, 2", r"training_xyz\.json cannot be read"),
        (json.dumps({"xyz": 1}), r"training_xyz\.json cannot be read"),
        (json.dumps([[[0.0] * 3] * 20] * 8), r"holds \[8, 20, 3\] numbers; .* has \[N, 21, 3\]; download"),
        (
            json.dumps([[[float("nan")] * 3] * 21] * 8),
            r"not finite, of 8 of 8 hands, such as hand 0; d",
        ),
        (json.dumps([[[0.0] * 3] * 21] * 7), r"has 7 hands and training_K\.json 8"),
    ],
)
def test_labels_of_another_form_are_refused(root: Path, copy_of: Copier, content: str, problem: str) -> None:
    copy = copy_of(root)
    (copy / "training_xyz.json").write_text(content)
    with pytest.raises(HandsimError, match=problem):
        FreiHAND(copy, "train")


def test_the_smallest_world_has_every_split(tmp_path: Path) -> None:
    write_freihand(tmp_path / "set", replace(FREIHAND, videos=3, hands_per_video=1))
    assert [len(FreiHAND(tmp_path / "set", split)) for split in SPLITS] == [4, 1, 4, 1]
