"""Datasets by their names."""

import copy
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from training.datasets.open_dataset import DATASETS, known_splits, open_dataset


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_split_is_opened_by_its_name_and_travels(name: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(f"{name}_root")
    for split in known_splits(name):
        dataset = open_dataset(name, root, split)
        assert (dataset.name, dataset.split) == (name, split)
        assert len(dataset) > 0
        moved = copy.deepcopy(dataset)  # by the protocol that takes it to loading processes
        last = len(dataset) - 1
        assert moved.label(last).sample_id == dataset.label(last).sample_id
        np.testing.assert_array_equal(moved[last].image, dataset[last].image)


@pytest.mark.parametrize("name", list(DATASETS))
def test_an_empty_folder_is_none_of_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(HandsimError) as caught:
        open_dataset(name, tmp_path, known_splits(name)[0])
    assert str(tmp_path) in str(caught.value)


def test_unknown_names_tell_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"no dataset freihnd; did you mean freihand\?; there are"):
        open_dataset("freihnd", tmp_path, "train")
    with pytest.raises(HandsimError, match=r"dexycb has no split s0_tain; did you mean s0_train\?"):
        open_dataset("dexycb", tmp_path, "s0_tain")
    with pytest.raises(NotThereError, match="is not a folder; give the one that freihand was extracted in"):
        open_dataset("freihand", tmp_path / "none", "train")
