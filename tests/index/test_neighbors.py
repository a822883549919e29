import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index import NO_HAND, Neighbors

ragged = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5)


def gathered(rows: list[list[int]], k: int = 6) -> Neighbors:
    return Neighbors.gather([(row, [float(place) for place in range(len(row))]) for row in rows], k)


@given(ragged)
def test_gathered_answers_come_back(rows: list[list[int]]) -> None:
    neighbours = gathered(rows)
    assert neighbours.hand_ids.dtype == np.uint64
    assert neighbours.distances.dtype == np.float32
    assert [[neighbor.hand_id for neighbor in neighbours[query]] for query in range(len(rows))] == rows
    assert (neighbours.hand_ids[~neighbours.found] == NO_HAND).all()


@given(ragged, st.integers(1, 8), st.integers(0, 5))
def test_leaving_one_hand_out_keeps_the_order_of_the_others(rows: list[list[int]], k: int, gone: int) -> None:
    neighbours = gathered(rows)
    neighbours = neighbours.keep(neighbours.hand_ids != gone).resized(k)
    assert neighbours.hand_ids.shape == (len(rows), k)
    kept = [[neighbor.hand_id for neighbor in neighbours[query]] for query in range(len(rows))]
    assert kept == [[hand for hand in row if hand != gone][:k] for row in rows]
