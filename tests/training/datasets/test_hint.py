"""HInt: 2D joints are read as they were written, without Ego4D's pictures, too."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import mirror_points
from tests.training.datasets.conftest import Copier
from tests.training.datasets.official_layouts import (
    HINT_ABSENT,
    HINT_SIZE_PX,
    PEOPLE,
    hint_hand,
    shows_its_joint,
)
from training.datasets.check import check_dataset
from training.datasets.hint import SPLITS, HInt, video_of
from training.datasets.to_pool import add_to_pool


def test_hands_are_read_as_right_hands_in_2d(hint_root: Path) -> None:
    for number, split in enumerate(SPLITS):
        dataset = HInt(hint_root, split)
        assert (len(dataset), dataset.without_pictures) == (15, 5)
        for index in range(len(dataset)):
            hand = dataset[index]
            row = int(hand.sample_id.split("_")[-2].removeprefix("frame"))
            points, side, name = hint_hand(row)
            assert PEOPLE[row] % 3 == number
            expected = mirror_points(points, HINT_SIZE_PX[0]) if side == "left" else points
            valid = np.arange(21) != (HINT_ABSENT if row % 3 == 0 else -1)
            np.testing.assert_array_equal(hand.valid, valid)
            np.testing.assert_allclose(hand.keypoints_2d_px[valid], expected[valid], atol=1e-3)
            assert np.isnan(hand.joints_3d_mm).all()
            assert (hand.side, hand.size_px) == (side, HINT_SIZE_PX)
            assert (hand.sample_id, hand.subject) == (f"newdays_img/{name}", f"ND_video{PEOPLE[row]}")
            assert shows_its_joint(hand.image, hand.keypoints_2d_px)


def test_a_sound_set_passes_and_becomes_a_pool(hint_root: Path, tmp_path: Path) -> None:
    report = check_dataset("hint", hint_root)
    assert not report.failed
    assert report.findings[0].detail.endswith("opened; without 15 hands of Ego4D that have no picture")
    pool = add_to_pool(tmp_path / "pool", "hint", hint_root)
    assert pool.added == pool.hands == 45


@pytest.mark.parametrize(
    ("frame", "video"),
    [
        ("ND_1_5pHBcVhuU_frame008373", "ND_1_5pHBcVhuU"),
        ("EK_0064_P03_10_frame_0000000249", "P03_10"),
        (
            "0037b816-e98e-4f54-8046-eb8593b3d127_d60098ce-3716-4e9b-adde-ac8868b57d98_505_pnr_frame",
            "0037b816-",
        ),
        ("something else", "something else"),
    ],
)
def test_frames_of_one_video_are_told(frame: str, video: str) -> None:
    assert video_of(frame).startswith(video)
    assert len(video_of(frame)) in (len(video), 36)


HAND = {"keypoints": [[1, 2]] * 21}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[{", "cannot be read as the label of one hand"),
        ("[]", "cannot be read as the label of one hand"),
        (json.dumps([HAND, HAND]), "cannot be read as the label of one hand"),
        (json.dumps([{"bbox": []}]), "lacks 'keypoints'"),
        (json.dumps([{"keypoints": [[1, 2]] * 20}]), "cannot be read as the label of one hand"),
        (json.dumps([HAND | {"existence": [1, 0]}]), "cannot be read as the label of one hand"),
        (json.dumps([[1, 2]]), "cannot be read as the label of one hand"),
    ],
)
def test_damaged_labels_are_named(hint_root: Path, copy_of: Copier, content: str, problem: str) -> None:
    dataset = HInt(copy_of(hint_root), "train")
    path = dataset.files(2)[1]
    path.write_text(content)
    with pytest.raises(
        HandsimError, match=rf"{path.name} {problem}.*; download and extract HInt again"
    ) as error:
        dataset.label(2)
    assert "\n" not in str(error.value)


def test_damaged_pictures_are_named(hint_root: Path, copy_of: Copier) -> None:
    dataset = HInt(copy_of(hint_root), "train")
    cut, text, empty, missing = (dataset.files(index)[0] for index in range(4))
    cut.write_bytes(cut.read_bytes()[:700])
    text.write_text("<html>404</html>")
    empty.write_bytes(b"")
    missing.unlink()
    problems = ("cannot be read", "not an image", "empty file", "is missing")
    for index, problem in enumerate(problems):
        with pytest.raises(
            HandsimError, match=rf"{dataset.files(index)[0].name} .*{problem}.*; download and"
        ):
            dataset[index]


def test_a_split_without_folders_or_pictures_is_refused(hint_root: Path, copy_of: Copier) -> None:
    copy = copy_of(hint_root)
    for picture in copy.glob("VAL_*/*.jpg"):
        picture.unlink()
    with pytest.raises(HandsimError, match=r"no hand with a picture, 20 without; .* Ego4D"):
        HInt(copy, "val")
    for folder in copy.glob("VAL_*"):
        shutil.rmtree(folder)
    with pytest.raises(NotThereError, match=r"has none of VAL_newdays_img, .*; give the folder that HInt"):
        HInt(copy, "val")
