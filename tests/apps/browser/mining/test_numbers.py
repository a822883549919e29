"""How a change of a figure is told."""

import pytest

from apps.browser.mining.page import _METRICS


@pytest.mark.parametrize(
    ("label", "value", "before", "said"),
    [
        ("With a positive", 0.952, 0.951, "0.1 points"),
        ("With a positive", 0.9, 0.951, "-5.1 points"),
        ("With a positive", 0.95101, 0.951, 0),
        ("With a positive", 0.0745, 0.99951, "-92.6 points"),
        ("Nearer than random", 1.24, 1.06, "0.1×"),
        ("Pose distance", 0.1, 0.15, "-0.050"),
        ("Pose distance", 0.1, None, None),
        ("Most chosen", 12, 9, "3"),
        ("Most chosen", 9, 9, 0),
    ],
)
def test_changes(label: str, value: float, before: float | None, said: str | int | None) -> None:
    (metric,) = (each for each in _METRICS if each.label == label)
    assert metric.change(value, before) == said
