"""Curves in bounded memory, and the panels that show them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.training.curves import (
    LOSS,
    Curve,
    Points,
    curve_chart,
    last_step,
    log_ticks,
    panel_table,
    panels,
    smooth,
)
from apps.browser.training.runs import run_figures


def test_as_long_as_there_is_room_each_point_is_there() -> None:
    curve = Curve(most=10)
    for step in range(9):
        curve.add(step, step * step)
    steps, values = curve.points()
    assert steps.tolist() == list(range(9))
    assert values.tolist() == [step * step for step in range(9)]


@given(st.integers(1, 500), st.sampled_from([2, 4, 10, 64]))
def test_portions_are_the_means_of_equal_portions(count: int, most: int) -> None:
    curve = Curve(most)
    added = np.cumsum(np.sin(np.arange(count)))
    for step, value in enumerate(added.tolist()):
        curve.add(step, value)
    portion = 1
    while count // portion >= most:
        portion *= 2
    expected = [added[first : first + portion].mean() for first in range(0, count, portion)]
    steps, values = curve.points()
    assert len(curve) == len(values) <= most
    np.testing.assert_allclose(values, expected, atol=1e-9)
    np.testing.assert_allclose(
        steps, [np.arange(count)[first : first + portion].mean() for first in range(0, count, portion)]
    )


def test_a_curve_of_a_million_steps_takes_no_more_room() -> None:
    curve = Curve()
    for step in range(1_000_000):
        curve.add(step, 1.0)
    steps, values = curve.points()
    assert 500 <= len(steps) <= 1000
    assert (np.diff(steps) > 0).all()
    assert (values == 1.0).all()


def test_smoothing_is_the_weighted_mean_of_what_came_before() -> None:
    values = np.array([3.0, -1.0, 4.0, 1.0, -5.0])
    weight = 0.7
    for place, found in enumerate(smooth(values, weight)):
        weights = weight ** np.arange(place, -1, -1)
        assert found == pytest.approx((weights * values[: place + 1]).sum() / weights.sum())


def test_no_smoothing_changes_nothing() -> None:
    values = np.array([3.0, -1.0, 4.0])
    np.testing.assert_array_equal(smooth(values, 0.0), values)


def _points(*values: float) -> Points:
    return np.linspace(10.0, 10.0 * len(values), len(values)), np.array(values)


def test_charts_are_those_of_the_numbers_that_are_there() -> None:
    main, others = panels(["epoch", "loss_delta", "lr", "loss", "loss"])
    assert [panel.metric for panel in main] == ["loss", "lr"]
    assert [(panel.metric, panel.title) for panel in others] == [("loss_delta", "Loss delta")]


def test_a_table_has_the_points_of_all_runs() -> None:
    runs = {"a": {"loss": _points(4.0, 2.0)}, "b": {"loss": _points(1.0)}, "c": {}}
    rows = panel_table(LOSS, runs, 0.5, logarithmic=False).to_pylist()
    assert [(row["run"], row["step"], row["value"]) for row in rows] == [
        ("a", 10.0, 4.0),
        ("a", 20.0, 2.0),
        ("b", 10.0, 1.0),
    ]
    assert rows[1]["smooth"] == (0.25 * 4.0 + 0.5 * 2.0) / 0.75
    assert last_step(runs) == 20.0


def test_what_has_no_logarithm_is_left_out_of_it() -> None:
    runs = {"a": {"loss": _points(4.0, 0.0, -1.0, 2.0)}}
    assert panel_table(LOSS, runs, 0.0, logarithmic=True)["value"].to_pylist() == [4.0, 2.0]
    assert panel_table(LOSS, {}, 0.0, logarithmic=True).num_rows == 0
    assert last_step({}) == 1.0


def test_a_run_is_told_by_colour_and_by_dashes() -> None:
    runs = {name: {"loss": _points(4.0, 2.0)} for name in "abcdefgh"}
    table = panel_table(LOSS, runs, 0.5, logarithmic=False)
    chart = curve_chart(
        table, LOSS, list(runs), logarithmic=False, smoothing=0.5, last_step=20, is_first=True
    ).to_dict()
    dashes = chart["layer"][1]["encoding"]["strokeDash"]["scale"]
    assert dashes["domain"] == list(runs)
    assert len({tuple(dash) for dash in dashes["range"]}) == len(runs)


def test_a_logarithmic_axis_is_told_at_round_numbers() -> None:
    assert log_ticks(np.array([3000.0, 0.2])) == [1, 10, 100, 1000]
    assert log_ticks(np.array([5.0, 40.0])) == [5, 6, 8, 10, 15, 20, 30, 40]
    assert log_ticks(np.array([8.4, 19.2])) == [9, 10, 12, 14, 16, 18]
    assert log_ticks(np.array([3.0, 3.0])) == log_ticks(np.empty(0)) == []


def test_pictures_are_found_by_their_step(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in ("pairs-0000200.png", "pairs-0000030.png", "pck.png", "pairs-x.png", "pairs-1.png.tmp"):
        (folder / name).touch()
    assert list(run_figures(tmp_path)) == [30, 200]
    assert run_figures(tmp_path / "nowhere") == {}
