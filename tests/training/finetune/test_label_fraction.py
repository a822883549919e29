"""Shares of the labels: as large as asked, nested, and never one version of a hand without the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim.errors import HandsimError
from tests.training.finetune.drawn_hands import DrawnHands
from training.datasets.record import HandLabel
from training.finetune.data import drawn_together, labelled_share


@given(
    hands=st.integers(1, 400),
    shares=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    seed=st.integers(0, 9),
)
def test_a_smaller_share_is_part_of_a_larger_one(hands: int, shares: tuple[float, float], seed: int) -> None:
    groups = np.arange(hands, dtype=np.int64)
    few, many = (drawn_together(groups, share, seed) for share in sorted(shares))
    assert set(few.tolist()) <= set(many.tolist())
    assert len(few) >= 1
    assert (np.diff(few) > 0).all()
    assert len(many) == pytest.approx(max(shares) * hands, abs=1)


@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 9),
)
def test_what_belongs_together_is_drawn_together(groups: list[int], share: float, seed: int) -> None:
    of_hands = np.array(groups, dtype=np.int64)
    drawn = drawn_together(of_hands, share, seed)
    chosen = set(of_hands[drawn].tolist())
    assert drawn.tolist() == [row for row, group in enumerate(groups) if group in chosen]


class _Versions(DrawnHands):
    """Every hand four times, as FreiHAND has it."""

    name = "freihand"

    def label(self, index: int) -> HandLabel:
        label = super().label(index)
        return HandLabel(**{**vars(label), "subject": f"training/{index % (len(self) // 4):08d}"})


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.7])
def test_freihand_versions_stay_together(fraction: float) -> None:
    rows = labelled_share(_Versions(80), fraction, seed=3)
    assert len(rows) == 4 * round(fraction * 20)
    hands = rows.reshape(4, -1) % 20
    assert (hands == hands[0]).all()


def test_seeds_differ_and_all_is_all() -> None:
    dataset = DrawnHands(100)
    assert labelled_share(dataset, 1.0, seed=1).tolist() == list(range(100))
    ten = {seed: labelled_share(dataset, 0.1, seed).tolist() for seed in range(5)}
    assert all(len(rows) == 10 for rows in ten.values())
    assert len({tuple(rows) for rows in ten.values()}) == 5
    assert labelled_share(dataset, 0.07, 1).tolist() == [
        row for row in ten[1] if row in labelled_share(dataset, 0.07, 1)
    ]
    assert len(labelled_share(dataset, 0.07, 1)) == 7


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_every_hand_is_drawn_equally_often(seed: int) -> None:
    """Over many seeds; each is in a tenth of the draws."""
    counts = np.zeros(30)
    for number in range(300):
        counts[drawn_together(np.arange(30), 0.1, seed + 1000 * number)] += 1
    assert counts.min() > 10
    assert counts.max() < 60


@pytest.mark.parametrize("fraction", [0.0, -0.1, 2.0, float("nan")])
def test_what_is_no_share_is_told(fraction: float) -> None:
    with pytest.raises(HandsimError, match=r"label_fraction is .*; it lies above 0 and goes to 1"):
        labelled_share(DrawnHands(4), fraction, seed=1)


def test_an_empty_split_is_told() -> None:
    with pytest.raises(HandsimError, match=r"split train of drawn has no hands"):
        labelled_share(DrawnHands(0), 1.0, seed=1)
