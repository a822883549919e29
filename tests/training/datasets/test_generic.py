"""The generic dataset: hands.json is read in any order, unit and pixel convention, and faults are named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES, JOINT_ORDERS, from_handsim_order
from handsim.synthetic.camera import project
from tests.training.datasets.builders import Joints, change_json, whole_hands
from training.datasets.check import check_dataset
from training.datasets.generic import LABELS_FILE, SPLITS
from training.datasets.open_dataset import open_dataset

SIZE_PX = (64, 48)
K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
HANDS = whole_hands(videos=12)
SIDES = [("right", "left")[row % 2] for row in range(len(HANDS))]
UNSEEN = 7


def as_seen(row: int) -> Joints:
    """The hand before mirroring, in front of the camera."""
    joints: Joints = HANDS[row] - HANDS[row].mean(axis=0) + [0, 0, 400.0]
    if SIDES[row] == "left":
        joints[:, 0] *= -1
    return joints


def write(root: Path, order: str | list[str] = "handsim", unit: str = "mm", uv: bool = True) -> Path:
    """Write the hands as a user's script would, with one joint of the first not annotated."""
    (root / "images").mkdir(parents=True)
    entries = []
    for row, side in enumerate(SIDES):
        joints = as_seen(row)
        points = project(joints, K)
        if isinstance(order, str):
            places = np.argsort(JOINT_ORDERS[order])
            np.testing.assert_array_equal(joints[places], from_handsim_order(joints, order))
        else:
            places = np.array([JOINT_NAMES.index(name) for name in order])
        xyz = (joints[places] / (1000 if unit == "m" else 1)).tolist()
        if row == 0:
            xyz[int(np.argmax(places == UNSEEN))] = None
        entry = {
            **{"picture": f"images/{row:03d}.png", "size": SIZE_PX, "side": side},
            **{"split": SPLITS[row % 3], "person": f"p{row % 3}{row % 5}", "K": K.tolist(), "xyz": xyz},
        }
        entries.append(entry | ({"uv": points[places].tolist()} if uv else {}))
        image = np.zeros((SIZE_PX[1], SIZE_PX[0], 3), dtype=np.uint8)
        across, down = np.round(points[9]).astype(int)
        image[down, across] = 255
        Image.fromarray(image).save(root / entry["picture"])
    content = {"unit": unit, "joint_order": order, "hands": entries}
    (root / LABELS_FILE).write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("order", "unit", "uv"),
    [
        ("handsim", "mm", True),
        ("ho3d", "m", False),
        ("interhand", "m", True),
        ([*JOINT_NAMES[::-1]], "mm", False),
    ],
)
def test_hands_are_read_back(tmp_path: Path, order: str | list[str], unit: str, uv: bool) -> None:
    root = write(tmp_path / "set", order, unit, uv)
    seen = 0
    for split in SPLITS:
        hands = open_dataset("generic", root, split)
        for index in range(len(hands)):
            hand = hands[index]
            row = int(Path(hand.sample_id).parent.stem)
            valid = np.arange(JOINT_COUNT) != (UNSEEN if row == 0 else -1)
            assert (hand.side, hand.subject, hand.valid.tolist()) == (
                SIDES[row],
                f"p{row % 3}{row % 5}",
                valid.tolist(),
            )
            expected = as_seen(row) * ([-1, 1, 1] if hand.side == "left" else [1, 1, 1])
            np.testing.assert_allclose(hand.joints_3d_mm[valid], expected[valid], atol=1e-4)
            assert np.isnan(hand.joints_3d_mm[~valid]).all()
            pixels = project(hand.joints_3d_mm.astype(np.float64), hand.intrinsics)
            np.testing.assert_allclose(hand.keypoints_2d_px[valid], pixels[valid], atol=1e-4)
            across, down = np.floor(hand.keypoints_2d_px[9]).astype(int)
            assert hand.image[down, across].tolist() == [255] * 3  # the joint's own pixel, mirrored with it
            seen += 1
    assert seen == len(HANDS)


def test_pixel_centres_at_a_half_are_not_shifted(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    whole = open_dataset("generic", root, "train").label(2)
    change_json(root / LABELS_FILE, lambda content: content.update(pixel_centre=0.5))
    half = open_dataset("generic", root, "train").label(2)
    np.testing.assert_allclose(whole.intrinsics[:2, 2] - half.intrinsics[:2, 2], 0.5)
    np.testing.assert_allclose(whole.keypoints_2d_px - half.keypoints_2d_px, 0.5, atol=1e-5)


def test_a_sound_set_passes_the_check_and_a_wrong_order_does_not(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "ho3d")
    report = check_dataset("generic", root)
    assert {finding.check for finding in report.findings if finding.verdict != "passed"} == {"counts"}
    change_json(root / LABELS_FILE, lambda content: content.update(joint_order="handsim"))
    assert [finding.check for finding in check_dataset("generic", root).failed] == ["joint order"]


def test_without_2d_joints_projection_is_not_checked(tmp_path: Path) -> None:
    report = check_dataset("generic", write(tmp_path / "set", uv=False))
    verdicts = {finding.check: finding.verdict for finding in report.findings}
    assert verdicts["projection"] == "skipped"
    assert not report.failed


def test_hands_without_a_joint_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    before = len(open_dataset("generic", root, "train"))
    change_json(root / LABELS_FILE, lambda content: content["hands"][0].update(xyz=[None] * 21))
    hands = open_dataset("generic", root, "train")
    assert (len(hands), hands.skipped) == (before - 1, 1)


def first(**values: Any) -> Callable[[Any], None]:
    return lambda content: content["hands"][0].update(values)


def nobody_trains(content: Any) -> None:
    for hand in content["hands"]:
        hand["split"] = "val"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda content: content.update(unit="cm"), "unit is 'cm'; say whether"),
        (lambda content: content.pop("unit"), "unit is None; say whether"),
        (lambda content: content.update(joint_order="h03d"), "no joint_order h03d; did you mean ho3d"),
        (lambda content: content.update(joint_order=["wrist"]), "joint_order is a name .*once"),
        (lambda content: content.update(joint_order=[*JOINT_NAMES[1:], "palm"]), "not 'palm'"),
        (lambda content: content.update(pixel_centre=1), "pixel_centre is 1"),
        (lambda content: content["hands"][0].pop("K"), "hand 0 of .* lacks K"),
        (lambda content: content["hands"].insert(1, 5), "hand 1 of .* is not an object"),
        (lambda content: content["hands"][3].pop("uv"), "hand 3 of .*uv is given for some hands only"),
        (lambda content: content["hands"].append(content["hands"][0]), "hand 60 of .* is taken; give each"),
        (first(side="Right"), "hand 0 of .*side is 'Right'"),
        (first(split="dev"), "split is 'dev'; it is one of train, val, test"),
        (first(size=[0, 5]), "size is"),
        (first(K=[[0, 0, 1], [0, 0, 1], [0, 0, 1]]), "K is not"),
        (first(xyz=[[1, 2, 3]] * 20), r"xyz has shape \[20, 3\]; expected \[21, 3\]"),
        (first(xyz=[["a", 2, 3]] * 21), "xyz is not"),
        (nobody_trains, "no hand of split train"),
    ],
)
def test_faults_are_named(tmp_path: Path, damage: Callable[[Any], None], problem: str) -> None:
    root = write(tmp_path / "set")
    change_json(root / LABELS_FILE, damage)
    with pytest.raises(HandsimError, match=problem) as error:
        open_dataset("generic", root, "train")
    assert "\n" not in str(error.value)


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"hands.json is missing; give the folder"):
        open_dataset("generic", tmp_path, "train")
    root = write(tmp_path / "set")
    path = root / LABELS_FILE
    whole = path.read_text()
    for broken in (whole[: len(whole) // 2], "", whole.replace("null", "NaN")):
        path.write_text(broken)
        with pytest.raises(HandsimError, match=r"is not whole JSON .*null, not NaN"):
            open_dataset("generic", root, "train")
    path.write_text(whole)
    hands = open_dataset("generic", root, "train")
    hands.files(0)[0].unlink()
    with pytest.raises(NotThereError, match=r"picture .* is missing"):
        hands[0]


def test_a_person_in_two_splits_is_named_by_the_check_and_can_be_read(tmp_path: Path) -> None:
    root = write(tmp_path)

    def move_a_hand(content: Any) -> None:
        content["hands"][4]["person"] = content["hands"][0]["person"]

    change_json(root / LABELS_FILE, move_a_hand)
    findings = {finding.check: finding for finding in check_dataset("generic", root).findings}
    assert findings["people"].verdict == "failed"
    assert findings["people"].detail.startswith(
        "1 of 15 people in several splits, such as p00 in train and val"
    )
    assert len(open_dataset("generic", root, "val")) == len(HANDS) // 3
    one = check_dataset("generic", root, ["val"])
    assert "people" not in {finding.check for finding in one.findings}
    assert {each.check: each for each in check_dataset("generic", write(tmp_path / "sound")).findings}[
        "people"
    ].verdict == "passed"
