"""Labelled datasets read as pools: hands, people and joints in 3D, as their records have them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.embedding import PoseEmbedding
from handsim.errors import HandsimError
from handsim.hand import Hand
from handsim.pool import Pool
from handsim.skeleton import JOINT_COUNT, WRIST
from index import open_catalog
from index.pairs_3d import measure_pairs_3d
from tests.training.datasets.conftest import Copier
from training.datasets.open_dataset import open_dataset
from training.datasets.to_pool import add_to_pool

SPLITS = {
    **{"freihand": "eval", "dexycb": "s1_test", "assemblyhands": "train", "synthetic": "train"},
    **{"ho3d": "val", "interhand": "test"},
}


@pytest.fixture(scope="module", params=SPLITS)
def added(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A dataset, its folder, and a pool of one of its splits."""
    name, pool = request.param, tmp_path_factory.mktemp("pools") / request.param
    root: Path = request.getfixturevalue(f"{name}_root")
    report = add_to_pool(pool, name, root, [SPLITS[name]])
    assert report.added + report.skipped.total() == report.hands
    assert report.added
    return name, root, pool


def test_hands_are_those_of_the_labels(added: tuple[str, Path, Path]) -> None:
    name, root, path = added
    dataset, pool = open_dataset(name, root, SPLITS[name]), Pool.open(path)
    hands = {hand.file: hand for hand in (pool.hand(int(hand)) for hand in pool.hand_ids)}
    joints = dict(
        zip([pool.hand(int(each)).file for each in pool.hand_ids], pool.read_joints_mm(), strict=True)
    )
    compared = 0
    for label in map(dataset.label, range(len(dataset))):
        if (hand := hands.get(label.sample_id)) is None:
            continue
        compared += 1
        assert (hand.source, hand.video, hand.side) == (name, label.subject, label.side)
        np.testing.assert_array_equal(joints[label.sample_id], label.joints_3d_mm)
        np.testing.assert_allclose(
            project_back(hand, label.size_px[0])[label.valid], label.keypoints_2d_px[label.valid], atol=0.01
        )
        if label.valid.all():  # z is the depth below the wrist, in the scale of x and y there
            mm = np.diff(label.joints_3d_mm[[WRIST, 12], 2])[0] / label.joints_3d_mm[WRIST, 2]
            side = 1.3 * max(hand.box_px[2:] - hand.box_px[:2])
            assert hand.keypoints[12, 2] == pytest.approx(mm * label.intrinsics[0, 0] / side, abs=1e-4)
    assert compared == len(pool) > 0


def project_back(hand: Hand, width: int) -> NDArray[np.float64]:
    """Keypoints [21, 2] in the mirrored picture of a left hand, in that of a right one as it is."""
    x0, y0, x1, y1 = hand.box_px.astype(np.float64)
    if hand.side == "left":
        x0, x1 = width - x1, width - x0
    side = 1.3 * max(x1 - x0, y1 - y0)
    centre = np.array([x0 + x1, y0 + y1]) / 2
    return np.asarray(centre + (hand.keypoints[:, :2] - 0.5) * side)


def test_pairs_are_measured_in_3d(dexycb_root: Path, tmp_path: Path) -> None:
    add_to_pool(tmp_path / "pool", "dexycb", dexycb_root)
    pool = Pool.open(tmp_path / "pool")
    with open_catalog(tmp_path / "index") as catalog:
        catalog.build(pool, PoseEmbedding.fit(pool))
        with catalog.current() as version:
            pairs = measure_pairs_3d(version, pool)
    assert pairs.report.oracle.aligned_mm <= pairs.report.mined.aligned_mm < pairs.report.random.aligned_mm
    people = pool.videos.codes
    assert (people[pairs.anchors] != people[pairs.positives]).all()


def test_a_second_run_reads_no_hand_again(freihand_root: Path, copy_of: Copier, tmp_path: Path) -> None:
    root = copy_of(freihand_root)
    first = add_to_pool(tmp_path / "pool", "freihand", root, ["eval"])
    for picture in root.glob("evaluation/rgb/*.jpg"):
        picture.unlink()
    second = add_to_pool(tmp_path / "pool", "freihand", root, ["eval"])
    assert (second.added, second.known, second.skipped.total()) == (0, first.hands, 0)


def test_a_damaged_picture_is_named_and_tried_again(
    freihand_root: Path, copy_of: Copier, tmp_path: Path
) -> None:
    root = copy_of(freihand_root)
    picture = root / "evaluation" / "rgb" / "00000001.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 9])
    report = add_to_pool(tmp_path / "pool", "freihand", root, ["eval"])
    assert report.skipped == {"unreadable": 1}
    assert "evaluation/00000001: the picture" in report.examples["unreadable"]
    picture.write_bytes(whole)
    assert add_to_pool(tmp_path / "pool", "freihand", root, ["eval"]).added == 1


def test_hands_without_labels_are_counted(freihand_root: Path, copy_of: Copier, tmp_path: Path) -> None:
    root = copy_of(freihand_root)
    (root / "evaluation_xyz.json").unlink()
    report = add_to_pool(tmp_path / "pool", "freihand", root, ["eval"])
    assert report.skipped == {"too few joints": report.hands}
    assert f"0 of {JOINT_COUNT} joints are annotated" in report.examples["too few joints"]


def test_an_unknown_split_makes_no_pool(freihand_root: Path, tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match="freihand has no split s0"):
        add_to_pool(tmp_path / "pool", "freihand", freihand_root, ["s0"])
    assert not (tmp_path / "pool").exists()
