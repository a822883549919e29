"""Runs of a home as their files describe them, also files that are damaged or still being written."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

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
from apps.browser.training.page import format_duration, progress_line, run_table
from apps.browser.training.runs import (
    FileCache,
    Metrics,
    RunRecord,
    RunStore,
    as_count,
    as_number,
    as_text,
    by_tail,
    owner_of,
    read_latest,
    read_object,
    run_figures,
)
from handsim.home import Home
from tests.apps.browser.builders import NOW, loss_lines, write_retrieval, write_run


def _record(home: Path) -> RunRecord:
    (record,) = RunStore(Home(home)).records(NOW)
    return record


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "first"


def test_a_run_that_writes_is_running_until_its_loss_is_no_number(tmp_path: Path, first: Path) -> None:
    write_run(first, loss_lines(5), age_s=20)
    record = _record(tmp_path)
    assert (record.state, record.steps_done, record.steps) == ("running", 50, 100)
    assert record.share_done == 0.5
    assert record.left_s == pytest.approx(50 * 32 / 320)
    words = "▶ running · 50 of 100 steps · loss 1 · 320 images/s · waiting 25.0 %"
    assert progress_line(record).startswith(words)
    (first / "diverged.json").write_text("{}")
    assert _record(tmp_path).state == "diverged"


_SLOW_LINES = [{"step": 10, "loss": 1.0, "images_per_s": 2.0}]  # 160 s a line


@pytest.mark.parametrize(
    ("lines", "age_s", "state"),
    [
        (loss_lines(5), 130, "stopped"),
        (_SLOW_LINES, 470, "running"),
        (_SLOW_LINES, 490, "stopped"),
        ([], 500, "running"),  # the first line may take minutes
        ([], 700, "stopped"),
        (loss_lines(10), 1, "done"),
    ],
)
def test_a_run_that_wrote_nothing_for_too_long_has_stopped(
    tmp_path: Path, first: Path, lines: list[dict[str, float]], age_s: float, state: str
) -> None:
    write_run(first, lines, age_s=age_s)
    assert _record(tmp_path).state == state


def test_steps_are_unknown_if_the_facts_are_unreadable(tmp_path: Path, first: Path) -> None:
    write_run(first, loss_lines(5))
    for facts in ("", "[]", "{", '{"config": 3}', '{"config": {"trainer": {"epochs": "x"}}}'):
        (first / "facts.json").write_text(facts)
        record = _record(tmp_path)
        assert (record.steps, record.share_done) == (None, None)
        assert "50 steps" in progress_line(record)


def test_numbers_that_are_too_large_are_left_out(tmp_path: Path, first: Path) -> None:
    write_run(first, loss_lines(5), steps=10**400, seed=2**70)
    record = _record(tmp_path)
    assert (record.seed, record.steps, record.left_s) == (None, None, None)
    assert run_table([record])["Seed"].to_pylist() == [None]


def test_evaluations_and_other_folders_are_no_trainings(tmp_path: Path) -> None:
    write_retrieval(tmp_path / "runs" / "retrieval")
    assert RunStore(Home(tmp_path)).records() == []
    assert RunStore(Home(tmp_path / "nowhere")).records() == []


def test_a_trunk_that_another_run_trained_has_the_name_of_that_run(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(10), age_s=100)
    # The home was elsewhere when this was written.
    init = "/before/it/was/moved/runs/first/checkpoints/last.ckpt"
    write_run(tmp_path / "runs" / "second", loss_lines(3), age_s=10, init=init, finetuning=True)
    second, first = RunStore(Home(tmp_path)).records(NOW)
    assert (second.place.title, second.kind, second.init) == ("second", "fine-tuning", "first")
    assert (first.kind, first.init, first.index) == ("pre-training", "random weights", "v0001")


def test_steps_of_experiments_are_runs_by_their_titles(tmp_path: Path) -> None:
    for number in (1, 2):
        step = tmp_path / "experiments" / "steps" / f"finetune-{number}"
        write_run(step / "runs" / "run", loss_lines(10))
        (step / "step.json").write_text(json.dumps({"title": "finetune peclr, seed 1"}))
    places = RunStore(Home(tmp_path)).places()
    titles = [place.title for place in places]
    assert titles == ["finetune peclr, seed 1 (finetune-1)", "finetune peclr, seed 1 (finetune-2)"]
    tails = by_tail(places)
    there = "/x/steps/finetune-2/runs/run/checkpoints/best.ckpt"
    assert owner_of(there, tails) == places[1]
    assert owner_of(there.replace("-2", "-3"), tails) is None
    assert owner_of("resnet50", tails) is None


def test_the_table_has_a_row_for_each(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(10), age_s=100)
    write_run(tmp_path / "runs" / "second", age_s=5)
    rows = run_table(RunStore(Home(tmp_path)).records(NOW)).to_pylist()
    assert [row["Run"] for row in rows] == ["second", "first"]
    assert [row["State"] for row in rows] == ["▶ running", "✓ done"]
    assert [row["Done"] for row in rows] == [0.0, 1.0]
    assert rows[1]["Loss"] == pytest.approx(0.5)
    assert rows[1]["Last change"] == "2 min ago"


def test_durations_are_in_the_largest_unit() -> None:
    durations = [format_duration(seconds) for seconds in (5, 300, 5400, 500_000)]
    assert durations == ["5 s", "5 min", "1.5 h", "6 days"]


def _line(step: int, **numbers: float | None) -> str:
    return json.dumps({"step": step, **numbers}) + "\n"


def _values(metrics: Metrics, name: str = "loss") -> list[float]:
    return [*map(float, metrics.points().get(name, ((), ()))[1])]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_metrics_that_are_added_are_read(file: Path) -> None:
    metrics = Metrics(file)
    metrics.advance()
    assert metrics.points() == {}
    file.write_text(_line(1, loss=3.0))
    metrics.advance()
    with file.open("a") as more:
        more.write(_line(2, loss=2.0, lr=0.1))
    metrics.advance()
    metrics.advance()
    assert _values(metrics) == [3.0, 2.0]
    assert _values(metrics, "lr") == [0.1]


def test_half_a_line_is_read_once_it_is_complete(file: Path) -> None:
    metrics = Metrics(file)
    whole = _line(1, loss=3.0) + _line(2, loss=2.0)
    for cut in range(len(whole) + 1):
        file.write_text(whole[:cut])
        metrics.advance()
        assert len(_values(metrics)) == whole[:cut].count("\n")


def test_what_is_no_metric_is_left_out(file: Path) -> None:
    lines = [
        _line(1, loss=3.0, data_wait=None),
        '{"step": 2, "loss": NaN}\n',
        '{"step": 3, "lo\n',
        "[]\n",
        '{"loss": 9}\n',
        '{"step": 4, "loss": "low", "is_good": true}\n',
        "\x00\xff\n",
        '{"step": 4, "loss": 1' + "0" * 400 + "}\n",
        '{"step": 1' + "0" * 400 + ', "loss": 9}\n',
        "[" * 100_000 + "\n",
        "x" * (3 * 2**20) + "\n",
        _line(5, loss=1.0),
    ]
    file.write_bytes("".join(lines).encode("latin-1"))
    metrics = Metrics(file)
    metrics.advance()
    assert set(metrics.points()) == {"loss"}
    assert _values(metrics) == [3.0, 1.0]


def test_a_resumed_run_that_dropped_lines_is_read_anew_and_a_run_that_is_gone_keeps_its_curves(
    file: Path,
) -> None:
    metrics = Metrics(file)
    file.write_text("".join(_line(step, loss=float(step)) for step in range(20)))
    metrics.advance()
    # Written anew, and by now longer than before.
    file.write_text("".join(_line(step, loss=100.0 + step) for step in range(30)))
    metrics.advance()
    file.unlink()
    metrics.advance()
    assert _values(metrics) == [100.0 + step for step in range(30)]
    assert metrics.behind_bytes == 0


def test_a_long_file_is_read_in_portions_and_each_byte_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(_line(step, loss=1.0) for step in range(60_000))
    file.write_text(lines)
    metrics = Metrics(file)
    behind = [metrics.behind_bytes]
    while metrics.behind_bytes:
        metrics.advance(budget_bytes=2**18)
        behind.append(metrics.behind_bytes)
    assert len(behind) > 2
    assert all(before - after <= 2 * 2**20 for before, after in pairwise(behind))
    steps, _ = metrics.points()["loss"]
    assert steps.mean() == pytest.approx(29_999.5, rel=1e-3)
    monkeypatch.setattr(json, "loads", lambda line: pytest.fail("a line was read again"))
    metrics.advance()


def test_the_latest_numbers_are_those_of_the_last_lines(file: Path) -> None:
    many = "".join(_line(step, loss=float(step)) for step in range(5000))
    file.write_text(many + _line(5000, val_mpjpe_mm=12.5) + '{"step": 50')
    assert read_latest(file) == {"step": 5000, "loss": 4999.0, "val_mpjpe_mm": 12.5}


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    reads: list[Path] = []

    def read(path: Path) -> dict[str, Any]:
        reads.append(path)
        return read_object(path)

    cache, file = FileCache(read, most=3), tmp_path / "file"
    assert cache(file) is None
    file.write_text('{"a": 1}')
    assert [cache(file), cache(file)] == [{"a": 1}] * 2
    assert len(reads) == 1
    file.write_text('{"a": 2}')
    os.utime(file, (1, 1))
    assert cache(file) == {"a": 2}
    for content in ("[1]", "{", "3", "[" * 100_000):
        file.write_text(content)
        assert cache(file) is None
    file.unlink()
    assert cache(file) is None
    for number in range(10):
        (tmp_path / str(number)).write_text("{}")
        assert cache(tmp_path / str(number)) == {}
    assert len(cache) == 3


@pytest.mark.parametrize(
    ("value", "number", "count"),
    [
        (3, 3.0, 3),
        (0, 0.0, 0),
        (-3, -3.0, None),
        (2.5, 2.5, None),
        (2**63 - 1, float(2**63), 2**63 - 1),
        (2**70, float(2**70), None),
        (10**400, None, None),
        (float("nan"), None, None),
        (float("-inf"), None, None),
        (True, None, None),
        ("3", None, None),
        (None, None, None),
        ([3], None, None),
    ],
)
def test_what_is_something_else_is_none(value: object, number: float | None, count: int | None) -> None:
    assert as_number(value) == number
    assert as_count(value) == count
    assert as_text(value) == ("3" if value == "3" else None)


@given(st.integers(1, 500), st.sampled_from([2, 4, 10, 64]))
def test_a_curve_is_the_means_of_equal_portions(count: int, most: int) -> None:
    curve = Curve(most)
    added = np.cumsum(np.sin(np.arange(count)))
    for step, value in enumerate(added.tolist()):
        curve.add(step, value)
    portion = 1
    while count // portion >= most:
        portion *= 2
    portions = [slice(first, first + portion) for first in range(0, count, portion)]
    steps, values = curve.points()
    assert len(curve) == len(values) <= most
    np.testing.assert_allclose(values, [added[part].mean() for part in portions], atol=1e-9)
    np.testing.assert_allclose(steps, [np.arange(count)[part].mean() for part in portions])


def test_a_curve_of_many_steps_takes_no_more_room() -> None:
    curve = Curve()
    for step in range(100_000):
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
    np.testing.assert_array_equal(smooth(values, 0.0), values)


def _points(*values: float) -> Points:
    return np.linspace(10.0, 10.0 * len(values), len(values)), np.array(values)


def test_charts_are_those_of_the_numbers_that_exist() -> None:
    main, others = panels(["epoch", "loss_delta", "lr", "loss", "loss"])
    assert [panel.metric for panel in main] == ["loss", "lr"]
    assert [(panel.metric, panel.title) for panel in others] == [("loss_delta", "Loss delta")]


def test_a_table_has_the_points_of_all_runs() -> None:
    runs = {"a": {"loss": _points(4.0, 2.0)}, "b": {"loss": _points(1.0)}, "c": {}}
    rows = panel_table(LOSS, runs, 0.5, logarithmic=False).to_pylist()
    points = [(row["run"], row["step"], row["value"]) for row in rows]
    assert points == [("a", 10.0, 4.0), ("a", 20.0, 2.0), ("b", 10.0, 1.0)]
    assert rows[1]["smooth"] == (0.25 * 4.0 + 0.5 * 2.0) / 0.75
    assert last_step(runs) == 20.0


def test_what_has_no_logarithm_is_left_out_of_it() -> None:
    runs = {"a": {"loss": _points(4.0, 0.0, -1.0, 2.0)}}
    assert panel_table(LOSS, runs, 0.0, logarithmic=True)["value"].to_pylist() == [4.0, 2.0]
    assert panel_table(LOSS, {}, 0.0, logarithmic=True).num_rows == 0
    assert last_step({}) == 1.0


def test_runs_differ_by_colour_and_by_dashes() -> None:
    runs = {name: {"loss": _points(4.0, 2.0)} for name in "abcdefgh"}
    table = panel_table(LOSS, runs, 0.5, logarithmic=False)
    options = {"smoothing": 0.5, "last_step": 20.0, "is_first": True}
    chart = curve_chart(table, LOSS, list(runs), logarithmic=False, **options)  # type: ignore[arg-type]
    dashes = chart.to_dict()["layer"][1]["encoding"]["strokeDash"]["scale"]
    assert dashes["domain"] == list(runs)
    assert len({tuple(dash) for dash in dashes["range"]}) == len(runs)


def test_a_logarithmic_axis_has_round_numbers() -> None:
    assert log_ticks(np.array([3000.0, 0.2])) == [1, 10, 100, 1000]
    assert log_ticks(np.array([5.0, 40.0])) == [5, 6, 8, 10, 15, 20, 30, 40]
    assert log_ticks(np.array([8.4, 19.2])) == [9, 10, 12, 14, 16, 18]
    assert log_ticks(np.array([3.0, 3.0])) == log_ticks(np.empty(0)) == []


def test_figures_are_found_by_their_step(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in ("pairs-0000200.png", "pairs-0000030.png", "pck.png", "pairs-x.png", "pairs-1.png.tmp"):
        (folder / name).touch()
    assert list(run_figures(tmp_path)) == [30, 200]
    assert run_figures(tmp_path / "nowhere") == {}
