"""AssemblyHands that is not wholly or not rightly there: one sentence each, with the remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handsim.errors import HandsimError, NotThereError
from tests.training.datasets.conftest import Copier
from training.datasets.assemblyhands import AssemblyHands

AGAIN = "download all three files of annotations v1-1 of the split again"
KINDS = ("ego_data", "ego_calib", "joint_3d")


def path_of(root: Path, kind: str) -> Path:
    return root / "annotations" / "val" / f"assemblyhands_val_{kind}_v1-1.json"


def refused(root: Path, match: str) -> None:
    with pytest.raises(HandsimError, match=match) as refusal:
        AssemblyHands(root, "val")
    assert "\n" not in str(refusal.value)


def test_an_unknown_split(assemblyhands_root: Path) -> None:
    with pytest.raises(HandsimError, match=r"no split eval; did you mean val\?; it has train, val, test"):
        AssemblyHands(assemblyhands_root, "eval")


def test_a_wrong_root(tmp_path: Path, assemblyhands_root: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere", assemblyhands_root / "annotations"):
        with pytest.raises(
            NotThereError, match=r"no annotations/.*; give the folder that has annotations/"
        ):
            AssemblyHands(wrong, "val")


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file(assemblyhands_root: Path, copy_of: Copier, kind: str) -> None:
    root = copy_of(assemblyhands_root)
    path_of(root, kind).unlink()
    refused(root, f"assemblyhands_val_{kind}_v1-1.json is missing; {AGAIN}")
    assert len(AssemblyHands(root, "train")) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_version(assemblyhands_root: Path, copy_of: Copier, kind: str) -> None:
    root = copy_of(assemblyhands_root)
    path = path_of(root, kind)
    path.rename(path.with_name(path.name.replace("v1-1", "v2-0")))
    refused(root, f"has assemblyhands_val_{kind}_v2-0.json, but handsim reads version v1-1; download that")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_breaks_off(assemblyhands_root: Path, copy_of: Copier, kind: str) -> None:
    root = copy_of(assemblyhands_root)
    path = path_of(root, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(root, rf"{path.name} is not whole JSON \(.*\); {AGAIN}")


@pytest.mark.parametrize("content", ["", "<html>404</html>", "[1, 2]", "{}", '{"annotations": []}'])
@pytest.mark.parametrize("kind", KINDS)
def test_other_contents(assemblyhands_root: Path, copy_of: Copier, kind: str, content: str) -> None:
    root = copy_of(assemblyhands_root)
    path_of(root, kind).write_text(content)
    refused(root, AGAIN)


def without_images(data: Any) -> None:
    data["images"] = []


def without_camera(data: Any) -> None:
    del data["images"][3]["camera"]


def without_boxes(data: Any) -> None:
    for annotation in data["annotations"]:
        annotation["bbox"] = {"right": None, "left": None}


def with_one_box(data: Any) -> None:
    data["annotations"][2]["bbox"] = [1.0, 2.0, 3.0, 4.0]


def with_21_joints(data: Any) -> None:
    data["annotations"][2]["joint_valid"] = [1] * 21


def without_valid_joints(data: Any) -> None:
    for annotation in data["annotations"]:
        annotation["joint_valid"] = [0] * 42


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (without_images, f"ego_data_v1-1.json lacks 0, so it is not v1-1; {AGAIN}"),
        (without_camera, f"lacks 'camera', so it is not v1-1; {AGAIN}"),
        (without_boxes, rf"no annotations\[\] with a box in bbox; {AGAIN}"),
        (with_one_box, rf"is not as in v1-1 \(.*\); {AGAIN}"),
        (with_21_joints, rf"is not as in v1-1 \(.*42.*\); {AGAIN}"),
        (
            without_valid_joints,
            rf"none of the \d+ hands of val has a valid joint; .*take another split, else {AGAIN}",
        ),
    ],
)
def test_pictures_and_boxes(
    assemblyhands_root: Path, copy_of: Copier, damage: Callable[[Any], None], match: str
) -> None:
    changed(copy_of(assemblyhands_root), "ego_data", damage, match)


def first(mapping: dict[str, Any]) -> Any:
    return next(iter(mapping.values()))


def without_a_sequence(data: Any) -> None:
    members = data.get("annotations") or data["calibration"]
    members.pop(next(iter(members)))


def without_a_pose(data: Any) -> None:
    first(data["annotations"]).pop("000004")


def without_left_hands(data: Any) -> None:
    for pose in first(data["annotations"]).values():
        pose["world_coord"] = pose["world_coord"][:21]


def without_extrinsics(data: Any) -> None:
    first(data["calibration"])["extrinsics"].pop("000004")


def without_intrinsics(data: Any) -> None:
    first(data["calibration"])["intrinsics"].clear()


def with_affine_extrinsics(data: Any) -> None:
    for cameras in first(data["calibration"])["extrinsics"].values():
        for camera in cameras:
            cameras[camera] = cameras[camera][:2]


@pytest.mark.parametrize(
    ("kind", "damage", "match"),
    [
        ("joint_3d", without_a_sequence, f"lacks 1 of 2 sequences, such as nusar-.*; {AGAIN}"),
        ("joint_3d", without_a_pose, f"lacks '000004', so it is not v1-1; {AGAIN}"),
        ("joint_3d", without_left_hands, rf"is not as in v1-1 \(.*\); {AGAIN}"),
        ("ego_calib", without_a_sequence, f"lacks 1 of 2 sequences, such as nusar-.*; {AGAIN}"),
        ("ego_calib", without_extrinsics, f"lacks '000004', so it is not v1-1; {AGAIN}"),
        ("ego_calib", without_intrinsics, f"lacks 'HMC_.*_mono10bit', so it is not v1-1; {AGAIN}"),
        ("ego_calib", with_affine_extrinsics, rf"is not as in v1-1 \(.*\); {AGAIN}"),
    ],
)
def test_poses_and_cameras(
    assemblyhands_root: Path, copy_of: Copier, kind: str, damage: Callable[[Any], None], match: str
) -> None:
    changed(copy_of(assemblyhands_root), kind, damage, match)


def changed(root: Path, kind: str, damage: Callable[[Any], None], match: str) -> None:
    data = json.loads(path_of(root, kind).read_text())
    damage(data)
    path_of(root, kind).write_text(json.dumps(data))
    refused(root, match)


def test_damaged_pictures(assemblyhands_root: Path, copy_of: Copier) -> None:
    dataset = AssemblyHands(copy_of(assemblyhands_root), "val")
    path = dataset.files(2)[0]
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(
        HandsimError, match=rf"{path.name} cannot be read \(truncated.*; extract that sequence"
    ):
        dataset[2]
    path.unlink()
    with pytest.raises(NotThereError, match=rf"{path.name} is missing; extract that sequence's archive"):
        dataset[2]
    assert dataset.label(2).valid.any()


def test_keypoints_are_not_needed_to_read(assemblyhands_root: Path, copy_of: Copier) -> None:
    root = copy_of(assemblyhands_root)
    data = json.loads(path_of(root, "ego_data").read_text())
    for annotation in data["annotations"]:
        del annotation["keypoints"]
    path_of(root, "ego_data").write_text(json.dumps(data))
    dataset = AssemblyHands(root, "val")
    assert dataset.label(0).valid.any()
    assert not (dataset.annotated_keypoints_px([0, 1]) > -1e9).any()
