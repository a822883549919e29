"""What a search may be asked to do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from index import SearchOptions

distances = st.floats(0, 1e6)


@given(distances, distances)
def test_a_band_has_its_near_end_first(one: float, other: float) -> None:
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
def test_out_of_bounds(name: str, value: float) -> None:
    with pytest.raises(HandsimError, match=f"^{name} is {value}; it lies between 0 and "):
        SearchOptions(**{name: value})  # type: ignore[arg-type]  # the name decides the type


@given(st.floats(1.0, exclude_min=True))
def test_more_than_all_diversity(value: float) -> None:
    with pytest.raises(HandsimError, match=r"^diversity is .*; it lies between 0 and 1$"):
        SearchOptions(diversity=value)


def test_what_does_not_go_together() -> None:
    for options in ({"one_per_video": True}, {"min_distance": 0.5}):
        with pytest.raises(HandsimError, match="diversity goes neither with one_per_video nor"):
            SearchOptions(diversity=0.5, **options)
    with pytest.raises(HandsimError, match=r"^ef is 0; it counts the candidates"):
        SearchOptions(ef=0)
    assert SearchOptions(diversity=1.0, max_distance=0.0).padded_max_distance == pytest.approx(1e-6)
    assert SearchOptions().padded_max_distance is None
