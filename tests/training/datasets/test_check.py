"""The dataset check: sound datasets pass, and each check fires for exactly its own fault."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_ORDERS, PARENTS
from tests.training.datasets.builders import Joints, change_dexycb, change_json, remove_marker
from tests.training.datasets.conftest import Copier
from training.datasets.check import OFFICIAL_HANDS, SAMPLES, CheckOptions, CheckReport, check_dataset
from training.datasets.dexycb import SPLITS, SUBJECTS, DexYCB
from training.datasets.sanity import Finding

CHECKS = [
    *("splits", "counts", "files", "labels", "pictures"),
    *("projection", "distance", "in the picture"),
    *("joint order", "units", "bone lengths", "left and right"),
]
FEW = CheckOptions(labels=120, pictures=10)


def failed(report: CheckReport) -> dict[str, Finding]:
    return {finding.check: finding for finding in report.failed}


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("dexycb", {"counts"}),
        ("assemblyhands", {"counts"}),
        ("freihand", {"counts", "projection"}),  # no 2D joints are stored
        ("synthetic", {"counts"}),
    ],
)
def test_sound_sets_pass(name: str, skipped: set[str], request: pytest.FixtureRequest) -> None:
    report = check_dataset(name, request.getfixturevalue(f"{name}_root"))
    verdicts = {finding.check: finding.verdict for finding in report.findings}
    assert list(verdicts) == CHECKS
    assert {check for check, verdict in verdicts.items() if verdict == "skipped"} == skipped
    assert "failed" not in verdicts.values()
    assert len(report.samples) == SAMPLES
    assert json.loads(json.dumps(report.to_json()))["passed"] is True


def test_splits_are_counted(dexycb_root: Path) -> None:
    report = check_dataset("dexycb", dexycb_root, ["s1_val", "s3_test"], FEW)
    assert [count.split for count in report.splits] == ["s1_val", "s3_test"]
    for count in report.splits:
        dataset = DexYCB(dexycb_root, count.split)
        assert (count.hands, count.skipped, count.official) == (len(dataset), dataset.skipped, None)


def test_the_same_seed_reads_the_same_hands(dexycb_root: Path) -> None:
    def sample_ids(seed: int) -> list[str]:
        report = check_dataset("dexycb", dexycb_root, None, CheckOptions(40, 20, seed))
        return [sample.sample_id for sample in report.samples]

    assert sample_ids(1) == sample_ids(1)
    assert len(set(sample_ids(1))) == SAMPLES
    assert sample_ids(1) != sample_ids(2)


def test_unknown_datasets_and_splits_are_refused(dexycb_root: Path) -> None:
    with pytest.raises(HandsimError, match=r"no dataset dexicb; did you mean dexycb\?"):
        check_dataset("dexicb", dexycb_root)
    with pytest.raises(
        HandsimError, match=r"dexycb has no split train; did you mean s0_train\?; it has s0_train"
    ):
        check_dataset("dexycb", dexycb_root, ["s0_train", "train"])


@pytest.mark.parametrize(("labels", "pictures", "seed"), [(0, 0, 0), (1, -1, 0), (1, 1, -1)])
def test_options_have_bounds(labels: int, pictures: int, seed: int) -> None:
    with pytest.raises(HandsimError, match="it must be at least"):
        CheckOptions(labels, pictures, seed)


def test_official_counts_add_up_to_the_whole() -> None:
    """508,384 hands in every setup (table 9 of DexYCB's paper), 130,240 training pictures of FreiHAND."""
    counts = OFFICIAL_HANDS["dexycb"]
    assert set(counts) == set(SPLITS)
    for setup in ("s0", "s1", "s2", "s3"):
        assert sum(counts[f"{setup}_{part}"] for part in ("train", "val", "test")) == 508_384
    freihand = OFFICIAL_HANDS["freihand"]
    assert freihand["train"] + freihand["val"] == 4 * 32_560
    assert 4 * freihand["train_v0"] == freihand["train"]


def test_an_empty_folder_is_one_finding(tmp_path: Path) -> None:
    report = check_dataset("dexycb", tmp_path)
    assert [finding.check for finding in report.findings] == ["splits"]
    assert "none of DexYCB's subjects" in report.failed[0].detail
    assert "(and 2 more splits)" in report.failed[0].detail
    assert not report.splits
    assert not report.samples


def test_withheld_truth_is_not_a_fault(freihand_root: Path, copy_of: Copier) -> None:
    root = copy_of(freihand_root)
    (root / "evaluation_xyz.json").unlink()
    report = check_dataset("freihand", root, ["eval"])
    assert not report.failed
    assert [finding.check for finding in report.findings][-1] == "joints"
    assert not report.findings[-1].numbers
    assert report.samples  # to be drawn without joints


def test_a_split_that_cannot_be_opened_is_a_finding(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    shutil.rmtree(root / SUBJECTS[9])
    report = check_dataset("dexycb", root, ["s0_val", "s0_test"], FEW)
    assert list(failed(report)) == ["splits"]
    assert report.failed[0].detail.startswith("s0_test: ")
    assert f"download {SUBJECTS[9]}.tar.gz" in report.failed[0].detail
    assert [count.split for count in report.splits] == ["s0_val"]


def test_counts_differ_from_the_official_ones(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    remove_marker(root)
    report = check_dataset("dexycb", root, ["s1_val"], FEW)
    assert list(failed(report)) == ["counts"]
    assert "not 47,656 as the official one" in report.failed[0].detail
    assert report.splits[0].official == 47_656


def test_missing_files(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    dataset = DexYCB(root, "s0_test")
    picture, labels = dataset.files(3)
    picture.unlink()
    shutil.rmtree(dataset.files(5)[0].parent)
    missing = failed(check_dataset("dexycb", root, ["s0_test"], CheckOptions(labels=1, pictures=0)))["files"]
    assert missing.numbers["missing"] >= 3
    assert str(picture) in missing.detail
    assert labels.exists()


def test_unreadable_labels(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    DexYCB(root, "s0_test").files(4)[1].write_bytes(b"PK")
    report = check_dataset("dexycb", root)
    assert list(failed(report)) == ["labels"]
    assert "1 of 192 cannot be read: " in report.failed[0].detail
    assert "extract its archive again" in report.failed[0].detail


def test_truncated_pictures(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    path = DexYCB(root, "s0_test").files(4)[0]
    path.write_bytes(path.read_bytes()[:500])
    report = check_dataset("dexycb", root)
    assert list(failed(report)) == ["pictures"]
    assert "1 of 192 cannot be read: " in report.failed[0].detail
    assert "truncated" in report.failed[0].detail


def of_other_pictures(joints_m: Joints) -> Joints:
    return np.add(joints_m, [0.05, 0.02, 0])


def in_millimetres(joints_m: Joints) -> Joints:
    return joints_m * 1000


def in_the_world(joints_m: Joints) -> Joints:
    return np.add(joints_m, [0, 0, 20])


def beside_the_picture(joints_m: Joints) -> Joints:
    return np.add(joints_m, [1, 0, 0])


def with_a_long_finger(joints_m: Joints) -> Joints:
    stretched = joints_m.copy()
    stretched[8] += 1.5 * (joints_m[8] - joints_m[PARENTS[8]])
    return stretched


def without_a_reference_bone(joints_m: Joints) -> Joints:
    return joints_m[[*range(9), 0, *range(10, 21)]]


def with_fingers_exchanged(joints_m: Joints) -> Joints:
    return joints_m[[*range(5), *range(9, 13), *range(5, 9), *range(13, 21)]]


def in_manos_order(joints_m: Joints) -> Joints:
    return joints_m[np.argsort(JOINT_ORDERS["mano"])]


@pytest.mark.parametrize(
    ("change", "reproject", "checks", "says"),
    [
        (of_other_pictures, False, {"projection"}, "joints or cameras are of other pictures"),
        (in_the_world, True, {"distance"}, "they are not in the camera frame"),
        (beside_the_picture, True, {"in the picture"}, "pictures or cameras are of another size"),
        (
            in_millimetres,
            True,
            {"units", "distance"},
            "seem to be 1000 times as large",
        ),
        (with_a_long_finger, True, {"bone lengths"}, "index_dip to index_tip is 2."),
        (without_a_reference_bone, True, {"bone lengths"}, "wrist to middle_mcp is 0.00 times as long as in"),
        (with_fingers_exchanged, True, {"joint order"}, "index and middle finger seem to be exchanged"),
        (in_manos_order, True, {"joint order"}, "in the order of mano"),
    ],
)
def test_wrong_joints_of_dexycb(
    dexycb_root: Path,
    copy_of: Copier,
    change: Callable[[Joints], Joints],
    reproject: bool,
    checks: set[str],
    says: str,
) -> None:
    root = copy_of(dexycb_root)
    change_dexycb(root, change, reproject=reproject)
    findings = failed(check_dataset("dexycb", root, None, FEW))
    assert set(findings) == checks
    assert any(says in finding.detail for finding in findings.values())


def test_exchanged_sides_of_dexycb(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    for path in root.glob("*/*/meta.yml"):
        meta = yaml.safe_load(path.read_text())
        meta["mano_sides"] = ["left" if meta["mano_sides"] == ["right"] else "right"]
        path.write_text(yaml.safe_dump(meta))
    report = check_dataset("dexycb", root, None, FEW)
    assert list(failed(report)) == ["left and right"]
    assert "100% of the hands labelled left are not" in report.failed[0].detail


def test_wrong_order_and_units_of_freihand(freihand_root: Path, copy_of: Copier) -> None:
    root = copy_of(freihand_root)
    path = root / "training_xyz.json"
    joints = np.array(json.loads(path.read_text()))
    path.write_text(json.dumps(joints[:, np.argsort(JOINT_ORDERS["assemblyhands"])].tolist()))
    findings = failed(check_dataset("freihand", root, ["train"]))
    assert list(findings) == ["joint order"]
    assert "in the order of assemblyhands" in findings["joint order"].detail
    path.write_text(json.dumps((joints * [-1, 1, 1] / 10).tolist()))
    findings = failed(check_dataset("freihand", root, ["train"]))
    assert list(findings) == ["distance", "units", "left and right"]


def in_our_order(data: Any) -> None:
    for sequence in data["annotations"].values():
        for pose in sequence.values():
            world = np.array(pose["world_coord"]).reshape(2, 21, 3)
            pose["world_coord"] = world[:, JOINT_ORDERS["assemblyhands"]].reshape(42, 3).tolist()


def in_metres(data: Any) -> None:
    for sequence in data["annotations"].values():
        for pose in sequence.values():
            pose["world_coord"] = (np.array(pose["world_coord"]) / 1000).tolist()


def with_hands_exchanged(data: Any) -> None:
    for sequence in data["annotations"].values():
        for pose in sequence.values():
            pose["world_coord"] = pose["world_coord"][21:] + pose["world_coord"][:21]
            pose["joint_valid"] = pose["joint_valid"][21:] + pose["joint_valid"][:21]


def without_extrinsics(data: Any) -> None:
    for sequence in data["calibration"].values():
        for cameras in sequence["extrinsics"].values():
            for camera in cameras:
                cameras[camera] = np.eye(3, 4).tolist()


def moved_keypoints(data: Any) -> None:
    for annotation in data["annotations"]:
        annotation["keypoints"] = [[x + 30, y, score] for x, y, score in annotation["keypoints"]]


@pytest.mark.parametrize(
    ("kind", "change", "check", "says"),
    [
        ("joint_3d", in_our_order, "joint order", "reordered from that of assemblyhands once too often"),
        ("joint_3d", in_metres, "units", "seem to be 0.001 times as large as in the official ones"),
        ("ego_calib", without_extrinsics, "distance", "they are not in the camera frame"),
        ("ego_data", moved_keypoints, "projection", "joints or cameras are of other pictures"),
    ],
)
def test_wrong_annotations_of_assemblyhands(
    assemblyhands_root: Path, copy_of: Copier, kind: str, change: Callable[[Any], None], check: str, says: str
) -> None:
    root = copy_of(assemblyhands_root)
    for split in ("train", "val", "test"):
        change_json(root / f"annotations/{split}/assemblyhands_{split}_{kind}_v1-1.json", change)
    findings = failed(check_dataset("assemblyhands", root, None, FEW))
    assert says in findings[check].detail
