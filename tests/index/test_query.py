"""Conditions and options of a search, and operations on its answers."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from index import NO_HAND, Filter, IndexSettings, Neighbors, SearchOptions
from index.query import Payload


def test_an_invalid_filter_is_refused() -> None:
    with pytest.raises(HandsimError, match=r"sources are one string 'ego4d'; give a tuple"):
        Filter(sources="ego4d")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(HandsimError, match="side 'up'"):
        Filter(sides=("up",))  # type: ignore[arg-type]  # the mistake under test
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(HandsimError, match="min_score"):
            Filter(min_score=score)


@pytest.mark.parametrize(("field", "value"), [("m", 1), ("ef", 0), ("ef_construct", 5000), ("threads", -1)])
def test_a_setting_out_of_its_bounds_is_refused(field: str, value: int) -> None:
    with pytest.raises(HandsimError, match=f"^{field} is {value}; it lies between"):
        IndexSettings(**{field: value})  # type: ignore[arg-type]  # on_disk alone is not a number


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_band_of_distances_begins_with_the_smaller_one(one: float, other: float) -> None:
    near, far = sorted((one, other))
    band = SearchOptions(min_distance=near, max_distance=far)
    assert (band.min_distance, band.max_distance) == (near, far)
    assert band.padded_max_distance is not None
    assert band.padded_max_distance > far
    if near < far:
        with pytest.raises(HandsimError, match=r"^max_distance is .*; it lies between .* and inf$"):
            SearchOptions(min_distance=far, max_distance=near)


@pytest.mark.parametrize("name", ["min_distance", "max_distance", "diversity"])
@pytest.mark.parametrize("value", [-1e-9, -5, math.nan, math.inf])
def test_an_option_out_of_its_bounds_is_refused(name: str, value: float) -> None:
    with pytest.raises(HandsimError, match=f"^{name} is {value}; it lies between 0 and "):
        SearchOptions(**{name: value})  # type: ignore[arg-type]  # the name decides the type


def test_options_that_exclude_each_other_are_refused() -> None:
    for options in ({"one_per_video": True}, {"min_distance": 0.5}):
        with pytest.raises(HandsimError, match="diversity goes neither with one_per_video nor"):
            SearchOptions(diversity=0.5, **options)
    for name, value, message in (
        ("diversity", 1.0001, "it lies between 0 and 1$"),
        ("ef", 0, "it counts the"),
    ):
        with pytest.raises(HandsimError, match=f"^{name} is {value}; {message}"):
            SearchOptions(**{name: value})  # type: ignore[arg-type]  # the name decides the type
    assert SearchOptions(diversity=1.0, max_distance=0.0).padded_max_distance == pytest.approx(1e-6)
    assert SearchOptions().padded_max_distance is None


ragged = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5)
"""The ids of the hands that each query found."""


def payload(hand: int) -> Payload:
    return Payload(video=f"video {hand}", source="", side="left", label=None, score=1.0, frame=hand)


def gathered(rows: list[list[int]], k: int = 6) -> Neighbors:
    """Hands at distances 0, 1, 2, ..., each with a payload that holds its id."""
    answers = [(row, [float(place) for place in range(len(row))]) for row in rows]
    return Neighbors.gather(answers, k, [[payload(hand) for hand in row] for row in rows])


def hands(neighbors: Neighbors) -> list[list[int]]:
    """The ids of every query's answer, which are those in the payloads beside them."""
    rows = [neighbors[query] for query in range(len(neighbors))]
    assert all(neighbor.payload == payload(neighbor.hand_id) for row in rows for neighbor in row)
    assert (neighbors.hand_ids[~neighbors.is_found] == NO_HAND).all()
    return [[neighbor.hand_id for neighbor in row] for row in rows]


@given(ragged)
def test_ragged_answers_are_read_back_as_they_were(rows: list[list[int]]) -> None:
    neighbors = gathered(rows)
    assert neighbors.hand_ids.dtype == np.uint64
    assert neighbors.distances.dtype == np.float32
    assert hands(neighbors) == rows


@given(ragged, st.integers(0, 2**30 - 1))
def test_a_mask_keeps_the_order(rows: list[list[int]], bits: int) -> None:
    neighbors = gathered(rows)
    mask = np.array([bits >> place & 1 for place in range(len(rows) * 6)], dtype=np.bool_)
    mask = mask.reshape(neighbors.hand_ids.shape)
    expected = [
        [hand for hand, stays in zip(row, stay, strict=False) if stays]
        for row, stay in zip(rows, mask.tolist(), strict=True)
    ]
    assert hands(neighbors.keep(mask)) == expected
    bare = Neighbors(neighbors.hand_ids, neighbors.distances).keep(mask)
    assert bare.payloads is None
    np.testing.assert_array_equal(bare.hand_ids, neighbors.keep(mask).hand_ids)


@given(ragged, st.integers(1, 8), st.booleans())
def test_resizing_cuts_or_adds_places(rows: list[list[int]], k: int, keep_payloads: bool) -> None:
    neighbors = gathered(rows).resize(k, keep_payloads=keep_payloads)
    assert neighbors.hand_ids.shape == neighbors.distances.shape == (len(rows), k)
    assert (neighbors.payloads is None) == (not keep_payloads)
    if keep_payloads:
        assert hands(neighbors) == [row[:k] for row in rows]


@given(ragged, st.randoms(use_true_random=False))
def test_sorting_puts_the_nearest_first(rows: list[list[int]], random: Random) -> None:
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
    neighbors = Neighbors.gather([answer], 6).sort_by_distance()
    expected = sorted(range(len(distances)), key=lambda place: distances[place])
    assert neighbors.hand_ids[0, : len(distances)].tolist() == expected
