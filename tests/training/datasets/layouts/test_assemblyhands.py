"""What the synthetic set in AssemblyHands' layout promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.skeleton import REFERENCE_BONE
from tests.training.datasets.small_sets import ASSEMBLYHANDS
from training.datasets.assemblyhands import SPLITS, AssemblyHands
from training.datasets.layouts import is_synthetic, split_of_sequence, write_assemblyhands


def test_a_participant_is_one_person_in_one_split(assemblyhands_root: Path) -> None:
    """Both hands of a person are mirror images, so their bones are equally long."""
    lengths: dict[str, list[float]] = {}
    people = []
    for split in SPLITS:
        dataset = AssemblyHands(assemblyhands_root, split)
        labels = [dataset.label(index) for index in range(len(dataset))]
        people.append({label.subject for label in labels})
        for label in labels:
            span = label.joints_3d_mm[REFERENCE_BONE[1]] - label.joints_3d_mm[REFERENCE_BONE[0]]
            if np.isfinite(span).all():
                lengths.setdefault(label.subject, []).append(float(np.linalg.norm(span)))
    assert sum(map(len, people)) == len(set.union(*people)) == ASSEMBLYHANDS.videos
    for found in lengths.values():
        assert np.ptp(found) < 0.01
    assert len({round(found[0], 1) for found in lengths.values()}) == len(lengths)


def test_three_sequences_reach_every_split() -> None:
    assert {split_of_sequence(number) for number in range(3)} == set(SPLITS)


def test_the_same_seed_writes_the_same_bytes(assemblyhands_root: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_assemblyhands(again, ASSEMBLYHANDS)
    assert is_synthetic(again)
    files = [path.relative_to(again) for path in sorted(again.rglob("*")) if path.is_file()]
    assert files == [
        path.relative_to(assemblyhands_root)
        for path in sorted(assemblyhands_root.rglob("*"))
        if path.is_file()
    ]
    for file in files:
        assert (again / file).read_bytes() == (assemblyhands_root / file).read_bytes(), file


def test_too_few_sequences_and_full_folders_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    with pytest.raises(HandsimError, match="videos is 2; the layout of assemblyhands needs 3"):
        write_assemblyhands(root, replace(ASSEMBLYHANDS, videos=2))
    assert not root.exists()
    with pytest.raises(HandsimError, match="is not empty; a dataset is written into a folder of its own"):
        write_assemblyhands(Path(__file__).parent, ASSEMBLYHANDS)
