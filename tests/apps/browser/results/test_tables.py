"""Results as Arrow tables and charts."""

import json
from pathlib import Path

import pytest

from apps.browser.results.charts import cell_tables, experiment_chart
from apps.browser.results.evaluations import (
    ResultFiles,
    experiment_files,
    read_results,
    step_counts,
)
from apps.browser.results.tables import (
    Numbers,
    best_in,
    experiment_table,
    retrieval_figures,
    retrieval_reports,
    retrieval_table,
)
from apps.browser.training.runs import RunStore
from apps.browser.ui import escape
from handsim.home import Home
from tests.apps.browser.results.result_files import write_experiment, write_retrieval
from training.evaluation.report import find_metric


def test_the_best_are_named_by_column() -> None:
    columns: dict[str, tuple[Numbers, bool]] = {
        "Error (mm)": ([1.0, 2.0, None], False),
        "AUC": ([0.1, 0.9, 0.9], True),
        "Same": ([1.0, 1.0, 1.0], True),
        "Alone": ([None, None, 3.0], True),
    }
    assert best_in(columns, 3) == ["★ Error", "★ AUC", "★ AUC"]


def test_retrieval_is_a_row_for_each_evaluation(tmp_path: Path) -> None:
    write_retrieval(tmp_path / "runs" / "first")
    write_retrieval(tmp_path / "runs" / "second", recall_at_1=0.95, mined_pose_distance=None, sample=10**400)
    (tmp_path / "runs" / "third").mkdir()
    (tmp_path / "runs" / "third" / "retrieval.json").write_text("{")
    store = RunStore(Home(tmp_path))
    rows = retrieval_table(retrieval_reports(store.places(), store.objects)).to_pylist()
    assert [row["Evaluation"] for row in rows] == ["first", "second"]
    assert [row["Best"] for row in rows] == ["", "★ Recall@1"]
    assert [row["Mined distance"] for row in rows] == [0.1, None]
    assert rows[0]["Precision@1"] is None
    assert rows[0]["Hands"] == 1000
    assert rows[1]["Asked for"] is None


def test_figures_are_those_that_are_there(tmp_path: Path) -> None:
    path = write_retrieval(tmp_path / "runs" / "first")
    assert retrieval_figures(path) == {}
    (path / "figures").mkdir()
    (path / "figures" / "pose_distances.png").touch()
    assert list(retrieval_figures(path)) == ["Joint distances of mined and of random pairs"]


def test_an_experiment_is_told_as_its_tables(tmp_path: Path) -> None:
    write_experiment(tmp_path / "experiments" / "main")
    (path,) = experiment_files(Home(tmp_path)).values()
    results = read_results(path)
    (table,) = results.tables
    texts = experiment_table(table, escape).to_pydict()
    assert list(texts) == [
        "method",
        escape("share of the labels 0.1: MPJPE mm, Procrustes"),
        escape("share of the labels 1: MPJPE mm, Procrustes"),
    ]
    first, second, third = texts.values()
    assert first == ["simhand", r"peclr\|x", "mean pose"]
    assert second == ["★ **13.00 ± 1.41**", "missing", "30.00"]
    assert third == ["9.00 (1 of 2 seeds)", "failed", "30.00"]


def test_its_chart_has_a_point_for_each_mean_and_each_seed(tmp_path: Path) -> None:
    (table,) = read_results(write_experiment(tmp_path / "main") / "results.json").tables
    means, seeds, floors = cell_tables(table, find_metric("procrustes_mpjpe_mm"))
    assert [(row["row"], row["column"], row["mean"]) for row in means.to_pylist()] == [
        ("simhand", "0.1", 13.0),
        ("simhand", "1", 9.0),
    ]
    assert seeds["value"].to_pylist() == [12.0, 14.0, 9.0]
    assert floors == [30.0]
    assert len(experiment_chart(table, find_metric("procrustes_mpjpe_mm")).to_dict()["layer"]) == 5


def test_without_columns_the_rows_lie_below_each_other(tmp_path: Path) -> None:
    (table,) = read_results(write_experiment(tmp_path / "main", columns=False) / "results.json").tables
    means, _, _ = cell_tables(table, find_metric("procrustes_mpjpe_mm"))
    assert means["column"].to_pylist() == ["simhand"]
    drawn = experiment_chart(table, find_metric("procrustes_mpjpe_mm")).to_dict()
    assert drawn["layer"][1]["encoding"]["y"]["scale"]["domain"] == ["simhand", "peclr|x"]


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', '{"format": 1, "title": 3, "runs": [1]}'])
def test_tables_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    path = write_experiment(tmp_path / "main") / "results.json"
    path.write_text(content)
    assert ResultFiles().experiments(path) is None


def test_a_value_that_is_too_large_is_damage(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "main") / "results.json"
    content = json.loads(path.read_text())
    content["tables"][0]["cells"][0][0]["values"]["0"] = 10**400
    path.write_text(json.dumps(content))
    assert ResultFiles().experiments(path) is None


def test_steps_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    steps = tmp_path / "experiments" / "steps"
    for name, file in (("a", "done"), ("b", "failed"), ("c", None), ("d", "done")):
        (steps / name).mkdir(parents=True)
        (steps / name / "step.json").write_text(json.dumps({"title": name}))
        if file:
            (steps / name / file).touch()
    assert step_counts(Home(tmp_path)) == {"done": 2, "failed": 1, "begun": 1}
    assert experiment_files(Home(tmp_path)) == {}
