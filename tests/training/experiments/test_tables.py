"""Results and tables of an experiment: the arithmetic against numbers worked out by hand, and the JSON."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim.errors import HandsimError
from tests.training.experiments.builders import (
    CONTENT,
    SHORT,
    Content,
    changed,
    experiment_of,
    nested,
    runs_of,
)
from training.evaluation.hand_errors import HAND_ERRORS_FILE, HandErrors, write_hand_errors
from training.evaluation.report import find_metric
from training.experiments.config import AXES, Experiment
from training.experiments.plan import Run
from training.experiments.results import (
    ExperimentResults,
    HandErrorsReader,
    RunResult,
    collect_results,
    make_tables,
    step_state,
)
from training.experiments.steps import Step, StepStore
from training.experiments.tables import MEAN_POSE, Cell, Table

ERROR, AUC = "root_relative_mpjpe_mm", "root_scale_auc_0_50"
METHODS = ("scratch", "peclr", "simhand")
SEEDS = (1, 2, 4)
NUMBERS = {
    ("scratch", 0.1): (30.0, 32.0, 34.0),
    ("scratch", 1.0): (20.0, 20.0, 20.0),
    ("peclr", 0.1): (25.0, 26.0, 30.0),
    ("peclr", 1.0): (19.0, 21.0, 20.0),
    ("simhand", 0.1): (24.0, 25.0, 26.0),
    ("simhand", 1.0): (18.0, 19.0, 20.0),
}


def _table(state_of: Callable[[str, int], Any] = lambda method, seed: "done", **settings: Any) -> Table:
    """Of runs that are done, failed or missing, by method and seed."""
    axes = {
        "methods": {"scratch": {}, "peclr": {"recipe": "peclr"}, "simhand": {"recipe": "simhand"}},
        "seeds": [*SEEDS],
        "label_fractions": {0.1: {}, 1.0: {}},
    }
    experiment = experiment_of({**CONTENT, "start": {}, "axes": axes, "tables": {"shown": settings}})
    results = []
    for (number, seed), point in product(enumerate(SEEDS), experiment.points()):
        labels = {axis: point.label(axis) for axis in AXES}
        result = RunResult(labels, seed, f"evaluate-{number}", state_of(point.method, seed), {}, {})
        if result.state == "done":
            error = NUMBERS[point.method, point.label_fraction][number]
            metrics, floor = {ERROR: error, AUC: 1 - error / 100}, {ERROR: 40.0, AUC: 0.2}
            result = replace(result, metrics=metrics, mean_pose=floor)
        results.append(result)
    (table,) = make_tables(experiment, results, HandErrorsReader(None))
    return table


def _cell(table: Table, row: str, column: int) -> Cell:
    return table.cells[table.rows.index(row)][column]


def test_cells_have_means_and_standard_deviations_and_the_best_is_marked() -> None:
    table = _table(columns="label_fraction", metrics=[ERROR, AUC])
    assert table.rows == [*METHODS, MEAN_POSE]
    columns = [(column.label, column.metric.name) for column in table.columns]
    assert columns == [("0.1", ERROR), ("0.1", AUC), ("1", ERROR), ("1", AUC)]
    few = _cell(table, "peclr", 0)
    assert few.values == {1: 25.0, 2: 26.0, 4: 30.0}
    assert few.mean == 27.0
    assert few.spread == pytest.approx(math.sqrt((4 + 1 + 9) / 2))  # n - 1
    assert (few.n, few.seeds, few.is_complete) == (3, 3, True)
    assert _cell(table, "scratch", 2).spread == 0.0
    assert _cell(table, "peclr", 1).mean == pytest.approx(0.73)
    floor = _cell(table, MEAN_POSE, 2)
    assert (floor.mean, floor.spread, floor.best) == (40.0, None, False)
    for column in range(4):  # the lowest error, the highest area
        best = [name for name, row in zip(table.rows, table.cells, strict=True) if row[column].best]
        assert best == ["simhand"]


def test_only_cells_with_all_seeds_can_be_best() -> None:
    """The seeds that are missing may be the hard ones."""
    state_of = {("simhand", 4): "missing"}
    table = _table(lambda *run: state_of.get(run, "done"), where={"label_fraction": 0.1}, metrics=[ERROR])
    ahead = _cell(table, "simhand", 0)
    assert (ahead.n, ahead.is_complete, ahead.best, ahead.failed) == (2, False, False, 0)
    assert ahead.mean == 24.5
    assert ahead.spread == pytest.approx(math.sqrt(0.5))
    assert _cell(table, "peclr", 0).best
    assert not _cell(table, "scratch", 0).best


def test_a_single_cell_is_not_best_and_equal_ones_are_best_together() -> None:
    settings = {"where": {"label_fraction": 1.0}, "metrics": [ERROR]}
    table = _table(lambda method, seed: "done" if method == "peclr" else "missing", **settings)
    assert not any(cell.best for row in table.cells for cell in row)
    assert _cell(table, "peclr", 0).mean == 20.0
    table = _table(lambda method, seed: "missing" if method == "simhand" else "done", **settings)
    assert _cell(table, "peclr", 0).mean == _cell(table, "scratch", 0).mean == 20.0
    assert _cell(table, "peclr", 0).best
    assert _cell(table, "scratch", 0).best


def test_missing_runs_leave_cells_empty() -> None:
    settings = {"where": {"label_fraction": 0.1}, "metrics": [ERROR, AUC]}
    without = {"peclr": {1: "missing", 2: "failed", 4: "missing"}}
    table = _table(lambda method, seed: without[method][seed] if method in without else "done", **settings)
    cell = _cell(table, "peclr", 0)
    assert (cell.mean, cell.spread, cell.n, cell.failed, cell.best) == (None, None, 0, 1, False)
    table = _table(lambda method, seed: "missing", **settings)
    assert table.rows == [*METHODS]  # nobody knows the mean pose yet
    assert all(cell.mean is None for row in table.cells for cell in row)


def test_one_seed_has_no_spread_and_a_missing_number_no_mean() -> None:
    settings = {"where": {"label_fraction": 0.1}, "metrics": [ERROR, "absolute_mpjpe_mm"]}
    table = _table(lambda method, seed: "done" if seed == 1 else "missing", **settings)
    assert (_cell(table, "scratch", 0).n, _cell(table, "scratch", 0).spread) == (1, None)
    assert _cell(table, "scratch", 1).mean is None
    assert _cell(table, MEAN_POSE, 1).mean is None


def test_any_axis_can_be_rows_or_columns() -> None:
    table = _table(rows="label_fraction", where={"method": "simhand"}, metrics=[ERROR])
    assert table.rows == ["0.1", "1", MEAN_POSE]
    assert [row[0].mean for row in table.cells] == [25.0, 19.0, 40.0]
    table = _table(rows="label_fraction", columns="method", metrics=[ERROR])
    assert [[cell.mean for cell in row] for row in table.cells] == [
        [32.0, 27.0, 25.0],
        [20.0, 20.0, 19.0],
        [40.0] * 3,
    ]


def test_rows_of_datasets_have_no_mean_pose_in_common() -> None:
    table = _table(rows="dataset", where={"method": "peclr", "label_fraction": 0.1}, metrics=[ERROR])
    assert MEAN_POSE not in table.rows


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return experiment_of(SHORT)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """From scratch, and SiMHand."""
    return runs_of(SHORT)


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    return StepStore(tmp_path / "steps")


def _finish(step: Step, store: StepStore, report: str | None = None) -> None:
    folder = store.folder(step)
    folder.path.mkdir(parents=True)
    if report is not None:
        folder.report.parent.mkdir(parents=True)
        folder.report.write_text(report)
    folder.finish(1.0, at_once=True)


def test_numbers_of_a_run_that_is_done(experiment: Experiment, runs: list[Run], store: StepStore) -> None:
    """As `handsim evaluate pose` writes them; what could not be measured is left out."""
    report = {"metrics": {"a_mm": 3, "b_mm": float("nan")}, "mean_pose": {"a_mm": 4.5}, "joints": {}}
    _finish(runs[0].evaluation, store, json.dumps(report))
    done, missing = collect_results(experiment, runs, store).runs
    assert (done.labels["method"], done.seed, done.step) == ("scratch", 1, runs[0].evaluation.name)
    assert (done.state, done.metrics, done.mean_pose) == ("done", {"a_mm": 3.0}, {"a_mm": 4.5})
    assert (missing.state, missing.metrics, missing.mean_pose) == ("missing", {}, {})


def test_a_run_with_a_failed_step_has_failed(
    experiment: Experiment, runs: list[Run], store: StepStore
) -> None:
    scratch, simhand = (run.evaluation for run in runs)
    trunk = simhand.inputs["finetune"].inputs["init"]
    index = trunk.inputs["index"]
    _finish(index.inputs["pool"], store)
    assert step_state(simhand, store) == "missing"
    store.folder(index).path.mkdir()
    store.folder(index).fail(2)
    assert [result.state for result in collect_results(experiment, runs, store).runs] == ["missing", "failed"]
    assert step_state(index, store) == step_state(trunk, store) == "failed"
    assert step_state(trunk.inputs["init"], store) == "missing"
    assert step_state(index.inputs["pool"], store) == "done"
    assert step_state(scratch, store) == "missing"


@pytest.mark.parametrize(
    "report", [None, "", "{", "[]", '{"metrics": {}}', '{"metrics": {"a": "x"}, "mean_pose": {}}']
)
def test_a_damaged_report_is_an_error(
    experiment: Experiment, runs: list[Run], store: StepStore, report: str | None
) -> None:
    _finish(runs[0].evaluation, store, report)
    with pytest.raises(HandsimError, match=r"pose\.json cannot be read \(.*\); remove .*evaluate-\w+ and"):
        collect_results(experiment, runs, store)


def test_what_trainings_cost_is_shown_over_the_seeds(store: StepStore) -> None:
    """The speed is the median over a run, whose start is slow; a line that was cut off is left out."""
    content = {**SHORT, "axes": {**SHORT["axes"], "seeds": [1, 2]}}
    runs = runs_of(content)
    trunks = [run.evaluation.inputs["finetune"].inputs.get("init") for run in runs]
    for number, trunk in enumerate(trunk for trunk in trunks if trunk is not None):
        folder = store.folder(trunk)
        folder.metrics.parent.mkdir(parents=True)
        rates = [10, 200 + number, 200 + number]
        lines = [json.dumps({"images_per_s": rate, "data_wait": 0.01, "index_wait": 0.0}) for rate in rates]
        folder.metrics.write_text("\n".join([*lines, '{"images_per']))
        folder.finish(90.0 + 60 * number, at_once=True)
    results = collect_results(experiment_of(content), runs, store)
    (cost,) = results.trainings
    assert (cost.kind, cost.description, cost.n, cost.seconds) == ("pretrain", "simhand", 2, 120.0)
    assert "| pre-training simhand | 2 | 2.0 | 200 | 1.0% | 0.0% |" in results.to_markdown()
    assert ExperimentResults.from_json(results.to_json()).trainings == results.trainings


def test_results_are_written_to_json_and_read_back(
    experiment: Experiment, runs: list[Run], store: StepStore
) -> None:
    report = {"metrics": {ERROR: 30.0, AUC: 0.5}, "mean_pose": {ERROR: 40.0, AUC: 0.2}}
    _finish(runs[0].evaluation, store, json.dumps(report))
    store.folder(runs[1].evaluation).path.mkdir()
    store.folder(runs[1].evaluation).fail(1)
    tables = {"main": {"metrics": [ERROR, AUC]}, "labels": {"columns": "label_fraction"}}
    results = collect_results(experiment_of({**SHORT, "tables": tables}), runs, store)
    written = json.dumps(results.to_json(), allow_nan=False)
    again = ExperimentResults.from_json(json.loads(written))
    assert again.tables == results.tables
    assert again.to_json() == results.to_json()
    assert again.to_markdown() == results.to_markdown()
    assert (again.count("done"), again.count("failed"), again.count("missing")) == (1, 1, 0)


PRIMARY = {"metric": ERROR, "method": "simhand", "reference": "peclr", "label_fractions": [0.1]}
HAND_MM = {"scratch": 30.0, "peclr": 20.0, "simhand": 18.0}
PEOPLE = [f"person {number // 3}" for number in range(120)]


def _evaluate(method: str, seed: int, run: Run, store: StepStore) -> float:
    """Forty people of three hands, whose difficulty all methods share; the mean error."""
    hard = np.repeat(np.random.default_rng(0).uniform(-9, 9, 40), 3)
    hard -= hard.mean()
    own = np.random.default_rng([METHODS.index(method), seed]).normal(0, 0.5, (120, 21))
    errors = (HAND_MM[method] + hard[:, None] + own).astype(np.float32)
    mean_pose = np.full_like(errors, 40.0)
    report = {"metrics": {ERROR: float(errors.mean())}, "mean_pose": {ERROR: 40.0}}
    _finish(run.evaluation, store, json.dumps(report))
    ids = tuple(f"set/{number}" for number in range(120))
    hands = HandErrors(ids, tuple(PEOPLE), {"root_relative": errors}, {"root_relative": mean_pose})
    write_hand_errors(store.folder(run.evaluation).report.with_name(HAND_ERRORS_FILE), hands)
    return float(errors.mean())


def test_values_and_paired_differences_have_intervals_over_people(store: StepStore) -> None:
    content = changed(
        nested("axes.seeds", [*SEEDS]),
        nested("axes.label_fractions", {0.1: {}, 1.0: {}}),
        nested("tables", {"main": {"columns": "label_fraction", "metrics": [ERROR]}}),
        nested("primary", PRIMARY),
    )
    means: dict[str, list[float]] = {}
    runs = runs_of(content)
    for run in runs:
        if run.point.label_fraction == 0.1 and run.point.method in METHODS:
            means.setdefault(run.point.method, []).append(_evaluate(run.point.method, run.seed, run, store))
    results = collect_results(experiment_of(content), runs, store)
    values, differences = results.tables
    peclr = _cell(values, "peclr", 0)
    assert peclr.interval is not None
    assert peclr.interval.people == 40
    # Each person is 5.2 mm off by chance, so the mean of forty is 0.82 mm off.
    assert peclr.interval.high - peclr.interval.low == pytest.approx(
        2 * 1.96 * 18 / 12**0.5 / 40**0.5, rel=0.2
    )
    assert differences.rows == ["scratch", "start", "simhand"]
    ahead = _cell(differences, "simhand", 0)
    expected = np.mean(means["simhand"]) - np.mean(means["peclr"])
    assert ahead.mean == pytest.approx(expected)
    assert ahead.interval is not None
    assert -2.1 < ahead.interval.low < expected < ahead.interval.high < -1.9  # what is hard cancels
    assert ahead.is_clear
    assert not replace(ahead, interval=replace(ahead.interval, people=9)).is_clear  # too few to tell
    assert ahead.text(2).endswith(", -10.0 %")
    floor = _cell(values, MEAN_POSE, 0)
    assert floor.interval is not None
    assert (floor.interval.low, floor.interval.high) == pytest.approx((40.0, 40.0))
    assert (_cell(differences, "simhand", 1).n, _cell(differences, "start", 0).interval) == (0, None)

    text = results.to_markdown()
    assert "marked †: simhand minus peclr in MPJPE mm, root-relative at 10 % of the labels.\n" in text
    assert "\nShares of the labels are drawn at random with the seed.\n" in text
    header = "| method | share of the labels 0.1: MPJPE mm, root-relative † | share of the labels 1: MPJPE mm"
    assert f"{header}, root-relative |" in text
    assert f"| simhand † | **{ahead.text(2)}** | missing |" in text
    assert "(40 people)" in text
    assert ExperimentResults.from_json(results.to_json()).to_markdown() == text


def test_seeds_that_disagree_widen_the_interval(store: StepStore) -> None:
    content = {
        **CONTENT,
        "start": {},
        "axes": {
            "methods": {"peclr": {"recipe": "peclr"}, "simhand": {"recipe": "simhand"}},
            "seeds": [1, 2],
        },
        "tables": {"main": {"metrics": [ERROR], "reference": "peclr"}},
    }
    runs = runs_of(content)
    for run in runs:
        _evaluate(
            "peclr" if run.point.method == "peclr" or run.seed == 1 else "scratch", run.seed, run, store
        )
    _, differences = collect_results(experiment_of(content), runs, store).tables
    ahead = _cell(differences, "simhand", 0)
    assert ahead.mean == pytest.approx(5, abs=0.1)  # nothing in one seed, 10 mm in the other
    assert not ahead.is_clear


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "pecl"}, r"primary\.reference is pecl; the methods are scratch"),
        ({"method": None}, r"primary\.method is None; the methods are scratch"),
        ({"metric": "root_relative_mpjpe"}, "there is no metric root_relative_mpjpe; did you mean"),
        ({"metric": None}, "primary has no metric"),
        ({"label_fractions": [0.3]}, r"primary\.label_fractions has 0\.3; the shares of the labels are 1"),
    ],
)
def test_a_primary_comparison_of_what_is_not_there_is_refused(change: Content, message: str) -> None:
    primary = {**PRIMARY, "label_fractions": [1.0], **change}
    with pytest.raises(HandsimError, match=message):
        experiment_of(changed(nested("primary", primary)))


def test_a_reference_is_one_of_the_rows() -> None:
    with pytest.raises(HandsimError, match=r"tables\.main\.reference is pecl; the rows are scratch, "):
        experiment_of(changed(nested("tables.main.reference", "pecl")))


COLUMN = {"label": None, "metric": ERROR, "title": "MPJPE mm, root-relative", "higher_is_better": False}
CELL = {"mean": 12.5, "spread": None, "n": 1, "seeds": 2, "failed": 1, "best": False, "values": {"1": 12.5}}
FORMAT_1: dict[str, Any] = {
    "format": 1,
    "title": "Small",
    "seeds": [1, 2],
    "axes": {**{axis: ["as it is"] for axis in AXES}, "method": ["simhand"]},
    "runs": [
        {
            **dict.fromkeys(AXES, "as it is"),
            **{"method": "simhand", "seed": seed, "state": state, "step": f"evaluate-{seed:016x}"},
            "metrics": {ERROR: 12.5} if state == "done" else {},
            "mean_pose": {},
        }
        for seed, state in ((1, "done"), (2, "failed"))
    ],
    "tables": [
        {
            **{"name": "main", "title": "", "rows_axis": "method", "columns_axis": None},
            **{"where": {"label_fraction": 0.1}, "rows": ["simhand"]},
            "columns": [COLUMN],
            "cells": [[CELL]],
        }
    ],
}
"""``results.json`` as the first handsim with experiments wrote it; an untitled table had an empty title."""


def test_results_of_the_first_format_are_read() -> None:
    results = ExperimentResults.from_json(FORMAT_1)
    (table,) = results.tables
    assert (table.title, table.condition) == ("main", "share of the labels 0.1")
    assert table.metrics == [find_metric(ERROR)]
    assert table.cells == [[Cell({1: 12.5}, 2, failed=1)]]
    assert "| simhand | 12.50 (1 of 2 seeds) |" in results.to_markdown()
    assert results.to_json()["runs"] == FORMAT_1["runs"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"runs": [{}]},
        {"axes": {}},
        {"tables": [{**FORMAT_1["tables"][0], "rows_axis": "colour"}]},
    ],
)
def test_other_results_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        ExperimentResults.from_json({**FORMAT_1, **change})


def test_results_are_read_without_torch() -> None:
    code = "import sys, training.experiments, training.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
