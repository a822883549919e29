import pytest

from handsim import HandsimError
from index import Filter, IndexSettings


def test_a_filter_says_what_is_wrong_with_it() -> None:
    with pytest.raises(HandsimError, match=r"sources are one string 'ego4d'; give a tuple"):
        Filter(sources="ego4d")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(HandsimError, match="side 'up'"):
        Filter(sides=("up",))  # type: ignore[arg-type]  # the mistake under test
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(HandsimError, match="min_score"):
            Filter(min_score=score)


@pytest.mark.parametrize(("field", "value"), [("m", 1), ("ef", 0), ("ef_construct", 5000), ("threads", -1)])
def test_settings_out_of_bounds(field: str, value: int) -> None:
    with pytest.raises(HandsimError, match=f"^{field} is {value}; it lies between"):
        IndexSettings(**{field: value})  # type: ignore[arg-type]  # on_disk alone is not a number
