from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handsim import HandsimError, Pool
from handsim.errors import NotThereError
from index import ExactIndex, MinedPairs, MiningPolicy, mine
from index.mining import write_pairs
from training.pairs import HandSet, MinedTable

POLICY = MiningPolicy(top_k=3, max_distance=0.58)


@pytest.fixture(scope="module")
def mined(exact: ExactIndex, pool: Pool) -> MinedPairs:
    return MinedPairs.concatenate(mine(exact, pool.hand_ids, POLICY))


@pytest.fixture(scope="module")
def table(exact: ExactIndex, mined: MinedPairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mined") / "pairs.parquet"
    write_pairs(path, [mined], exact.info)
    return path


def test_one_of_those_that_were_mined(table: Path, mined: MinedPairs, pool: Pool, pictured: HandSet) -> None:
    source = MinedTable(table, pictured)
    counts = mined.is_found.sum(axis=1)
    assert set(counts.tolist()) >= {0, 3}, "some hands have no positive, some have all"
    seen: list[set[int]] = [set() for _ in pool.hand_ids]
    for seed in range(40):
        drawn = source.draw(pool.hand_ids, np.random.default_rng(seed))
        assert drawn.without_positive == (counts == 0).sum() == (drawn.positives == pool.hand_ids).sum()
        assert drawn.version == "exact"
        for row, positive in enumerate(drawn.positives.tolist()):
            seen[row].add(positive)
            rank = np.flatnonzero(mined.positives[row] == positive)
            if counts[row]:
                assert drawn.distances[row] == mined.distances[row, rank[0]]
            else:
                assert np.isnan(drawn.distances[row])
    for row, found in enumerate(mined.is_found):
        assert seen[row] == (set(mined.positives[row, found].tolist()) or {int(pool.hand_ids[row])})


def test_the_same_random_numbers_draw_the_same(table: Path, pool: Pool, pictured: HandSet) -> None:
    source = MinedTable(table, pictured)
    anchors = pool.hand_ids[[5, 50, 17]]
    one, again = (source.draw(anchors, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.positives, again.positives)
    np.testing.assert_array_equal(one.anchors, anchors)


def test_hands_that_the_pool_lacks_are_left_out(table: Path, mined: MinedPairs, half: Pool) -> None:
    source = MinedTable(table, HandSet.with_crops(half))
    drawn = source.draw(half.hand_ids, np.random.default_rng(0))
    half.rows(drawn.positives)  # raises for one that it does not hold
    both = np.isin(mined.hand_ids, half.hand_ids)[:, None] & np.isin(mined.positives, half.hand_ids)
    assert source.not_in_pool == mined.is_found.sum() - (both & mined.is_found).sum() > 0


def test_files_of_other_kinds(table: Path, pictured: HandSet, tmp_path: Path) -> None:
    def complaint(path: Path, kind: type[Exception] = HandsimError) -> str:
        with pytest.raises(kind) as told:
            MinedTable(path, pictured)
        assert "\n" not in str(told.value)
        return str(told.value)

    assert "there is no table of pairs at" in complaint(tmp_path / "none.parquet", NotThereError)
    assert "there is no table of pairs at" in complaint(tmp_path, NotThereError)
    text = tmp_path / "text.parquet"
    text.write_text("hand_id,positive_id\n")
    assert "is no table of pairs (" in complaint(text)
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"hand_id": pa.array([1], pa.uint64())}), other)
    assert "it has no column positive_id of uint64" in complaint(other)
    strings = tmp_path / "strings.parquet"
    pq.write_table(pa.table({"hand_id": ["0f"], "positive_id": ["0e"], "distance": [0.1]}), strings)
    assert "it has no column hand_id of uint64" in complaint(strings)
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(table).slice(0, 0), empty)
    assert "none of the 0 pairs of" in complaint(empty)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(table.read_bytes()[:-20])
    assert "is no table of pairs (" in complaint(cut)
    with pytest.raises(HandsimError, match="is of this pool; mine them again"):
        MinedTable(table, HandSet(np.array([1, 2], dtype=np.uint64)))
