from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index import NO_HAND, Neighbors
from index.query import Payload

ragged = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5)
"""Queries, each with the ids of the hands that it found."""


def payload(hand: int) -> Payload:
    return Payload(video=f"video {hand}", source="", side="left", label=None, score=1.0, frame=hand)


def gathered(rows: list[list[int]], k: int = 6) -> Neighbors:
    """Hands at distances 0, 1, 2, ..., each with a payload that tells its id."""
    answers = [(row, [float(place) for place in range(len(row))]) for row in rows]
    return Neighbors.gather(answers, k, [[payload(hand) for hand in row] for row in rows])


def hands(neighbours: Neighbors) -> list[list[int]]:
    """The ids of every query's answer, which are those of the payloads beside them."""
    told = [[(one.hand_id, one.payload) for one in neighbours[query]] for query in range(len(neighbours))]
    assert all(known == payload(hand) for row in told for hand, known in row)
    assert (neighbours.hand_ids[~neighbours.is_found] == NO_HAND).all()
    return [[hand for hand, _ in row] for row in told]


@given(ragged)
def test_gathered_answers_come_back(rows: list[list[int]]) -> None:
    neighbours = gathered(rows)
    assert neighbours.hand_ids.dtype == np.uint64
    assert neighbours.distances.dtype == np.float32
    assert hands(neighbours) == rows


@given(ragged, st.integers(0, 2**30 - 1))
def test_those_kept_keep_their_order(rows: list[list[int]], bits: int) -> None:
    neighbours = gathered(rows)
    kept = np.array([bits >> place & 1 for place in range(len(rows) * 6)], dtype=np.bool_)
    kept = kept.reshape(neighbours.hand_ids.shape)
    expected = [
        [hand for hand, stays in zip(row, stay, strict=False) if stays]
        for row, stay in zip(rows, kept.tolist(), strict=True)
    ]
    assert hands(neighbours.keep(kept)) == expected
    bare = Neighbors(neighbours.hand_ids, neighbours.distances).keep(kept)
    assert bare.payloads is None
    np.testing.assert_array_equal(bare.hand_ids, neighbours.keep(kept).hand_ids)


@given(ragged, st.integers(1, 8), st.booleans())
def test_cutting_and_widening(rows: list[list[int]], k: int, keep_payloads: bool) -> None:
    neighbours = gathered(rows).resize(k, keep_payloads=keep_payloads)
    assert neighbours.hand_ids.shape == neighbours.distances.shape == (len(rows), k)
    assert (neighbours.payloads is None) == (not keep_payloads)
    if keep_payloads:
        assert hands(neighbours) == [row[:k] for row in rows]


@given(ragged, st.randoms(use_true_random=False))
def test_sorting_by_distance(rows: list[list[int]], random: Random) -> None:
    shuffled = []
    for row in rows:
        order = list(range(len(row)))
        random.shuffle(order)
        shuffled.append(([row[place] for place in order], [float(place) for place in order]))
    payloads = [[payload(hand) for hand in answer] for answer, _ in shuffled]
    assert hands(Neighbors.gather(shuffled, 7, payloads).sort_by_distance()) == rows


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_hands_equally_far_stay_in_order(distances: list[int]) -> None:
    answer = (list(range(len(distances))), [float(distance) for distance in distances])
    found = Neighbors.gather([answer], 6).sort_by_distance()
    expected = sorted(range(len(distances)), key=lambda place: distances[place])
    assert found.hand_ids[0, : len(distances)].tolist() == expected
