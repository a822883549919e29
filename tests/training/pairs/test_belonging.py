from pathlib import Path

import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from index import ExactIndex
from tests.training.pairs.conftest import VIDEOS, write_pool
from training.pairs.open_pairs import check_pool_matches_index


def test_an_index_of_the_pool(pool: Pool, exact: ExactIndex) -> None:
    belonging = check_pool_matches_index(pool, exact)
    assert belonging.anchors.tolist() == sorted(pool.hand_ids.tolist())
    assert belonging.left_out == 0


def test_a_pool_that_grew(pool: Pool, half: Pool, embedding: PoseEmbedding) -> None:
    belonging = check_pool_matches_index(pool, ExactIndex(half, embedding))
    assert belonging.anchors.tolist() == sorted(half.hand_ids.tolist())
    assert (belonging.not_in_index, belonging.without_picture, belonging.left_out) == (60, 0, 60)


def test_hands_without_a_picture_are_no_anchors(tmp_path: Path, pool: Pool, embedding: PoseEmbedding) -> None:
    write_pool(tmp_path / "pool", videos=3)
    mixed = write_pool(tmp_path / "pool", videos=2, first_video=3, pictures=False)
    belonging = check_pool_matches_index(mixed, ExactIndex(mixed, embedding))
    assert belonging.anchors.tolist() == sorted(mixed.hand_ids[:30].tolist())
    assert (belonging.not_in_index, belonging.without_picture) == (0, 20)


def test_an_index_of_another_pool(
    tmp_path: Path, half: Pool, exact: ExactIndex, embedding: PoseEmbedding
) -> None:
    with pytest.raises(HandsimError) as told:
        check_pool_matches_index(half, exact)
    assert str(told.value).startswith(
        f"60 of the 120 hands of index version exact are not in the pool {half.path}; `handsim index build`"
    )
    assert "\n" not in str(told.value)
    other = write_pool(tmp_path / "other", videos=2, first_video=VIDEOS)
    with pytest.raises(HandsimError, match=r"^20 of the 20 hands of index version exact"):
        check_pool_matches_index(half, ExactIndex(other, embedding))
