"""The twelve splits against the rules in words, and against the numbers in the paper."""

import pytest

from training.datasets.dexycb import SERIALS, SPLITS, SUBJECTS

SETUPS = ("s0", "s1", "s2", "s3")


def oracle(setup: str, subject: int, camera: int, sequence: int) -> str:
    """What part of a setup a frame belongs to: the rules as they are told, all counted from 0."""
    if setup == "s0":
        if sequence % 5 != 4:
            return "train"
        return "val" if subject in (0, 1) else "test"
    if setup == "s1":
        return {6: "val", 7: "test", 8: "test"}.get(subject, "train")
    if setup == "s2":
        return {6: "val", 7: "test"}.get(camera, "train")
    return {3: "val", 19: "val", 7: "test", 11: "test", 15: "test"}.get(sequence // 5, "train")


@pytest.mark.parametrize("setup", SETUPS)
def test_every_frame_is_in_just_the_split_that_the_rules_say(setup: str) -> None:
    for subject in range(10):
        for camera in range(8):
            for sequence in range(100):
                in_splits = [
                    split
                    for split, rule in SPLITS.items()
                    if split.startswith(setup)
                    and subject in rule.subjects
                    and camera in rule.cameras
                    and sequence in rule.sequences
                ]
                assert in_splits == [f"{setup}_{oracle(setup, subject, camera, sequence)}"]


@pytest.mark.parametrize(
    ("split", "subjects", "objects", "views", "sequences"),
    [
        ("s0_train", 10, 20, 8, 800),
        ("s0_val", 2, 20, 8, 40),
        ("s0_test", 8, 20, 8, 160),
        ("s1_train", 7, 20, 8, 700),
        ("s1_val", 1, 20, 8, 100),
        ("s1_test", 2, 20, 8, 200),
        ("s2_train", 10, 20, 6, 1000),  # table 9 says 750; the authors have corrected that
        ("s2_val", 10, 20, 1, 1000),
        ("s2_test", 10, 20, 1, 1000),
        ("s3_train", 10, 15, 8, 750),
        ("s3_val", 10, 2, 8, 100),
        ("s3_test", 10, 3, 8, 150),
    ],
)
def test_numbers_of_the_papers_table_9(
    split: str, subjects: int, objects: int, views: int, sequences: int
) -> None:
    rule = SPLITS[split]
    assert len(rule.subjects) == subjects
    assert len({sequence // 5 for sequence in rule.sequences}) == objects
    assert len(rule.cameras) == views
    assert len(rule.subjects) * len(rule.sequences) == sequences


def test_folders_come_in_their_order() -> None:
    assert list(SUBJECTS) == sorted(SUBJECTS)
    assert [subject[-2:] for subject in SUBJECTS] == [f"{number:02d}" for number in range(1, 11)]
    assert list(SERIALS) == sorted(SERIALS)
