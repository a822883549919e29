from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim import HandsimError, Pool
from handsim.pool import Categorical
from training.pairs import HandSet, TemporalNeighbors


@dataclass(frozen=True, eq=False)
class Hands:
    """Some columns of a pool; the others do not matter here."""

    hand_ids: NDArray[np.uint64]
    videos: Categorical
    frames: NDArray[np.int64]
    is_left: NDArray[np.bool_]

    @property
    def keypoints(self) -> NDArray[np.float32]:
        raise NotImplementedError

    @property
    def sources(self) -> Categorical:
        raise NotImplementedError

    @property
    def labels(self) -> Categorical:
        raise NotImplementedError

    @property
    def scores(self) -> NDArray[np.float32]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.hand_ids)


@st.composite
def hands(draw: st.DrawFn) -> Hands:
    count = draw(st.integers(1, 25))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    low = draw(st.sampled_from([-5, 0, 10**9]))
    return Hands(
        hand_ids=random.choice(2**63 - 1, count, replace=False).astype(np.uint64),
        videos=Categorical.of([f"video {video}" for video in random.integers(3, size=count)]),
        frames=random.integers(low, low + draw(st.sampled_from([1, 8, 100])), size=count),
        is_left=random.random(count) < draw(st.sampled_from([0.0, 0.5])),
    )


def partners(hands: Hands, row: int, window: int, shown: NDArray[np.bool_]) -> set[int]:
    """The oracle: one by one."""
    return {
        int(hands.hand_ids[other])
        for other in range(len(hands))
        if shown[other]
        and hands.videos[other] == hands.videos[row]
        and hands.is_left[other] == hands.is_left[row]
        and 0 < abs(int(hands.frames[other]) - int(hands.frames[row])) <= window
    }


@given(hands=hands(), window=st.sampled_from([1, 3, 10, 10**12]), seed=st.integers(0, 2**31))
def test_positives_are_in_the_window(hands: Hands, window: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shown = random.random(len(hands)) < 0.8
    shown[0] = True
    source = TemporalNeighbors(hands, window, HandSet(hands.hand_ids[shown]))
    rows = np.flatnonzero(shown)
    drawn = source.draw(hands.hand_ids[rows], random)
    alone = 0
    for row, positive in zip(rows.tolist(), drawn.positives.tolist(), strict=True):
        allowed = partners(hands, row, window, shown)
        alone += not allowed
        assert positive in (allowed or {int(hands.hand_ids[row])})
    assert drawn.without_positive == alone
    assert np.isnan(drawn.distances).all()
    assert drawn.negatives.shape == (len(rows), 0)
    assert drawn.version is None


def test_each_partner_is_as_likely_as_the_other() -> None:
    hands = Hands(
        hand_ids=np.arange(10, 16, dtype=np.uint64),
        videos=Categorical.of(["one"] * 5 + ["other"]),
        frames=np.array([0, 30, 60, 90, 120, 60]),
        is_left=np.zeros(6, dtype=np.bool_),
    )
    source = TemporalNeighbors(hands, 60, HandSet(hands.hand_ids))
    anchors = np.full(40_000, 12, dtype=np.uint64)
    drawn = source.draw(anchors, np.random.default_rng(0))
    counts = np.bincount(drawn.positives.astype(np.int64), minlength=16)[10:]
    assert counts[2] == counts[5] == 0
    np.testing.assert_allclose(counts[[0, 1, 3, 4]] / 40_000, 0.25, atol=0.01)


def test_of_a_pool(pool: Pool, pictured: HandSet) -> None:
    source = TemporalNeighbors(pool, 90, pictured)
    first, again, other = (source.draw(pool.hand_ids, np.random.default_rng(seed)) for seed in (1, 1, 2))
    rows = pool.rows(first.positives)
    assert (pool.videos.codes[rows] == pool.videos.codes).all()
    apart = np.abs(pool.frames[rows] - pool.frames)
    assert (apart.min(), apart.max()) == (30, 90)
    assert first.without_positive == 0
    np.testing.assert_array_equal(first.positives, again.positives)
    assert (first.positives != other.positives).any()
    assert (
        TemporalNeighbors(pool, 29, pictured).draw(pool.hand_ids, np.random.default_rng(0)).without_positive
        == 120
    )


def test_what_it_does_not_take(pool: Pool, pictured: HandSet) -> None:
    with pytest.raises(HandsimError, match="window_frames is 0; it is at least 1"):
        TemporalNeighbors(pool, 0, pictured)
    times = Hands(
        hand_ids=np.arange(2, dtype=np.uint64),
        videos=Categorical.of(["one", "other"]),
        frames=np.array([0, 2**62]),
        is_left=np.zeros(2, dtype=np.bool_),
    )
    with pytest.raises(HandsimError, match="need numbers of frames, not times"):
        TemporalNeighbors(times, 60, HandSet(times.hand_ids))
