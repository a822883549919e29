"""Codes of hands, and what a legend says of them."""

import numpy as np
import pytest

from apps.browser.map.selection import HUES, MOST_CLASSES, NOTHING, OTHERS, SHADES, colouring
from tests.apps.browser.map.some_maps import a_map


def test_classes_are_told_by_name_and_count() -> None:
    labels = ["two", None, "one", "two", "two"]
    found = colouring(a_map(np.zeros((5, 2)), labels=labels), "label")
    assert found.kind == "classes"
    assert found.classes == (("one", 1), ("two", 3))
    assert found.codes.tolist() == [1, NOTHING, 0, 1, 1]
    assert (found.names, found.others, found.unknown) == (2, 0, 1)


def test_a_map_without_labels() -> None:
    found = colouring(a_map(np.zeros((3, 2))), "label")
    assert (found.classes, found.unknown) == ((), 3)
    assert (found.codes == NOTHING).all()


def test_rare_labels_share_a_key() -> None:
    labels: list[str | None] = [
        f"label {number:02}" for number in range(MOST_CLASSES + 3) for _ in range(number + 1)
    ]
    found = colouring(a_map(np.zeros((len(labels), 2)), labels=labels), "label")
    assert [name for name, _ in found.classes] == [
        f"label {number:02}" for number in range(3, MOST_CLASSES + 3)
    ]
    assert found.others == int((found.codes == OTHERS).sum()) == 1 + 2 + 3
    assert sum(count for _, count in found.classes) + found.others == len(labels)
    for (name, _), code in zip(found.classes, range(MOST_CLASSES), strict=True):
        assert {labels[row] for row in np.flatnonzero(found.codes == code)} == {name}


def test_many_videos_have_hues_and_no_legend() -> None:
    few = colouring(a_map(np.zeros((24, 2)), videos=[f"v{row % MOST_CLASSES}" for row in range(24)]), "video")
    assert few.kind == "classes"
    videos = [f"v{row % 100}" for row in range(300)]
    many = colouring(a_map(np.zeros((300, 2)), videos=videos), "video")
    assert (many.kind, many.classes, many.names) == ("hues", (), 100)
    np.testing.assert_array_equal(many.codes[:100], many.codes[100:200])  # a video has one colour
    assert len(np.unique(many.codes)) > HUES / 2
    assert many.codes.max() < HUES
    # and keeps it on another map
    again = colouring(a_map(np.zeros((100, 2)), videos=videos[100:200]), "video")
    np.testing.assert_array_equal(again.codes, many.codes[:100])


def test_distances_have_a_scale() -> None:
    values = np.append(np.linspace(1, 3, 1000), [np.nan, 500.0])
    found = colouring(a_map(np.zeros((1002, 2)), distances=values), "distance")
    assert found.kind == "scale"
    assert found.ends == pytest.approx((1.04, 2.96), abs=0.01)  # one hand far out does not stretch it
    assert (np.diff(found.codes[:1000].astype(int)) >= 0).all()
    assert set(found.codes[:1000].tolist()) == set(range(SHADES))
    assert found.codes[1000:].tolist() == [NOTHING, SHADES - 1]
    assert found.unknown == 1


@pytest.mark.parametrize("value", [np.nan, 0.0, 2.0])
def test_distances_that_are_all_alike(value: float) -> None:
    found = colouring(a_map(np.zeros((3, 2)), distances=[value] * 3), "distance")
    assert len(set(found.codes.tolist())) == 1
    assert found.unknown == (3 if np.isnan(value) else 0)
