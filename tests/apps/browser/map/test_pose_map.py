"""A map's rows and its drawing order."""

import numpy as np

from tests.apps.browser.map.some_maps import a_map


def test_rows_of_hands() -> None:
    of = a_map(np.zeros((4, 2)))
    assert [of.row_of(hand) for hand in (10, 40, 15, 5, 50, 2**63 - 1)] == [0, 3, None, None, None, None]
    assert a_map(np.zeros((0, 2))).row_of(10) is None


def test_the_drawing_order_is_random_and_always_the_same() -> None:
    of = a_map(np.zeros((500, 2)))
    order = of.drawing_order
    assert sorted(order.tolist()) == list(range(500))
    assert 150 < np.median(order[:50]) < 350  # its beginning is from all over
    np.testing.assert_array_equal(order, a_map(np.zeros((500, 2))).drawing_order)
