"""``handsim experiment``: plans, tables and figures, settings that are remembered.

A run with a step that fails is in tests/apps/test_child_processes.py.
"""

import json
from pathlib import Path

import pytest
import yaml

from tests.apps.commands import Capture, run_ok, run_refused
from tests.training.experiments.builders import SHORT, Content, runs_of
from training.experiments.steps import StepStore, in_order

ERROR, AUC = "root_relative_mpjpe_mm", "root_scale_auc_0_50"
CONTENT = {
    **SHORT,
    "axes": {**SHORT["axes"], "seeds": [1, 2], "label_fractions": {0.1: {}, 1.0: {}}},
    "tables": {
        "main": {"title": "Few labels", "where": {"label_fraction": 0.1}, "metrics": [ERROR, AUC]},
        "labels": {"title": "How many", "columns": "label_fraction", "metrics": [ERROR]},
        "shares": {"rows": "label_fraction", "where": {"method": "simhand"}, "metrics": [ERROR]},
    },
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
    return path


def finish_steps(home: Path, content: Content) -> None:
    """Have all steps done; the numbers of evaluations are made up."""
    store = StepStore(home / "experiments" / "steps")
    for run in runs_of(content):
        error = {"scratch": 30.0, "simhand": 20.0}[run.point.method] / run.point.label_fraction + run.seed
        numbers = {ERROR: error, AUC: 1 / error}
        for folder in map(store.folder, in_order([run.evaluation])):
            folder.report.parent.mkdir(parents=True, exist_ok=True)
            folder.report.write_text(json.dumps({"metrics": numbers, "mean_pose": {ERROR: 400.0, AUC: 0.0}}))
            folder.finish(1.0, at_once=True)


def test_a_plan_does_nothing(file: Path, home: Path, capsys: Capture) -> None:
    words = ("run", file, "--dry-run", "--axes.seeds", "[1]", "--home", home)
    plan = run_ok(capsys, "experiment", *words).splitlines()
    # A pool, its index, a dataset, a start, a pre-training; two methods at two shares, tuned and judged.
    assert plan[-1] == "13 of 13 steps are to be done, 1 at a time"
    assert plan[1].split()[:4] == ["missing", plan[1].split()[1], "dataset", "studio"]
    assert not home.exists()


@pytest.mark.slow
def test_tables_and_figures_are_of_the_runs_that_are_done(file: Path, home: Path, capsys: Capture) -> None:
    finish_steps(home, CONTENT)
    text = run_ok(capsys, "experiment", "table", file, "--home", home)
    folder = home / "experiments" / "small"
    assert text.startswith((folder / "tables.md").read_text())
    assert "Seeds 1, 2. Means over the seeds, in brackets their 95% intervals" in text
    for line in (
        "## Few labels",
        "| scratch | 301.50 ± 0.71 | 0.003 ± 0.000 |",
        "| simhand | **201.50 ± 0.71** | **0.005 ± 0.000** |",
        "| *mean pose* | 400.00 | 0.000 |",
        "(share of the labels 0.1)",
        "| simhand | **201.50 ± 0.71** | **21.50 ± 0.71** |",
        "| 1 | **21.50 ± 0.71** |",
    ):
        assert f"\n{line}\n" in text
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert figures == {f"main-{ERROR}", f"main-{AUC}", f"labels-{ERROR}", f"shares-{ERROR}"}
    results = json.loads((folder / "results.json").read_text())
    assert results["axes"]["label_fraction"] == ["0.1", "1"]
    assert [run["state"] for run in results["runs"]] == ["done"] * 8
    text = run_ok(capsys, "experiment", "table", file, "--axes.seeds", "[5]", "--home", home)
    assert "\n| simhand | missing | missing |\n" in text


def test_settings_are_remembered_by_runs(tmp_path: Path, home: Path, capsys: Capture) -> None:
    """And only by those: what a table is asked for is not."""
    file = tmp_path / "short.yaml"
    file.write_text(yaml.safe_dump(SHORT, sort_keys=False))
    finish_steps(home, SHORT)
    settings = home / "experiments" / "short" / "settings.yaml"
    run_ok(capsys, "experiment", "table", file, "--axes.seeds", "[1]", "--home", home)
    assert not settings.exists()
    answer = run_ok(capsys, "experiment", "run", file, "--axes.seeds", "[1]", "--home", home)
    assert answer.startswith("9 steps, 9 of them done already\ntables and figures are in ")
    assert yaml.safe_load(settings.read_text()) == {"axes.seeds": [1]}
    settings.write_text("axes.seeds: [7, 8]")
    assert "Seeds 7, 8. Means over the seeds" in run_ok(capsys, "experiment", "table", file, "--home", home)
    settings.write_text("- 1")
    refusal = run_refused(capsys, "experiment", "table", file, "--home", home)
    assert "settings.yaml holds no settings; remove it" in refusal


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "synthetic_mian"), "there is no experiment synthetic_mian; did you mean synthetic_main?"),
        (("run", "main"), "data.datasets.freihand.root is not set; give its place with --data.datasets."),
        (("run", "synthetic_tiny", "--jobs", "0"), "--jobs is 0; it is at least 1"),
        (("table", "synthetic_tiny", "--axes.seed", "[1]"), "no setting axes.seed; did you mean axes.seeds?"),
        (("table", "synthetic_tiny", "axes"), "axes is not a setting; settings are given as --its.name"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], message: str, home: Path, capsys: Capture) -> None:
    assert message in run_refused(capsys, "experiment", *words, "--home", home)
    assert not home.exists()


def test_an_experiment_is_not_called_as_the_folder_of_the_steps(
    file: Path, home: Path, capsys: Capture
) -> None:
    words = ("table", file.rename(file.with_name("steps.yaml")), "--home", home)
    refusal = run_refused(capsys, "experiment", *words)
    assert "steps.yaml would be mixed up with the folder of the steps" in refusal
