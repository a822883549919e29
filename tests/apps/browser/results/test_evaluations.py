"""Evaluations and experiments of a home, their groups, tables and charts."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from apps.browser.results.charts import (
    cell_rows,
    experiment_chart,
    hand_chart,
    joint_rows,
    mean_pose_rows,
    pck_chart,
    pck_rows,
)
from apps.browser.results.evaluations import (
    PoseGroup,
    by_error,
    by_split,
    common_title,
    experiment_files,
    pose_groups,
    read_pose_report,
    read_results,
    step_counts,
)
from apps.browser.results.tables import (
    Numbers,
    best_column,
    experiment_table,
    pose_table,
    retrieval_figures,
    retrieval_reports,
    retrieval_table,
)
from apps.browser.training.runs import FileCache, RunStore, by_tail
from apps.browser.ui import escape
from handsim.home import Home
from handsim.skeleton import JOINT_NAMES
from tests.apps.browser.builders import write_experiment, write_pose_report, write_retrieval, write_run
from training.evaluation.report import find_metric

METRIC = find_metric("procrustes_mpjpe_mm")


def _groups(home: Path, *, over_seeds: bool = True) -> list[PoseGroup]:
    runs = RunStore(Home(home))
    return pose_groups(runs.places(), FileCache(read_pose_report), runs.objects, over_seeds=over_seeds)


def _table(home: Path, groups: list[PoseGroup]) -> list[dict[str, object]]:
    runs = RunStore(Home(home))
    return [*pose_table(groups, "procrustes", by_tail(runs.places()), runs.objects).to_pylist()]


def _two_seeds(home: Path, errors: tuple[float, float] = (10.0, 14.0)) -> Path:
    """Pre-trained and fine-tuned with two seeds each."""
    runs = home / "runs"
    for seed, error in zip((1, 2), errors, strict=True):
        pretrained = write_run(runs / f"pre-s{seed}", seed=seed)
        init = f"{pretrained}/checkpoints/last.ckpt"
        tuned = write_run(runs / f"tuned-s{seed}", seed=seed, init=init, finetuning=True)
        checkpoint = tuned / "checkpoints" / "best.ckpt"
        write_pose_report(
            runs / f"tuned-s{seed}-test", error_mm=error, seed=seed, checkpoint=checkpoint, init=init
        )
    return home


def test_runs_that_differ_by_their_seeds_alone_are_one(tmp_path: Path) -> None:
    (group,) = _groups(_two_seeds(tmp_path))
    assert group.title == "tuned-s*-test"
    assert group.seeds == "1, 2"
    assert group.mean("procrustes_mpjpe_mm") == pytest.approx(12.0)
    assert group.spread("procrustes_mpjpe_mm") == pytest.approx(np.std([10, 14], ddof=1))
    assert [each.title for each in _groups(tmp_path, over_seeds=False)] == ["tuned-s1-test", "tuned-s2-test"]


def test_another_setting_of_what_they_come_from_parts_them(tmp_path: Path) -> None:
    facts = _two_seeds(tmp_path) / "runs" / "pre-s2" / "facts.json"
    content = json.loads(facts.read_text())
    content["config"]["encoder"]["architecture"] = "resnet50"
    facts.write_text(json.dumps(content))
    assert len(_groups(tmp_path)) == 2


def test_of_runs_that_are_gone_only_equal_trunks_go_together(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_pose_report(tmp_path / "runs" / f"scratch-{seed}", seed=seed, mean_bone_mm=90.0 + seed)
        write_pose_report(tmp_path / "runs" / f"tuned-{seed}", seed=seed, init=f"a file, sha256 {seed}")
    titles = sorted(group.title for group in _groups(tmp_path))
    assert titles == ["scratch-*", "tuned-1", "tuned-2"]


def test_of_two_evaluations_of_one_seed_the_later_counts(tmp_path: Path) -> None:
    for number, error in enumerate((10.0, 20.0)):
        path = write_pose_report(tmp_path / "runs" / f"again-{number}", error_mm=error)
        os.utime(path / "pose.json", (number, number))
    (group,) = _groups(tmp_path)
    assert group.mean("procrustes_mpjpe_mm") == 20.0
    assert group.spread("procrustes_mpjpe_mm") is None


def test_only_what_was_judged_on_the_same_hands_is_compared(tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "a", dataset="freihand")
    write_pose_report(tmp_path / "runs" / "b", dataset="dexycb")
    write_pose_report(tmp_path / "runs" / "c", dataset="dexycb", lr=1)
    counts = {name: len(groups) for name, groups in by_split(_groups(tmp_path)).items()}
    assert counts == {"dexycb test": 2, "freihand test": 1}


def test_a_damaged_evaluation_is_left_out(tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "good", label_fraction=10**400)
    damaged = write_pose_report(tmp_path / "runs" / "bad") / "pose.json"
    content = json.loads(damaged.read_text())
    changes: list[dict[str, object]] = [{"curves": {}}, {"facts": []}, {"metrics": {"x": 10**400}}]
    parts = [json.dumps(content | change) for change in changes]
    for text in ("", "[]", '{"format": 2}', '{"format": 1, "settings": []}', *parts):
        damaged.write_text(text)
        assert [group.title for group in _groups(tmp_path)] == ["good"]
    assert _table(tmp_path, _groups(tmp_path))[0]["Labels"] is None  # the number is too large for a float


def test_runs_have_what_is_common_to_their_titles() -> None:
    titles = ["simclr, 10 % of studio, seed 1", "simclr, 10 % of studio, seed 12"]
    assert common_title(titles) == "simclr, 10 % of studio"
    assert common_title(["run-s1-test", "run-s12-test"]) == "run-s1*-test"
    assert common_title(["one", "two"]) == "one and 1 more"


def test_the_table_names_the_best_and_ends_with_the_mean_pose(tmp_path: Path) -> None:
    _two_seeds(tmp_path)
    write_pose_report(tmp_path / "runs" / "scratch", error_mm=13.0, seed=1, note="another")
    groups = by_error(_groups(tmp_path), "procrustes")
    rows = _table(tmp_path, groups)
    assert [row["Evaluation"] for row in rows[:2]] == ["tuned-s*-test", "scratch"]
    assert {row["Evaluation"] for row in rows[2:]} == {"mean pose"}
    best, other = rows[:2]
    assert (best["Best"], other["Best"]) == ("★ MPJPE, Median, AUC 0–50, 2D", "")
    assert (best["MPJPE (mm)"], best["± mm"]) == (12.0, pytest.approx(8**0.5))
    assert best["Of mean pose"] == pytest.approx(100 * 12 / 20)
    assert (best["Begins with"], other["Begins with"]) == ("pre-s1", "random weights")
    assert (best["Seeds"], best["Labels"]) == ("1, 2", 50.0)
    assert rows[-1]["MPJPE (mm)"] is not None
    assert rows[-1]["Best"] == ""


def test_a_lone_evaluation_has_no_spread_and_is_not_best(tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "scratch")
    row, floor = _table(tmp_path, _groups(tmp_path))
    assert not {"± mm", "Best"} & row.keys()
    assert floor["MPJPE (mm)"] == 40.0


def test_curves_have_a_band_over_the_seeds_and_a_sign_every_ten_mm(tmp_path: Path) -> None:
    groups = _groups(_two_seeds(tmp_path))
    rows = pck_rows(groups, "procrustes")
    assert len(rows) == 100
    for row in rows:
        assert (row["low"], row["high"]) == (row["mm"] >= 14.0, row["mm"] >= 10.0)
        assert row["share"] == (row["low"] + row["high"]) / 2
    signs = [row["mm"] for row in rows if row["sign"]]
    np.testing.assert_allclose(signs, [10, 20, 30, 40, 50], atol=0.51)


def test_the_mean_pose_is_drawn_once_and_dashed(tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "a")
    write_pose_report(tmp_path / "runs" / "b", note="another")
    groups = _groups(tmp_path)
    assert len(groups) == 2
    assert len(mean_pose_rows(groups, "root_relative")) == 100
    assert mean_pose_rows(groups, "nothing") == []
    layers = pck_chart(groups, "root_relative").to_dict()["layer"]
    assert [layer for layer in layers if layer["encoding"].get("strokeDash")]
    signs = [layer["encoding"]["shape"]["scale"]["range"] for layer in layers if "shape" in layer["encoding"]]
    assert len(set(signs[0])) == 2


def test_a_joint_without_truth_has_no_number(tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "a", error_mm=12.0)
    (group,) = _groups(tmp_path)
    errors = group.joints_mm("absolute")
    assert errors is not None
    rows = joint_rows(errors, group.report.mean_pose_joints_mm["absolute"])
    assert [row["joint"] for row in rows] == [name.replace("_", " ") for name in JOINT_NAMES]
    assert [(row["error"], row["floor"]) for row in rows] == [(None, None)] + [(12.0, 24.0)] * 20
    assert all(0 <= row["x"] <= 1 and 0 <= row["y"] <= 1 for row in rows)
    drawn = hand_chart(errors, None, 12.0).to_dict()
    assert drawn["layer"][2]["encoding"]["text"]["field"] == "error"


def test_other_methods_predictions_are_no_seeds_of_each_other_and_meshes_have_columns(tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "ours")
    assert "F@5" not in _table(tmp_path, _groups(tmp_path))[0]
    for name in ("theirs", "others"):
        path = write_pose_report(tmp_path / "runs" / name, error_mm=10.0) / "pose.json"
        content = json.loads(path.read_text())
        content["facts"] = {"run": "pred"}
        content["metrics"]["mesh_procrustes_f_5"] = 0.7
        path.write_text(json.dumps(content))
    rows = {row["Evaluation"]: row for row in _table(tmp_path, _groups(tmp_path))}
    assert {"ours", "theirs", "others"} < set(rows)
    assert [rows[name]["F@5"] for name in ("ours", "theirs", "others")] == [None, 0.7, 0.7]


def test_the_best_are_named_by_column() -> None:
    columns: dict[str, tuple[Numbers, bool]] = {
        "Error (mm)": ([1.0, 2.0, None], False),
        "AUC": ([0.1, 0.9, 0.9], True),
        "Same": ([1.0, 1.0, 1.0], True),
        "Alone": ([None, None, 3.0], True),
    }
    assert best_column(columns, 3)["Best"].to_pylist() == ["★ Error", "★ AUC", "★ AUC"]


def test_errors_in_3d_have_columns_where_any_evaluation_has_them(tmp_path: Path) -> None:
    write_retrieval(tmp_path / "runs" / "first")
    store = RunStore(Home(tmp_path))
    assert "Mined 3D" not in retrieval_table(retrieval_reports(store.places(), store.objects)).column_names
    means = {"aligned_mm": 29.4, "xy_mm": 15.7, "depth_mm": 22.2}
    write_retrieval(tmp_path / "runs" / "second", pairs_3d={"mined": means, "random": {"aligned_mm": 110.0}})
    store = RunStore(Home(tmp_path))
    rows = retrieval_table(retrieval_reports(store.places(), store.objects)).to_pylist()
    assert [row["Mined 3D"] for row in rows] == [None, 29.4]
    assert [row["of it in depth"] for row in rows] == [None, 22.2]
    assert "Oracle 3D" not in rows[0]


def test_retrieval_is_a_row_for_each_evaluation(tmp_path: Path) -> None:
    write_retrieval(tmp_path / "runs" / "first")
    write_retrieval(tmp_path / "runs" / "second", recall_at_1=0.95, mined_pose_distance=None)
    (write_retrieval(tmp_path / "runs" / "third") / "retrieval.json").write_text("{")
    store = RunStore(Home(tmp_path))
    rows = retrieval_table(retrieval_reports(store.places(), store.objects)).to_pylist()
    assert [row["Evaluation"] for row in rows] == ["first", "second"]
    assert [row["Best"] for row in rows] == ["", "★ Recall@1"]
    assert [row["Mined distance"] for row in rows] == [0.1, None]
    assert (rows[0]["Precision@1"], rows[0]["Hands"]) == (None, 1000)
    write_retrieval(tmp_path / "runs" / "second", sample=10**400)
    rows = retrieval_table(retrieval_reports(store.places(), store.objects)).to_pylist()
    assert rows[1]["Asked for"] is None
    assert "Best" not in rows[0]  # they are of different numbers of hands


def test_figures_are_those_that_are_there(tmp_path: Path) -> None:
    path = write_retrieval(tmp_path / "runs" / "first")
    assert retrieval_figures(path) == {}
    (path / "figures").mkdir()
    (path / "figures" / "pose_distances.png").touch()
    assert list(retrieval_figures(path)) == ["Joint distances of mined and of random pairs"]


def test_an_experiment_has_its_tables(tmp_path: Path) -> None:
    write_experiment(tmp_path / "experiments" / "main")
    (path,) = experiment_files(Home(tmp_path)).values()
    (table,) = read_results(path).tables
    texts = experiment_table(table, escape).to_pydict()
    columns = [escape(f"share of the labels {share}: MPJPE mm, Procrustes") for share in ("0.1", "1")]
    assert list(texts) == ["method", *columns]
    first, second, third = texts.values()
    assert first == ["simhand", r"peclr\|x", "mean pose"]
    assert second == ["★ **13.00 ± 1.41**", "missing", "30.00"]
    assert third == ["9.00 (1 of 2 seeds)", "failed", "30.00"]


def test_its_chart_has_a_point_for_each_mean_and_each_seed(tmp_path: Path) -> None:
    (table,) = read_results(write_experiment(tmp_path / "main") / "results.json").tables
    means, seeds, floors = cell_rows(table, METRIC)
    points = [(row["row"], row["column"], row["mean"]) for row in means]
    assert points == [("simhand", "0.1", 13.0), ("simhand", "1", 9.0)]
    assert [row["value"] for row in seeds] == [12.0, 14.0, 9.0]
    assert floors == [30.0]
    assert len(experiment_chart(table, METRIC).to_dict()["layer"]) == 5


def test_without_columns_the_rows_lie_below_each_other(tmp_path: Path) -> None:
    (table,) = read_results(write_experiment(tmp_path / "main", columns=False) / "results.json").tables
    means, _, _ = cell_rows(table, METRIC)
    assert [row["column"] for row in means] == ["simhand"]
    drawn = experiment_chart(table, METRIC).to_dict()
    assert drawn["layer"][1]["encoding"]["y"]["scale"]["domain"] == ["simhand", "peclr|x"]


def test_tables_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "main") / "results.json"
    content = json.loads(path.read_text())
    content["tables"][0]["cells"][0][0]["values"]["0"] = 10**400
    wrong = '{"format": 1, "title": 3, "runs": [1]}'
    for text in ("", "{}", '{"format": 2}', wrong, json.dumps(content)):
        path.write_text(text)
        assert FileCache(read_results)(path) is None


def test_steps_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    steps = tmp_path / "experiments" / "steps"
    for name, file in (("a", "done"), ("b", "failed"), ("c", None), ("d", "done")):
        (steps / name).mkdir(parents=True)
        (steps / name / "step.json").write_text(json.dumps({"title": name}))
        if file:
            (steps / name / file).touch()
    assert step_counts(Home(tmp_path)) == {"done": 2, "failed": 1, "begun": 1}
    assert experiment_files(Home(tmp_path)) == {}
