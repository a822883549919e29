"""``handsim evaluate pose``: files, figures, and the table in the terminal."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.cli.evaluate import choose_samples, format_pose_evaluation
from apps.cli.figures import PoseSample, plot_pose_samples
from handsim.synthetic import SyntheticConfig
from tests.apps.commands import Capture, run_ok, run_refused
from tests.training.builders import small_config, untrained_checkpoint
from tests.training.drawn_hands import DrawnHands
from tests.training.evaluation.builders import random_predictions, random_truth
from training.datasets.layouts import write_freihand
from training.datasets.record import HandLabel
from training.datasets.synthetic import write_synthetic
from training.evaluation.evaluate import evaluate_predictions, read_true_hands
from training.evaluation.report import ALIGNMENT_TITLES, Evaluation, hand_errors_mm

WORLD = SyntheticConfig(videos=6, hands_per_video=2, seed=3, size_px=64)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the run ``first`` and a set that it could have learned from."""
    path = tmp_path_factory.mktemp("home")
    write_synthetic(path / "synthetic", WORLD)
    checkpoint = path / "runs" / "first" / "checkpoints" / "best.ckpt"
    untrained_checkpoint(checkpoint, small_config(root=path / "synthetic"))
    return path


@pytest.mark.slow
def test_a_run_is_evaluated_and_its_predictions_are_scored_again(home: Path, capsys: Capture) -> None:
    printed = run_ok(capsys, "evaluate", "pose", "first", "--home", home)
    folder = home / "runs" / "first-test"
    report = json.loads((folder / "pose.json").read_text())
    assert "first (best.ckpt, trunk from random weights) on 2 hands of synthetic test" in printed
    assert f"2D joints: {report['metrics']['keypoints_2d_mean_px']:.2f} px from the truth" in printed
    assert "mean pose: of 8 hands of train" in printed
    assert f"written to {folder}" in printed
    for name in ("pck", "joint_errors", "samples"):
        with Image.open(folder / "figures" / f"{name}.png") as figure:
            assert np.asarray(figure.convert("L")).std() > 10
    file = folder / "predictions.parquet"
    again = ("evaluate", "pose", "first", "--home", home, "--predictions", file, "--name", "again")
    assert run_ok(capsys, *again).replace("again", "first-test") == printed


@pytest.mark.slow
def test_freihand_without_truth_gets_its_file_and_a_hint(home: Path, tmp_path: Path, capsys: Capture) -> None:
    write_freihand(tmp_path / "freihand", WORLD)
    (tmp_path / "freihand" / "evaluation_xyz.json").unlink()
    pred_json = tmp_path / "pred.json"
    checkpoint = home / "runs" / "first" / "checkpoints" / "best.ckpt"
    where = ("--dataset", "freihand", "--root", tmp_path / "freihand", "--home", home)
    words = ("evaluate", "pose", checkpoint, *where, "--pred-json", pred_json, "--workers", "0")
    printed = run_ok(capsys, *words)
    assert "so nothing was measured; put evaluation_xyz.json, of FreiHAND_pub_v2_eval.zip, beside" in printed
    assert f"{pred_json}: joints in FreiHAND's order, and meshes that are all zero" in printed
    assert [len(part) for part in json.loads(pred_json.read_text())] == [4, 4]
    folder = home / "runs" / "first-freihand-eval"
    assert (folder / "predictions.parquet").exists()
    assert not (folder / "figures").exists()


@pytest.mark.slow
def test_agreement_with_mediapipe_is_told_with_intervals_and_not_as_an_error(
    home: Path, capsys: Capture, model_path: Path
) -> None:
    run_ok(capsys, "dataset", "to-pool", "synthetic", home / "synthetic", "--home", home)
    printed = run_ok(capsys, "evaluate", "agreement", "first", "--home", home, "--model", model_path)
    report = json.loads((home / "runs" / "first-agreement" / "agreement.json").read_text())
    assert f"first and MediaPipe on {report['hands']} hands of {report['videos']} people or videos" in printed
    assert "agreement of two estimates, not an error" in printed
    low, high = report["estimator"]["root_scale"]["interval_mm"]
    assert f"{report['estimator']['root_scale']['mean_mm']:.1f} [{low:.1f}, {high:.1f}]" in printed
    refusal = run_refused(capsys, "evaluate", "agreement", "first", "--home", home, "--sample", "0")
    assert "--sample is 0; it is at least 1" in refusal


def test_another_methods_file_is_scored_with_its_meshes(tmp_path: Path, capsys: Capture) -> None:
    root = tmp_path / "freihand"
    write_freihand(root, WORLD)
    joints = np.array(json.loads((root / "evaluation_xyz.json").read_text()))
    (root / "evaluation_verts.json").write_text(json.dumps((joints + 0.01).tolist()))
    pred_json = tmp_path / "their pred.json"
    pred_json.write_text(json.dumps([(joints + 0.02).tolist(), joints.tolist()]))
    words = ("--predictions", pred_json, "--dataset", "freihand", "--root", root, "--home", tmp_path)
    printed = run_ok(capsys, "evaluate", "pose", *words)
    assert "predictions of their pred on 4 hands of freihand eval" in printed
    lines = [re.split("  +", line) for line in printed.splitlines()]
    assert ["absolute, in the camera *", "34.64", "34.64"] in [line[:3] for line in lines]
    assert ["mesh", "MPVPE mm", "AUC 0-50", "F@5 mm", "F@15 mm"] in lines
    assert ["absolute, in the camera *", "17.32", "0.652"] in [line[:3] for line in lines]
    assert "meshes were not measured" not in printed
    folder = tmp_path / "runs" / "their_pred-freihand-eval"
    assert json.loads((folder / "pose.json").read_text())["metrics"]["mesh_procrustes_f_5"] == 1
    assert (folder / "figures" / "samples.png").exists()
    (root / "evaluation_verts.json").unlink()
    assert "meshes were not measured: evaluation_verts.json, of" in run_ok(capsys, "evaluate", "pose", *words)


def test_bad_input_is_one_line(home: Path, tmp_path: Path, capsys: Capture) -> None:
    for words, expected in (
        (["nobody"], "no run of that name"),
        (["first", "--last"], "run first has no last.ckpt (it has best.ckpt)"),
        (["first", "--root", tmp_path / "gone"], "is not a folder"),
        (["first", "--name", "a/b"], "has other characters than letters, digits"),
        (["first", "--batch-size", "0"], "it is at least 1"),
        ([], "name an estimator, a run or a checkpoint, or give a file to --predictions"),
        (["first", "--predictions", "a.json"], "read as FreiHAND's pred.json, and this is synthetic"),
    ):
        assert expected in run_refused(capsys, "evaluate", "pose", *words, "--home", home), words


def evaluated(dataset: DrawnHands) -> Evaluation:
    predictions, truth = random_predictions(len(dataset)), read_true_hands(dataset)
    return evaluate_predictions(dataset, predictions, truth, None, settings={}, metadata={})


def test_drawn_hands_are_the_best_the_median_and_the_worst_and_none_twice() -> None:
    chosen = choose_samples(evaluated(DrawnHands(12, "test", invalid={4: [0]})), 3)
    assert list(chosen) == ["best", "median", "worst"]
    errors = {row: error for rows in chosen.values() for row, error in rows}
    assert len(errors) == 9
    assert 4 not in errors  # its wrist is not annotated
    best, median, worst = ([error for _, error in rows] for rows in chosen.values())
    assert best == sorted(best)
    assert worst == sorted(worst, reverse=True)
    assert max(best) <= min(median) <= max(median) <= min(worst)
    few = choose_samples(evaluated(DrawnHands(2, "test")))
    assert sorted(row for rows in few.values() for row, _ in rows) == [0, 1]


class _WithAStranger(DrawnHands):
    """All hands are of one person, but for that of one row."""

    stranger = -1

    def label(self, index: int) -> HandLabel:
        label = super().label(index)
        return replace(label, subject="stranger") if index == self.stranger else label


@pytest.mark.parametrize(("hands", "ranks"), [(10, [0, 1]), (40, [0, 2])])
def test_people_differ_only_among_the_best(hands: int, ranks: list[int]) -> None:
    """The stranger's hand is the third: drawn where that is in the best tenth."""
    dataset = _WithAStranger(hands, "test")
    evaluation = evaluated(dataset)
    order = np.argsort(hand_errors_mm(evaluation.predicted, evaluation.true)).tolist()
    dataset.stranger = order[2]
    assert [row for row, _ in choose_samples(evaluation, 2)["best"]] == [order[rank] for rank in ranks]


def test_joints_that_are_not_annotated_are_not_drawn() -> None:
    """A hand of which only the wrist and one finger are known: as many grey bones as that, in two views."""

    def grey_bones(valid: list[int]) -> int:
        mask = np.isin(np.arange(21), valid)
        true = np.arange(63).reshape(21, 3) * 1.0  # some datasets write anything where a joint is not known
        middle, black = np.full((21, 2), 0.5), np.zeros((8, 8, 3), np.uint8)
        sample = PoseSample("x", "x", black, middle, middle, np.zeros((21, 3)), true, mask)
        figure = plot_pose_samples([("best", [sample])])
        return sum(line.get_color() == "#9aa0ac" for axes in figure.axes for line in axes.lines)

    assert [grey_bones([0]), grey_bones([0, 1, 2, 3, 4]), grey_bones([*range(21)])] == [0, 8, 40]


def test_the_mean_pose_stands_beside_every_result_and_official_ones_are_marked() -> None:
    metadata = {
        **{"run": "first", "checkpoint": "/runs/first/checkpoints/best.ckpt", "init": "random weights"},
        **{"hands": 6, "mean_pose": "of 8 hands of train"},
    }
    dataset = DrawnHands(6, "test")
    dataset.name = "freihand"
    pose_mm = np.random.default_rng(3).normal(0, 40, (21, 3)) + np.array([0, 0, 600])
    evaluation = evaluate_predictions(dataset, random_predictions(6), random_truth(6), pose_mm, {}, metadata)
    assert evaluation.scores is not None
    assert evaluation.mean_pose is not None
    found, floor = evaluation.scores.metrics, evaluation.mean_pose.metrics
    lines = format_pose_evaluation(evaluation).splitlines()
    assert "mean pose: of 8 hands of train" in lines
    for name, title in ALIGNMENT_TITLES.items():
        rows = map(re.compile(rf"{title}(?: \*)?  +([0-9. ]+)").fullmatch, lines)
        (numbers,) = [row[1].split() for row in rows if row]
        metric_names = ("mpjpe_mm", "median_mm", "auc_0_50", "auc_20_50")
        expected = [found[f"{name}_{number}"] for number in metric_names]
        expected += [floor[f"{name}_{number}"] for number in ("mpjpe_mm", "auc_0_50")]
        assert numbers == [
            f"{number:.{digits}f}" for number, digits in zip(expected, (2, 2, 3, 3, 2, 3), strict=True)
        ], name
    marked = [line.split(" *")[0] for line in lines if " * " in line]
    assert marked == ["Procrustes", "absolute, in the camera"]
