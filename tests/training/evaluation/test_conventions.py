"""Which split belongs to which."""

import pytest

from training.datasets.open_dataset import DATASETS, known_splits
from training.evaluation.report import ALIGNMENTS, OFFICIAL, evaluation_split, training_split


@pytest.mark.parametrize(
    ("dataset", "trained_on", "judged_by"),
    [
        ("freihand", "train", "eval"),
        ("freihand", "train_v0", "eval"),
        ("dexycb", "s0_train", "s0_test"),
        ("dexycb", "s3_train", "s3_test"),
        ("assemblyhands", "train", "val"),
        ("synthetic", "train", "test"),
    ],
)
def test_splits_of_the_papers(dataset: str, trained_on: str, judged_by: str) -> None:
    assert evaluation_split(dataset, trained_on) == judged_by
    assert training_split(dataset, judged_by) in known_splits(dataset)


def test_every_dataset_has_its_convention() -> None:
    assert set(OFFICIAL) == set(DATASETS)
    for dataset in DATASETS:
        assert set(OFFICIAL[dataset]) <= set(ALIGNMENTS)
        for split in known_splits(dataset):
            assert training_split(dataset, split) in known_splits(dataset)
            assert evaluation_split(dataset, training_split(dataset, split)) in known_splits(dataset)
