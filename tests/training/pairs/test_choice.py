import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.pairs.sources import choose_valid


@given(seed=st.integers(0, 2**31), queries=st.integers(0, 6), most=st.integers(1, 6), count=st.integers(1, 6))
def test_only_valid_places_each_once_and_as_many_as_there_are(
    seed: int, queries: int, most: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    count = min(count, most)
    valid = random.random((queries, most)) < 0.5
    places, chosen = choose_valid(valid, count, random)
    assert places.shape == chosen.shape == (queries, count)
    for row in range(queries):
        taken = places[row, chosen[row]].tolist()
        assert len(set(taken)) == len(taken) == min(count, valid[row].sum())
        assert valid[row, taken].all()
        assert chosen[row, : len(taken)].all()


def test_each_is_as_likely_as_the_other() -> None:
    valid = np.tile([True, False, True, True, False], (30_000, 1))
    places, _ = choose_valid(valid, 1, np.random.default_rng(0))
    counts = np.bincount(places[:, 0], minlength=5)
    assert counts[1] == counts[4] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]] / 30_000, 1 / 3, atol=0.01)
    pairs, _ = choose_valid(valid, 2, np.random.default_rng(0))
    kinds = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    assert kinds[0].tolist() == [[0, 2], [0, 3], [2, 3]]
    np.testing.assert_allclose(kinds[1] / 30_000, 1 / 3, atol=0.01)
