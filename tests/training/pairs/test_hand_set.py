from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handsim import Pool
from index import NO_HAND
from tests.training.pairs.conftest import write_pool
from training.pairs import HandSet

some_ids = st.lists(st.integers(0, 20) | st.integers(2**63 - 3, 2**63 - 1))


@given(held=some_ids, asked=some_ids)
def test_it_is_a_set(held: list[int], asked: list[int]) -> None:
    hands = HandSet(np.array(held, dtype=np.uint64))
    assert len(hands) == len(set(held))
    found = hands.contains(np.array([*asked, NO_HAND], dtype=np.uint64))
    assert found.tolist() == [hand in held for hand in asked] + [False]


def test_any_shape(pool: Pool, pictured: HandSet) -> None:
    ids = pool.hand_ids[:6].reshape(2, 3).copy()
    ids[1, 2] = NO_HAND
    assert pictured.contains(ids).tolist() == [[True, True, True], [True, True, False]]


def test_keypoints_alone_are_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    write_pool(path, videos=2)
    pool = write_pool(path, videos=1, first_video=7, pictures=False)
    assert len(pool) == 30
    assert len(HandSet.with_crops(pool)) == 20
