"""Sets of hands, and the sources of pairs that need no index."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoolWriter
from handsim.errors import NotThereError
from handsim.pool import Categorical
from index import NO_HAND, ExactIndex, MinedPairs, MiningPolicy, mine
from index.mining import write_pairs
from index.points import HandColumns
from tests.handsim.builders import make_jpeg, make_partial_hand
from tests.training.pairs.builders import rng, write_pool
from training.pairs import HandSet, MinedTable, TemporalNeighbors
from training.pairs.sources import choose_valid

SEEDS = st.integers(0, 2**31)
hand_ids = st.lists(st.integers(0, 20) | st.integers(2**63 - 3, 2**63 - 1))


@given(members=hand_ids, others=hand_ids)
def test_a_hand_set_contains_what_a_set_does(members: list[int], others: list[int]) -> None:
    hands = HandSet(np.array(members, dtype=np.uint64))
    assert len(hands) == len(set(members))
    answers = hands.contains(np.array([*others, NO_HAND], dtype=np.uint64))
    assert answers.tolist() == [hand in members for hand in others] + [False]


def test_a_hand_set_answers_arrays_of_any_shape(pool: Pool, pool_hands: HandSet) -> None:
    ids = pool.hand_ids[:6].reshape(2, 3).copy()
    ids[1, 2] = NO_HAND
    assert pool_hands.contains(ids).tolist() == [[True, True, True], [True, True, False]]


def test_hands_without_a_crop_or_with_unlabelled_joints_are_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    write_pool(path, videos=2)
    pool = write_pool(path, videos=1, first_video=7, pictures=False)
    with PoolWriter(path, crop_size_px=pool.crop_size_px) as writer:
        writer.add(make_partial_hand(1, [4]), make_jpeg(1))
    pool = Pool.open(path)
    assert len(pool) == 31
    assert len(HandSet.trainable(pool)) == 20


@given(seed=SEEDS, queries=st.integers(0, 6), most=st.integers(1, 6), count=st.integers(1, 6))
def test_chosen_columns_are_valid_and_different_and_as_many_as_there_are(
    seed: int, queries: int, most: int, count: int
) -> None:
    random = rng(seed)
    count = min(count, most)
    valid = random.random((queries, most)) < 0.5
    columns, chosen = choose_valid(valid, count, random)
    assert columns.shape == chosen.shape == (queries, count)
    for row in range(queries):
        taken = columns[row, chosen[row]].tolist()
        assert len(set(taken)) == len(taken) == min(count, valid[row].sum())
        assert valid[row, taken].all()
        assert chosen[row, : len(taken)].all()


def test_valid_columns_are_equally_likely() -> None:
    valid = np.tile([True, False, True, True, False], (30_000, 1))
    columns, _ = choose_valid(valid, 1, rng())
    counts = np.bincount(columns[:, 0], minlength=5)
    assert counts[1] == counts[4] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]] / 30_000, 1 / 3, atol=0.01)
    pairs, _ = choose_valid(valid, 2, rng())
    kinds = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    assert kinds[0].tolist() == [[0, 2], [0, 3], [2, 3]]
    np.testing.assert_allclose(kinds[1] / 30_000, 1 / 3, atol=0.01)


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a pool that temporal neighbours use."""

    hand_ids: NDArray[np.uint64]
    videos: Categorical
    frames: NDArray[np.int64]
    is_left: NDArray[np.bool_]
    tracks: NDArray[np.uint64]
    """Each of one video."""

    def __len__(self) -> int:
        return len(self.hand_ids)

    def source(self, window: int, pool_hands: HandSet | None = None) -> TemporalNeighbors:
        return TemporalNeighbors(cast(HandColumns, self), window, pool_hands or HandSet(self.hand_ids))


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    count = draw(st.integers(1, 25))
    random = rng(draw(SEEDS))
    videos = random.integers(3, size=count)
    tracks = 3 * random.integers(1, 4, size=count) + videos
    low = draw(st.sampled_from([-5, 0, 10**9]))
    return Columns(
        hand_ids=random.choice(2**63 - 1, count, replace=False).astype(np.uint64),
        videos=Categorical.of([f"video {video}" for video in videos]),
        frames=random.integers(low, low + draw(st.sampled_from([1, 8, 100])), size=count),
        is_left=random.random(count) < draw(st.sampled_from([0.0, 0.5])),
        tracks=np.where(random.random(count) < draw(st.sampled_from([0, 0.7, 1])), tracks, 0).astype(
            np.uint64
        ),
    )


def slow_partners(hands: Columns, row: int, window: int, has_crop: NDArray[np.bool_]) -> set[int]:
    """The oracle: one by one."""
    return {
        int(hands.hand_ids[other])
        for other in range(len(hands))
        if has_crop[other]
        and hands.videos[other] == hands.videos[row]
        and hands.tracks[other] == hands.tracks[row]
        and (hands.tracks[row] or hands.is_left[other] == hands.is_left[row])
        and 0 < abs(int(hands.frames[other]) - int(hands.frames[row])) <= window
    }


@given(hands=columns(), window=st.sampled_from([1, 3, 10, 10**12]), seed=SEEDS)
def test_temporal_positives_are_in_the_window(hands: Columns, window: int, seed: int) -> None:
    random = rng(seed)
    has_crop = random.random(len(hands)) < 0.8
    has_crop[0] = True
    source = hands.source(window, HandSet(hands.hand_ids[has_crop]))
    rows = np.flatnonzero(has_crop)
    pairs = source.draw(hands.hand_ids[rows], random)
    alone = 0
    for row, positive in zip(rows.tolist(), pairs.positives.tolist(), strict=True):
        partners = slow_partners(hands, row, window, has_crop)
        alone += not partners
        assert positive in (partners or {int(hands.hand_ids[row])})
    assert pairs.without_positive == alone
    assert np.isnan(pairs.distances).all()
    assert pairs.negatives.shape == (len(rows), 0)
    assert pairs.version is None


def test_temporal_partners_are_equally_likely() -> None:
    ids, frames = np.arange(10, 16, dtype=np.uint64), np.array([0, 30, 60, 90, 120, 60])
    hands = Columns(ids, Categorical.of(["one"] * 5 + ["other"]), frames, *np.zeros((2, 6), np.uint64))
    pairs = hands.source(60).draw(np.full(40_000, 12, dtype=np.uint64), rng())
    counts = np.bincount(pairs.positives.astype(np.int64), minlength=16)[10:]
    assert counts[2] == counts[5] == 0
    np.testing.assert_allclose(counts[[0, 1, 3, 4]] / 40_000, 0.25, atol=0.01)


def test_temporal_neighbours_of_a_pool(pool: Pool, pool_hands: HandSet) -> None:
    source = TemporalNeighbors(pool, 90, pool_hands)
    first, again, other = (source.draw(pool.hand_ids, rng(seed)) for seed in (1, 1, 2))
    rows = pool.rows(first.positives)
    assert (pool.videos.codes[rows] == pool.videos.codes).all()
    apart = np.abs(pool.frames[rows] - pool.frames)
    assert (apart.min(), apart.max()) == (30, 90)
    assert first.without_positive == 0
    np.testing.assert_array_equal(first.positives, again.positives)
    assert (first.positives != other.positives).any()
    assert TemporalNeighbors(pool, 29, pool_hands).draw(pool.hand_ids, rng()).without_positive == 120


def test_times_in_place_of_numbers_of_frames_are_refused() -> None:
    ids, is_left = np.arange(2, dtype=np.uint64), np.zeros(2, dtype=np.bool_)
    times = Columns(ids, Categorical.of(["one", "other"]), np.array([0, 2**62]), is_left, ids * 0)
    with pytest.raises(HandsimError, match="need numbers of frames, not times"):
        times.source(60)


@pytest.fixture(scope="module")
def mined(exact: ExactIndex, pool: Pool) -> MinedPairs:
    policy = MiningPolicy(top_k=3, max_distance=0.58)
    return MinedPairs.concatenate(mine(exact, pool.hand_ids, policy))


@pytest.fixture(scope="module")
def table(exact: ExactIndex, mined: MinedPairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mined") / "pairs.parquet"
    write_pairs(path, [mined], exact.info)
    return path


def test_a_table_knows_whether_its_pairs_are_alike_up_to_a_turn(
    exact: ExactIndex, mined: MinedPairs, pool: Pool, pool_hands: HandSet, tmp_path: Path
) -> None:
    for up_to_turn in (False, True):
        write_pairs(tmp_path / "pairs.parquet", [mined], exact.info, up_to_turn=up_to_turn)
        draw = MinedTable(tmp_path / "pairs.parquet", pool_hands).draw(pool.hand_ids[:4], rng())
        assert draw.up_to_turn is up_to_turn


def test_a_table_gives_one_of_the_mined_positives(
    table: Path, mined: MinedPairs, pool: Pool, pool_hands: HandSet
) -> None:
    source = MinedTable(table, pool_hands)
    counts = mined.is_found.sum(axis=1)
    assert set(counts.tolist()) >= {0, 3}, "some hands have no positive, some have all"
    positives: list[set[int]] = [set() for _ in pool.hand_ids]
    for seed in range(40):
        pairs, again = (source.draw(pool.hand_ids, rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(pairs.positives, again.positives)
        np.testing.assert_array_equal(pairs.anchors, pool.hand_ids)
        assert pairs.without_positive == (counts == 0).sum() == (pairs.positives == pool.hand_ids).sum()
        assert pairs.version == "exact"
        for row, positive in enumerate(pairs.positives.tolist()):
            positives[row].add(positive)
            rank = np.flatnonzero(mined.positives[row] == positive)
            if counts[row]:
                assert pairs.distances[row] == mined.distances[row, rank[0]]
            else:
                assert np.isnan(pairs.distances[row])
    for row, found in enumerate(mined.is_found):
        assert positives[row] == (set(mined.positives[row, found].tolist()) or {int(pool.hand_ids[row])})


def test_pairs_of_hands_that_the_pool_lacks_are_left_out(table: Path, mined: MinedPairs, half: Pool) -> None:
    pairs = MinedTable(table, HandSet.trainable(half)).draw(half.hand_ids, rng())
    half.rows(pairs.positives)  # raises for a hand that it lacks
    rows = np.isin(mined.hand_ids, half.hand_ids)
    usable = mined.is_found[rows] & np.isin(mined.positives[rows], half.hand_ids)
    assert pairs.without_positive == (~usable.any(axis=1)).sum() > (~mined.is_found[rows].any(axis=1)).sum()


def test_files_that_are_no_table_of_pairs_are_named(table: Path, pool_hands: HandSet, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("hand_id,positive_id\n")
    pq.write_table(pa.table({"hand_id": pa.array([1], pa.uint64())}), tmp_path / "other.parquet")
    strings = pa.table({"hand_id": ["0f"], "positive_id": ["0e"], "distance": [0.1]})
    pq.write_table(strings, tmp_path / "strings.parquet")
    pq.write_table(pq.read_table(table).slice(0, 0), tmp_path / "empty.parquet")
    (tmp_path / "cut.parquet").write_bytes(table.read_bytes()[:-20])
    for name, kind, message in (
        ("none.parquet", NotThereError, "there is no table of pairs at"),
        ("", NotThereError, "there is no table of pairs at"),
        ("text.parquet", HandsimError, r"is no table of pairs \("),
        ("other.parquet", HandsimError, "it has no column positive_id of uint64"),
        ("strings.parquet", HandsimError, "it has no column hand_id of uint64"),
        ("empty.parquet", HandsimError, "none of the 0 pairs of"),
        ("cut.parquet", HandsimError, r"is no table of pairs \("),
    ):
        with pytest.raises(kind, match=rf"^[^\n]*{message}[^\n]*$"):
            MinedTable(tmp_path / name, pool_hands)
    with pytest.raises(HandsimError, match="is of this pool; mine them again"):
        MinedTable(table, HandSet(np.array([1, 2], dtype=np.uint64)))
