"""Labels that stand out: injected faults are named with their reasons, sound hands of any kind are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.synthetic.camera import project
from tests.training.datasets.builders import listed, odd_hands, whole_hands
from tests.training.drawn_hands import DrawnHands
from training.datasets.bad_labels import FEWEST_HANDS, BadLabel, find_bad_labels, merge_bad_labels
from training.datasets.bad_list import (
    bad_rows,
    without_rows,
    write_bad_list,
)
from training.datasets.record import HandLabel

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
Hand = NDArray[np.float64]


def labels_of(hands_mm: NDArray[np.float64], person: int = 0) -> list[HandLabel]:
    """In a picture so large that nobody is outside; of ``person`` hands each, 0: of unknown people."""
    size, valid = (4000, 4000), np.ones(21, np.bool_)
    k = K + np.array([[0, 0, 1700], [0, 0, 1700], [0, 0, 0]])
    return [
        HandLabel(
            *(f"hand{row}", str(row // person if person else row), "right", size),
            project(hand, k).astype(np.float32),
            hand.astype(np.float32),
            k,
            valid,
        )
        for row, hand in enumerate(hands_mm)
    ]


def found_rows(bad: list[BadLabel]) -> set[int]:
    return {label.row for label in bad}


@pytest.mark.parametrize("hands", [whole_hands(), *(odd_hands(seed, 4.0) for seed in range(4))])
@pytest.mark.parametrize("person", [0, 5])
def test_sound_hands_of_any_people_are_not_named(hands: NDArray[np.float64], person: int) -> None:
    assert find_bad_labels(labels_of(hands, person), None) == []


INDEX_AND_MIDDLE = [*range(5), 9, 10, 11, 12, 5, 6, 7, 8, *range(13, 21)]

TIP_FIRST = [*range(7), 8, 7, *range(9, 21)]


def _longer_bone(hand: Hand) -> Hand:
    longer = hand.copy()
    longer[6:9] += 0.4 * (hand[6] - hand[5])
    return longer


@pytest.mark.parametrize(
    ("fault", "person", "reason"),
    [
        (lambda hand: hand[INDEX_AND_MIDDLE], 0, "index and middle finger seem to be exchanged"),
        (lambda hand: hand[TIP_FIRST], 0, "index_dip and index_tip seem to be exchanged"),
        (lambda hand: hand * [-1, 1, 1], 0, "its fingers bend as those of a left one"),
        (_longer_bone, 0, "index_mcp to index_pip is 1."),
        (lambda hand: hand[0] + 1.3 * (hand - hand[0]), 10, "times as large as this person's other hands"),
        (lambda hand: hand * [1, 1, 0.01], 0, "mm from the camera"),
        (lambda hand: np.add(hand, [3e3, 0, 0]), 0, "21 of 21 joints lie outside of the picture"),
    ],
)
def test_each_fault_is_named_in_the_hands_that_have_it(
    fault: Callable[[Hand], Hand], person: int, reason: str
) -> None:
    hands = np.concatenate([whole_hands(), whole_hands(seed=4)])
    if person:  # five frames of a video are of one person
        hands = np.repeat(whole_hands()[::5], person, axis=0)
    faulty = {7, 31, 90, 155}
    for row in faulty:
        hands[row] = fault(hands[row])
    bad = find_bad_labels(labels_of(hands, person), None)
    assert found_rows(bad) == faulty
    for label in bad:
        assert reason in " ".join(label.reasons), label.reasons
    assert [label.excess for label in bad] == sorted((label.excess for label in bad), reverse=True)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_hands_that_were_moved_off_their_2d_joints_are_named(share: float) -> None:
    hands = whole_hands()
    annotated = np.stack([label.keypoints_2d_px for label in labels_of(hands)])
    rows = np.random.default_rng(0).choice(len(hands), round(share * len(hands)), replace=False)
    hands[rows] += [50, 0, 0]
    bad = find_bad_labels(labels_of(hands), annotated)
    assert found_rows(bad) == set(rows.tolist())
    assert "the 3D joints fall" in bad[0].reasons[0]


def test_a_label_that_is_named_twice_has_all_its_reasons_the_clearer_first() -> None:
    one = [BadLabel(3, ("bone", "side"), 4.0), BadLabel(5, ("size",), 2.0)]
    other = [BadLabel(5, ("place",), 9.0), BadLabel(7, ("pose",), 3.0)]
    assert merge_bad_labels(one, other) == [
        BadLabel(5, ("place", "size"), 9.0),
        BadLabel(3, ("bone", "side"), 4.0),
        BadLabel(7, ("pose",), 3.0),
    ]


def test_few_hands_have_no_spread_and_hands_without_all_joints_are_compared_by_the_rest() -> None:
    hands = whole_hands()
    hands[3] = hands[3][INDEX_AND_MIDDLE]
    assert find_bad_labels(labels_of(hands[: FEWEST_HANDS - 1]), None) == []
    labels = labels_of(hands)
    for label in labels[::2]:
        label.valid[20] = False
        label.joints_3d_mm[20] = label.keypoints_2d_px[20] = np.nan
    assert found_rows(find_bad_labels(labels, None)) == {3}


def test_a_split_without_the_named_hands_has_the_others_in_their_order(tmp_path: Path) -> None:
    dataset, path = DrawnHands(6), tmp_path / "bad.json"
    write_bad_list(path, "drawn", [listed(dataset, 4, 1)])
    rest = without_rows(dataset, bad_rows(path, dataset))
    assert [rest.label(row).sample_id for row in range(len(rest))] == [
        f"train/{index:05d}" for index in (0, 2, 3, 5)
    ]
    assert (rest.name, rest.split) == ("drawn", "train")
    write_bad_list(path, "drawn", [listed(dataset, *range(6))])
    with pytest.raises(HandsimError, match="names all 6 hands"):
        without_rows(dataset, bad_rows(path, dataset))


def test_a_list_of_other_hands_is_refused(tmp_path: Path) -> None:
    path, dataset = tmp_path / "bad.json", DrawnHands(6)
    with pytest.raises(HandsimError, match="there is no list"):
        bad_rows(path, dataset)
    for content in ("[]", "{}", "{", '{"format": 1, "dataset": "drawn", "splits": [{"split": "train"}]}'):
        path.write_text(content)
        with pytest.raises(HandsimError, match="is no list of bad labels"):
            bad_rows(path, dataset)
    path.write_text('{"format": 2, "dataset": "drawn", "splits": []}')
    with pytest.raises(HandsimError, match="has format 2, this handsim reads 1"):
        bad_rows(path, dataset)
    write_bad_list(path, "other", [listed(dataset, 1)])
    with pytest.raises(HandsimError, match="is a list of other, and this is drawn"):
        bad_rows(path, dataset)
    write_bad_list(path, "drawn", [listed(dataset, 1)])
    with pytest.raises(HandsimError, match="has nothing on split val, only on train"):
        bad_rows(path, DrawnHands(6, "val"))
    with pytest.raises(HandsimError, match="split train of 6 hands, and this one has 7"):
        bad_rows(path, DrawnHands(7))
    with pytest.raises(HandsimError, match="is of other labels"):
        bad_rows(path, DrawnHands(6, seed=1))
    path.write_text(path.read_text().replace("00001", "00002"))
    with pytest.raises(HandsimError, match="hand 1 is not train/00002"):
        bad_rows(path, dataset)
