"""DexYCB that is not wholly or not rightly there: one sentence each, with the remedy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from tests.training.datasets.conftest import Copier
from training.datasets.dexycb import SUBJECTS, DexYCB
from training.datasets.layouts import place_of_take, sequence_folder

SPLIT = "s1_train"
AGAIN = "extract its archive again"
FILMED = place_of_take(0)


def first_sequence(root: Path) -> Path:
    return sequence_folder(root, *FILMED)


def refused(root: Path, match: str) -> str:
    with pytest.raises(HandsimError, match=match) as refusal:
        DexYCB(root, SPLIT)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_an_unknown_split(dexycb_root: Path) -> None:
    with pytest.raises(HandsimError, match=r"no split train; did you mean s0_train\?; it has s0_train"):
        DexYCB(dexycb_root, "train")


def test_a_wrong_root(tmp_path: Path, dexycb_root: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere", dexycb_root / SUBJECTS[0], dexycb_root / SUBJECTS[0] / "x"):
        with pytest.raises(NotThereError, match=r"none of DexYCB's subjects .*; give the folder that"):
            DexYCB(wrong, SPLIT)


def test_a_missing_subject(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    shutil.rmtree(root / SUBJECTS[3])
    refused(root, rf"{SUBJECTS[3]} is missing and the split needs it; download {SUBJECTS[3]}.tar.gz")
    assert len(DexYCB(root, "s1_test")) > 0  # needs other subjects


def test_a_missing_sequence_is_no_smaller_split(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    shutil.rmtree(sequence_folder(root, 0, 99))
    refused(root, f"has 99 sequences and not 100, splits need all of them in order; .*{AGAIN}")


def test_missing_calibration(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    shutil.rmtree(root / "calibration")
    refused(root, f"836212060125_640x480.yml is missing; .*{AGAIN}")


@pytest.mark.parametrize(
    ("file", "content", "match"),
    [
        ("meta.yml", None, "meta.yml is missing"),
        ("meta.yml", "num_frames: [", "meta.yml is not YAML"),
        ("meta.yml", "mano_sides: [left]\n", "meta.yml lacks num_frames and mano_sides"),
        ("meta.yml", "- 1\n", "meta.yml lacks num_frames and mano_sides"),
        ("meta.yml", "mano_sides: [up]\nnum_frames: 2\n", r"has mano_sides \['up'\]; one of left, right"),
        ("meta.yml", "mano_sides: [left, right]\nnum_frames: 2\n", "has mano_sides"),
        ("meta.yml", "mano_sides: !!python/object/apply:os.getcwd []\n", "meta.yml is not YAML"),
        ("meta.yml", "mano_sides: [left]\nnum_frames: 3\n", "pose_m of .* meta.yml says 3 frames"),
        ("pose.npz", None, "pose.npz is missing"),
        ("pose.npz", "no archive", "pose.npz has more than plain arrays"),
    ],
)
def test_damaged_sequences(
    dexycb_root: Path, copy_of: Copier, file: str, content: str | None, match: str
) -> None:
    root = copy_of(dexycb_root)
    path = first_sequence(root) / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    refused(root, match)


def test_damaged_calibration(dexycb_root: Path, copy_of: Copier) -> None:
    root = copy_of(dexycb_root)
    path = next((root / "calibration" / "intrinsics").glob("836212060125_*.yml"))
    path.write_text("color:\n  fx: 1.0\n")
    refused(root, f"{path.name} lacks color: fx, fy, ppx, ppy; .*{AGAIN}")


def pickled(path: Path) -> None:
    np.savez(path, joint_3d=np.array([{"a": 1}], dtype=object), joint_2d=np.zeros((1, 21, 2)))


def without_joint_2d(path: Path) -> None:
    np.savez(path, joint_3d=np.zeros((1, 21, 3)))


def of_two_hands(path: Path) -> None:
    np.savez(path, joint_3d=np.zeros((2, 21, 3)), joint_2d=np.zeros((2, 21, 2)))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((1, 21, 3)))


def all_invalid(path: Path) -> None:
    np.savez(path, joint_3d=np.full((1, 21, 3), -1.0), joint_2d=np.full((1, 21, 2), -1.0))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (Path.unlink, f"labels_00000[01].npz is missing; .*{AGAIN}"),
        (pickled, rf"more than plain arrays \(pickled objects could run code and are not read\); .*{AGAIN}"),
        (without_joint_2d, f"has no joint_2d.*{AGAIN}"),
        (of_two_hands, r"joint_3d \[2, 21, 3\] and joint_2d \[2, 21, 2\]; expected are \[1, 21, 3\]"),
        (one_array, f"cannot be read .*{AGAIN}"),
        (all_invalid, f"has no valid joint, though pose.npz has the pose of the hand; .*{AGAIN}"),
        (truncated, f"cannot be read .*{AGAIN}"),
        (emptied, f"cannot be read .*{AGAIN}"),
    ],
)
def test_damaged_labels(
    dexycb_root: Path, copy_of: Copier, damage: Callable[[Path], None], match: str
) -> None:
    dataset = DexYCB(copy_of(dexycb_root), SPLIT)
    damage(dataset.files(4)[1])
    for read in (dataset.label, dataset.__getitem__):
        with pytest.raises(HandsimError, match=match) as refusal:
            read(4)
        assert "\n" not in str(refusal.value)
    assert dataset[3].valid.all()


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path: Path) -> None:
    path.write_text("<html>404</html>")


def of_another_size(path: Path) -> None:
    Image.new("RGB", (640, 480)).save(path)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (Path.unlink, f"the picture .*color_00000[01].jpg is missing; .*{AGAIN}"),
        (halved, rf"the picture .*color_00000[01].jpg cannot be read \(truncated image.*{AGAIN}"),
        (text, rf"cannot be read \(not an image.*{AGAIN}"),
        (emptied, rf"cannot be read \(empty file.*{AGAIN}"),
        (of_another_size, f"is 640x480 pixels and not 80x64; .*{AGAIN}"),
    ],
)
def test_damaged_pictures(
    dexycb_root: Path, copy_of: Copier, damage: Callable[[Path], None], match: str
) -> None:
    dataset = DexYCB(copy_of(dexycb_root), SPLIT)
    damage(dataset.files(4)[0])
    with pytest.raises(HandsimError, match=match) as refusal:
        dataset[4]
    assert "\n" not in str(refusal.value)
    assert dataset.label(4).valid.all()  # without its picture


def test_single_joints_that_are_not_annotated(dexycb_root: Path, copy_of: Copier) -> None:
    dataset = DexYCB(copy_of(dexycb_root), SPLIT)
    before, path = dataset.label(4), dataset.files(4)[1]
    with np.load(path) as stored:
        joint_3d, joint_2d = stored["joint_3d"], stored["joint_2d"]
    joint_3d[0, [3, 17]] = joint_2d[0, [3, 17]] = -1
    np.savez(path, joint_3d=joint_3d, joint_2d=joint_2d)
    after = dataset.label(4)
    assert np.flatnonzero(~after.valid).tolist() == [3, 17]
    assert np.isnan(after.joints_3d_mm[[3, 17]]).all()
    assert np.isnan(after.keypoints_2d_px[[3, 17]]).all()
    np.testing.assert_array_equal(after.joints_3d_mm[after.valid], before.joints_3d_mm[after.valid])
