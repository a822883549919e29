"""What the synthetic set in DexYCB's layout promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.skeleton import BONES
from tests.training.datasets.dexycb.test_splits import SETUPS, oracle
from tests.training.datasets.small_sets import DEXYCB
from training.datasets.dexycb import DexYCB
from training.datasets.layouts import LEAST_TAKES, MOST_TAKES, is_synthetic, place_of_take, write_dexycb


def test_no_two_takes_have_the_same_place() -> None:
    assert len({place_of_take(take) for take in range(MOST_TAKES)}) == MOST_TAKES


@pytest.mark.parametrize("setup", SETUPS)
def test_the_fewest_takes_reach_every_split(setup: str) -> None:
    places = [place_of_take(take) for take in range(LEAST_TAKES)]
    reached = {
        oracle(setup, subject, camera, sequence) for subject, sequence in places for camera in range(8)
    }
    assert reached == {"train", "val", "test"}


def test_a_subject_is_one_person(dexycb_root: Path) -> None:
    """Bone lengths differ between subjects, not between a subject's sequences and cameras."""
    dataset = DexYCB(dexycb_root, "s0_train")
    lengths: dict[str, list[float]] = {}
    for label in map(dataset.label, range(len(dataset))):
        bone = BONES[9]
        span = label.joints_3d_mm[bone[1]] - label.joints_3d_mm[bone[0]]
        lengths.setdefault(label.subject, []).append(float(np.linalg.norm(span)))
    for found in lengths.values():
        assert np.ptp(found) < 0.01
    assert len({round(found[0], 1) for found in lengths.values()}) == len(lengths)


def test_cameras_differ(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, "s1_test")
    labels = [dataset.label(index) for index in range(len(dataset))]
    focal = {label.sample_id.split("/")[2]: label.intrinsics[0, 0] for label in labels}
    assert len(set(focal.values())) == 8


def test_the_same_seed_writes_the_same_bytes(dexycb_root: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_dexycb(again, replace(DEXYCB, videos=LEAST_TAKES))
    same = [path for path in sorted(again.rglob("*")) if path.is_file()]
    assert is_synthetic(again)
    for path in same:
        if path.name == "meta.yml" or path.suffix == ".json":
            continue  # other takes are empty there
        assert path.read_bytes() == (dexycb_root / path.relative_to(again)).read_bytes(), path


def test_too_many_and_too_few_takes_and_full_folders_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    with pytest.raises(HandsimError, match="videos is 1001; DexYCB has at most 1000 sequences"):
        write_dexycb(root, replace(DEXYCB, videos=1001))
    with pytest.raises(HandsimError, match="videos is 11; the layout of dexycb needs 12"):
        write_dexycb(root, replace(DEXYCB, videos=11))
    assert not root.exists()
    with pytest.raises(HandsimError, match="is not empty; a dataset is written into a folder of its own"):
        write_dexycb(Path(__file__).parent, DEXYCB)
