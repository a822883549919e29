"""The dataset check: sound datasets and odd people pass, and each check fires for exactly its own fault."""

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import Side
from handsim.skeleton import (
    FINGER_JOINTS,
    JOINT_COUNT,
    JOINT_ORDERS,
    PARENTS,
    from_handsim_order,
    to_handsim_order,
)
from handsim.synthetic.camera import project
from tests.training.datasets.builders import (
    Joints,
    change_dexycb,
    change_json,
    damaged,
    odd_hands,
    whole_hands,
)
from training.datasets.check import OFFICIAL_HANDS, SAMPLES, CheckOptions, CheckReport, check_dataset
from training.datasets.dexycb import SPLITS, SUBJECTS, DexYCB
from training.datasets.layouts import MARKER
from training.datasets.record import HandLabel
from training.datasets.sanity import (
    MARGIN,
    WORST_SCORE,
    Finding,
    check_bones,
    check_depth,
    check_inside,
    check_joint_order,
    check_projection,
    check_sides,
    check_units,
    joint_distances,
    order_score,
)

pytestmark = pytest.mark.slow

CHECKS = [
    *("splits", "counts", "files", "labels", "pictures"),
    *("projection", "distance", "in the picture"),
    *("joint order", "units", "bone lengths", "left and right", "worst labels"),
]
PART = ["s1_test"]
"""32 hands of two subjects, of both sides."""
FEW = CheckOptions(labels=120, pictures=10)


@pytest.fixture
def part(dexycb_root: Path, tmp_path: Path) -> Path:
    """A copy of what `PART` of DexYCB needs, to be broken."""
    for name in (SUBJECTS[7], SUBJECTS[8], "calibration"):
        shutil.copytree(dexycb_root / name, tmp_path / "dexycb" / name)
    return Path(shutil.copy(dexycb_root / MARKER, tmp_path / "dexycb")).parent


BONE_LOST = [*range(9), 0, *range(10, 21)]
MANO = np.argsort(JOINT_ORDERS["mano"])


def assert_failed(finding: Finding, problem: str) -> None:
    assert finding.verdict == "failed"
    assert problem in finding.detail


def failed(report: CheckReport) -> dict[str, Finding]:
    return {finding.check: finding for finding in report.failed}


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("dexycb", {"counts"}),
        ("assemblyhands", {"counts"}),
        ("freihand", {"counts", "projection"}),  # no 2D joints are stored
        ("ho3d", {"counts", "projection"}),
        ("interhand", {"counts", "projection"}),
        ("synthetic", {"counts"}),
    ],
)
def test_sound_datasets_pass(name: str, skipped: set[str], request: pytest.FixtureRequest) -> None:
    report = check_dataset(name, request.getfixturevalue(f"{name}_root"))
    verdicts = {finding.check: finding.verdict for finding in report.findings}
    assert list(verdicts) == CHECKS
    assert {check for check, verdict in verdicts.items() if verdict == "skipped"} == skipped
    assert "failed" not in verdicts.values()
    assert len(report.samples) == SAMPLES
    assert json.loads(json.dumps(report.to_json()))["passed"] is True


def test_splits_are_counted(dexycb_root: Path) -> None:
    report = check_dataset("dexycb", dexycb_root, ["s1_val", "s1_test"], FEW)
    assert [count.split for count in report.splits] == ["s1_val", "s1_test"]
    for count in report.splits:
        dataset = DexYCB(dexycb_root, count.split)
        assert (count.hands, count.skipped, count.official) == (len(dataset), dataset.skipped, None)


def test_the_same_seed_reads_the_same_hands(dexycb_root: Path) -> None:
    def sample_ids(seed: int) -> list[str]:
        report = check_dataset("dexycb", dexycb_root, PART, CheckOptions(25, 25, seed))
        return [sample.sample_id for sample in report.samples]

    first = sample_ids(1)
    assert sample_ids(1) == first
    assert len(set(first)) == SAMPLES
    assert sample_ids(2) != first


def test_unknown_datasets_and_splits_are_refused(dexycb_root: Path) -> None:
    with pytest.raises(HandsimError, match=r"no dataset dexicb; did you mean dexycb\?"):
        check_dataset("dexicb", dexycb_root)
    with pytest.raises(HandsimError, match=r"no split train; did you mean s0_train\?; it has s0_train"):
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


def test_withheld_truth_is_not_a_fault(freihand_root: Path) -> None:
    with damaged(freihand_root / "evaluation_xyz.json") as path:
        path.unlink()
        report = check_dataset("freihand", freihand_root, ["eval"])
    assert not report.failed
    assert [finding.check for finding in report.findings][-1] == "joints"
    assert not report.findings[-1].numbers
    assert report.samples  # to be drawn without joints


def test_a_split_that_cannot_be_opened_is_a_finding(part: Path) -> None:
    report = check_dataset("dexycb", part, ["s1_val", *PART], FEW)
    assert list(failed(report)) == ["splits"]
    assert report.failed[0].detail.startswith("s1_val: ")
    assert f"download {SUBJECTS[6]}.tar.gz" in report.failed[0].detail
    assert [count.split for count in report.splits] == PART


def test_counts_that_differ_from_the_official_ones_are_a_finding(part: Path) -> None:
    (part / MARKER).unlink()
    report = check_dataset("dexycb", part, PART, FEW)
    assert list(failed(report)) == ["counts"]
    assert "not 104,128 as the official one" in report.failed[0].detail
    assert report.splits[0].official == 104_128


def test_missing_files_are_a_finding(part: Path) -> None:
    dataset = DexYCB(part, PART[0])
    picture = dataset.files(3)[0]
    picture.unlink()
    shutil.rmtree(dataset.files(5)[0].parent)
    missing = failed(check_dataset("dexycb", part, PART, CheckOptions(labels=1, pictures=0)))["files"]
    assert missing.numbers["missing"] >= 3
    assert str(picture) in missing.detail


@pytest.mark.parametrize(
    ("file", "content", "check", "problem"),
    [(1, b"PK", "labels", "extract its archive again"), (0, b"\xff\xd8\xff\xe0", "pictures", "picture")],
)
def test_unreadable_files_are_findings(
    part: Path, file: int, content: bytes, check: str, problem: str
) -> None:
    DexYCB(part, PART[0]).files(4)[file].write_bytes(content)
    report = check_dataset("dexycb", part, PART)
    assert list(failed(report)) == [check]
    assert "1 of 32 cannot be read: " in report.failed[0].detail
    assert problem in report.failed[0].detail


@pytest.mark.parametrize(
    ("change", "reproject", "check", "says"),
    [
        (lambda joints_m: np.add(joints_m, [0.05, 0.02, 0]), False, "projection", "are of other pictures"),
        (lambda joints_m: np.add(joints_m, [0, 0, 20]), True, "distance", "are not in the camera frame"),
        (lambda joints_m: joints_m[BONE_LOST], True, "bone lengths", "wrist to middle_mcp is 0.00 times"),
        (lambda joints_m: joints_m[MANO], True, "joint order", "in the order of mano"),
    ],
)
def test_wrong_joints_of_dexycb_are_named(
    part: Path, change: Callable[[Joints], Joints], reproject: bool, check: str, says: str
) -> None:
    change_dexycb(part, change, reproject=reproject)
    findings = failed(check_dataset("dexycb", part, PART, FEW))
    assert [*findings] == [check]
    assert says in findings[check].detail


def test_wrong_order_and_units_of_freihand_are_named(freihand_root: Path) -> None:
    with damaged(freihand_root / "training_xyz.json") as path:
        joints = np.array(json.loads(path.read_text()))
        path.write_text(json.dumps(joints[:, np.argsort(JOINT_ORDERS["assemblyhands"])].tolist()))
        findings = failed(check_dataset("freihand", freihand_root, ["train"]))
        assert list(findings) == ["joint order"]
        assert "in the order of assemblyhands" in findings["joint order"].detail
        path.write_text(json.dumps((joints * [-1, 1, 1] / 10).tolist()))
        findings = failed(check_dataset("freihand", freihand_root, ["train"]))
        assert list(findings) == ["distance", "units", "left and right"]


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
        ("ego_calib", without_extrinsics, "distance", "they are not in the camera frame"),
        ("ego_data", moved_keypoints, "projection", "joints or cameras are of other pictures"),
    ],
)
def test_wrong_annotations_of_assemblyhands_are_named(
    assemblyhands_root: Path, kind: str, change: Callable[[Any], None], check: str, says: str
) -> None:
    with damaged(assemblyhands_root / f"annotations/val/assemblyhands_val_{kind}_v1-1.json") as path:
        change_json(path, change)
        findings = failed(check_dataset("assemblyhands", assemblyhands_root, ["val"], FEW))
    assert says in findings[check].detail


K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


def label_of(joints_mm: NDArray[np.float64]) -> HandLabel:
    points, valid = project(joints_mm, K).astype(np.float32), np.ones(JOINT_COUNT, dtype=np.bool_)
    return HandLabel("s", "1", "right", (640, 480), points, joints_mm.astype(np.float32), K, valid)


LABELS = [label_of(hand) for hand in whole_hands(8)]
POINTS = np.stack([label.keypoints_2d_px for label in LABELS])


@pytest.mark.parametrize(
    ("check", "changes", "problem"),
    [
        (check_depth, {}, ""),
        (check_inside, {}, ""),
        (check_depth, {"joints_3d_mm": LABELS[0].joints_3d_mm - 2000}, "not in the camera frame"),
        (check_inside, {"size_px": (160, 120)}, "pictures or cameras are of another size"),
    ],
)
def test_hands_lie_before_their_cameras_and_in_their_pictures(
    check: Callable[[Sequence[HandLabel]], Finding], changes: dict[str, Any], problem: str
) -> None:
    finding = check([replace(label, **changes) for label in LABELS])
    assert finding.verdict == ("failed" if problem else "passed")
    assert problem in finding.detail


def test_2d_joints_are_the_projections_of_the_3d_ones() -> None:
    finding = check_projection(LABELS, POINTS)
    assert finding.verdict == "passed"
    assert finding.numbers["max_px"] < 0.01
    assert_failed(check_projection(LABELS, POINTS[::-1]), "joints or cameras are of other pictures")
    halved = [replace(label, intrinsics=np.diag([0.5, 0.5, 1]) @ K) for label in LABELS]
    assert check_projection(halved, POINTS).verdict == "failed"


def test_half_a_pixel_and_a_few_bad_joints_pass() -> None:
    points = POINTS + 0.5
    points[0, :10] += 100
    finding = check_projection(LABELS, points)
    assert finding.verdict == "passed"
    assert finding.numbers["max_px"] > 100


def test_without_2d_joints_there_is_nothing_to_compare() -> None:
    assert check_projection(LABELS, None).verdict == "skipped"
    assert check_projection(LABELS, np.full_like(POINTS, np.nan)).verdict == "skipped"


def test_joints_without_annotation_are_ignored() -> None:
    broken = deepcopy(LABELS)
    for label in broken:
        label.valid[15:] = False
        label.joints_3d_mm[15:] = label.keypoints_2d_px[15:] = np.nan
    assert check_projection(broken, POINTS).verdict == "passed"
    assert check_depth(broken).numbers["implausible_share"] == 0
    assert check_inside(broken).verdict == "passed"


HANDS = whole_hands()
IDS = [f"hand{number}" for number in range(len(HANDS))]


@pytest.mark.parametrize(("factor", "says"), [(1e3, "1000"), (1e-3, "0.001"), (10, "10"), (0.1, "0.1")])
def test_other_units_than_millimetres_are_named(factor: float, says: str) -> None:
    finding = check_units(HANDS)
    assert finding.verdict == "passed"
    assert 60 < finding.numbers["wrist_to_middle_mcp_mm"] < 120
    assert check_units(np.full_like(HANDS, np.nan)).verdict == "skipped"
    assert_failed(check_units(HANDS * factor), f"seem to be {says} times as large")


@pytest.mark.parametrize("hands", [HANDS, HANDS * 1000, odd_hands(1, 3.0), odd_hands(2, 3.0)])
def test_bones_of_hands_of_any_size_pass(hands: NDArray[np.float64]) -> None:
    finding = check_bones(hands, IDS[: len(hands)])
    assert finding.verdict == "passed", finding.detail


def test_a_bone_of_the_wrong_length_is_named() -> None:
    hands = HANDS.copy()
    hands[:, 8] = hands[:, PARENTS[8]] + 2.5 * (hands[:, 8] - hands[:, PARENTS[8]])
    assert_failed(check_bones(hands, IDS), "index_dip to index_tip is 2.")


def test_single_impossible_hands_are_named_when_they_are_many() -> None:
    hands = HANDS.copy()
    hands[5, 12] += 500
    assert check_bones(hands, IDS).numbers["impossible_hands"] == 1
    assert check_bones(hands, IDS).verdict == "passed"
    hands[50:60, 12] += 500
    assert_failed(check_bones(hands, IDS), "11 of 200 hands have an impossible bone, such as hand5")


def test_bones_without_joints_are_left_out() -> None:
    hands = HANDS.copy()
    hands[:, 20] = np.nan
    hands[7] = np.nan
    assert check_bones(hands, IDS).verdict == "passed"
    assert check_bones(np.full_like(HANDS, np.nan), IDS).verdict == "skipped"


RIGHT: list[Side] = ["right"] * 200
SIDES: list[Side] = [*RIGHT]
SIDES[:100] = ["left"] * 100


def test_right_hands_pass_whatever_side_they_were() -> None:
    finding = check_sides(HANDS, SIDES)
    assert finding.verdict == "passed"
    assert finding.numbers == {"left_as_told_share": 1.0, "right_as_told_share": 1.0}


@pytest.mark.parametrize("seed", range(4))
def test_badly_annotated_odd_hands_pass(seed: int) -> None:
    assert check_sides(odd_hands(seed, 4.0), RIGHT[:50]).verdict == "passed"
    finding = check_joint_order(odd_hands(seed, 3.0))
    assert finding.verdict == "passed", finding.detail


@pytest.mark.parametrize(
    ("mirrored", "sides", "problem"),
    [(100, SIDES, "100% of the hands labelled left"), (60, RIGHT, "30% of the hands labelled right")],
)
def test_hands_that_are_mirrored_for_no_reason_fail(mirrored: int, sides: list[Side], problem: str) -> None:
    hands = np.concatenate([HANDS[:mirrored] * [-1, 1, 1], HANDS[mirrored:]])
    assert_failed(check_sides(hands, sides), f"{problem} are not")


def test_flat_hands_have_no_side() -> None:
    flat = HANDS.copy()
    wrist, across, along = flat[:, 0], flat[:, 17] - flat[:, 5], flat[:, 9] - flat[:, 0]
    axes = np.linalg.qr(np.stack([across, along], axis=-1))[0]
    flat = wrist[:, None] + ((flat - wrist[:, None]) @ axes) @ axes.swapaxes(-1, -2)
    assert check_sides(flat, RIGHT).verdict == "skipped"


@pytest.mark.parametrize("name", ["assemblyhands", "mano"])
def test_another_datasets_order_is_named(name: str) -> None:
    finding = check_joint_order(HANDS)
    assert finding.verdict == "passed"
    assert finding.numbers["score"] < 0.15
    assert finding.numbers["best_other_score"] > finding.numbers["score"] + 0.03
    assert check_joint_order(HANDS[:7]).verdict == "skipped"
    assert_failed(check_joint_order(from_handsim_order(HANDS, name)), f"in the order of {name}:")
    twice = check_joint_order(to_handsim_order(HANDS, name))
    assert_failed(twice, f"reordered from that of {name} once too often:")


def test_any_two_joints_exchanged_make_a_worse_score() -> None:
    """By more than the margin: exchanging them again is one of the orders that `check_joint_order` tries."""
    distances, order = joint_distances(HANDS[::5]), np.arange(JOINT_COUNT)
    own = order_score(distances, order)
    for first, second in combinations(range(JOINT_COUNT), 2):
        exchanged = order.copy()
        exchanged[[first, second]] = second, first
        assert order_score(distances, exchanged) > own + MARGIN, (first, second)


JOINTS = [*range(JOINT_COUNT)]
FINGERS = list(FINGER_JOINTS.values())


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ([*JOINTS[:7], 8, 7, *JOINTS[9:]], "index_dip and index_tip seem to be exchanged"),
        ([*JOINTS[:5], *FINGERS[2], *FINGERS[1], *JOINTS[13:]], "index and middle finger seem to be exchan"),
        ([0, *np.ravel([finger[::-1] for finger in FINGERS])], "fingers seem to go from tip to base"),
        ([0, *np.ravel(FINGERS[::-1])], "from little finger to thumb"),
    ],
)
def test_exchanged_and_reversed_joints_and_fingers_are_named(order: list[int], problem: str) -> None:
    assert problem in check_joint_order(HANDS[:, order]).detail


@pytest.mark.parametrize("seed", range(2))
def test_shuffled_joints_fail(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(JOINT_COUNT)
    assert order_score(joint_distances(HANDS), order) > 1.5 * WORST_SCORE
    assert check_joint_order(HANDS[:, order]).verdict == "failed"


def test_the_score_of_an_order_is_that_of_the_reordered_hands() -> None:
    order = np.array(JOINT_ORDERS["mano"])
    reordered = order_score(joint_distances(HANDS[:, order]), np.arange(JOINT_COUNT))
    assert order_score(joint_distances(HANDS), order) == pytest.approx(reordered, abs=1e-12)
