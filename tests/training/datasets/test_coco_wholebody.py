"""The hands of COCO-WholeBody: 2D joints are read as they were written; what asks for 3D is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import mirror_points
from handsim.pool import Pool
from tests.training.datasets.builders import change_json
from tests.training.datasets.conftest import Copier
from tests.training.datasets.official_layouts import (
    COCO_SIZE_PX,
    COCO_SPLITS,
    COCO_UNLABELLED,
    coco_hand,
    shows_its_joint,
)
from training.datasets.check import check_dataset
from training.datasets.coco_wholebody import SPLITS, CocoWholeBody
from training.datasets.open_dataset import ONLY_IN_2D, check_has_3d
from training.datasets.to_pool import add_to_pool


def test_hands_are_read_as_right_hands_in_2d(coco_wholebody_root: Path) -> None:
    for split in SPLITS:
        dataset, rows = CocoWholeBody(coco_wholebody_root, split), COCO_SPLITS[split]
        assert (len(dataset), dataset.skipped) == (rows.stop - rows.start - 2, 1)
        ids = set()
        for index in range(len(dataset)):
            hand = dataset[index]
            picture, person, side = hand.sample_id.split("/")
            row = int(person) - 70 + (side == "left")
            points, _ = coco_hand(row)
            expected = mirror_points(points, COCO_SIZE_PX[0]) if side == "left" else points
            valid = np.arange(21) != (COCO_UNLABELLED if row % 3 == 0 else -1)
            np.testing.assert_array_equal(hand.valid, valid)
            np.testing.assert_allclose(hand.keypoints_2d_px[valid], expected[valid], atol=1e-3)
            assert np.isnan(hand.keypoints_2d_px[~valid]).all()
            assert np.isnan(hand.joints_3d_mm).all()
            assert (hand.side, hand.size_px, hand.subject) == (side, COCO_SIZE_PX, f"{picture}/{person}")
            assert shows_its_joint(hand.image, hand.keypoints_2d_px)
            ids.add(hand.sample_id)
        assert len(ids) == len(dataset)


def test_a_sound_set_passes_the_checks_that_2d_joints_allow(coco_wholebody_root: Path) -> None:
    report = check_dataset("coco_wholebody", coco_wholebody_root)
    verdicts = {finding.check: finding.verdict for finding in report.findings}
    skipped = {check for check, verdict in verdicts.items() if verdict == "skipped"}
    assert skipped == {"counts", "joints in 3D"}
    assert "failed" not in verdicts.values()


def test_hands_outside_of_their_pictures_are_named(coco_wholebody_root: Path, copy_of: Copier) -> None:
    copy = copy_of(coco_wholebody_root)

    def move(content: Any) -> None:
        points = np.reshape(content["annotations"][3]["righthand_kpts"], (21, 3))
        points[:, 0] += 640
        content["annotations"][3]["righthand_kpts"] = points.ravel().tolist()

    change_json(copy / "annotations" / "coco_wholebody_train_v1.0.json", move)
    (bad,) = (hand for split in check_dataset("coco_wholebody", copy).bad for hand in split.bad)
    assert bad.sample_id == "000000009006/76/right"
    assert "20 of 20 joints lie outside of the picture" in bad.reasons


def test_they_become_a_pool_without_depth(coco_wholebody_root: Path, tmp_path: Path) -> None:
    report = add_to_pool(tmp_path / "pool", "coco_wholebody", coco_wholebody_root)
    assert report.added == report.hands == 56
    pool = Pool.open(tmp_path / "pool")
    assert np.isnan(pool.read_joints_mm()).all()
    for number in pool.hand_ids.tolist():
        hand = pool.hand(number)
        labelled = np.isfinite(hand.keypoints).all(axis=1)
        assert (hand.keypoints[labelled, 2] == 0).all()
        points, _ = coco_hand(int(hand.video.split("/")[1]) - 70 + (hand.side == "left"))
        x0, y0, x1, y1 = hand.box_px
        assert (points[labelled].min(axis=0) >= [x0 - 1, y0 - 1]).all()
        assert (points[labelled].max(axis=0) <= [x1 + 1, y1 + 1]).all()


@pytest.mark.parametrize("name", ONLY_IN_2D)
def test_what_asks_for_3d_is_refused(name: str) -> None:
    with pytest.raises(
        HandsimError, match=rf"{name} has joints in 2D alone, .* in 3D: take freihand, dexycb"
    ):
        check_has_3d(name)
    check_has_3d("freihand")


def nobody_is_valid(content: Any) -> None:
    for person in content["annotations"]:
        person["lefthand_valid"] = person["righthand_valid"] = False


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda content: content["images"].pop(0), r"lacks 'images\[\] of id 9000'"),
        (lambda content: content["annotations"][0].pop("lefthand_valid"), "lacks 'lefthand_valid'"),
        (lambda content: content["annotations"][0].pop("lefthand_kpts"), "lacks 'lefthand_kpts'"),
        (
            lambda content: content["annotations"][1].update(lefthand_kpts=[1, 2, 3]),
            "is not as in version 1.0",
        ),
        (lambda content: content["annotations"].insert(0, []), "is not as in version 1.0"),
        (lambda content: content.pop("annotations"), "has no valid hand with a labelled joint"),
        (nobody_is_valid, "has no valid hand with a labelled joint"),
    ],
)
def test_faults_are_named(
    coco_wholebody_root: Path, copy_of: Copier, damage: Callable[[Any], None], problem: str
) -> None:
    copy = copy_of(coco_wholebody_root)
    path = copy / "annotations" / "coco_wholebody_train_v1.0.json"
    change_json(path, damage)
    with pytest.raises(
        HandsimError, match=f"{problem}.*; download the annotations of COCO-WholeBody"
    ) as error:
        CocoWholeBody(copy, "train")
    assert "\n" not in str(error.value)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HandsimError, match=r"is not whole JSON|not as in|lacks"):
        CocoWholeBody(copy, "train")
    path.unlink()
    with pytest.raises(
        NotThereError, match=r"train_v1.0.json is missing; give the folder that has annotations/"
    ):
        CocoWholeBody(copy, "train")
