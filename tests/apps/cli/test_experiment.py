"""``handsim experiment run|table``: plans, tables of what is there, settings that are remembered."""

import json
from pathlib import Path

import pytest
import yaml

from apps.cli import main
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.apps.commands import run_ok, run_refused
from tests.training.experiments.builders import SHORT, runs_of
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


def _finish(home: Path, *, but: int | None = None) -> None:
    """Have all evaluations done, but for one run's, with numbers that are made up."""
    store = StepStore(home / "experiments" / "steps")
    for number, run in enumerate(runs_of(CONTENT)):
        if number == but:
            continue
        error = {"scratch": 30.0, "simhand": 20.0}[run.point.method] / run.point.label_fraction + run.seed
        numbers = {ERROR: error, AUC: 1 / error}
        store.folder(run.evaluation).report.parent.mkdir(parents=True, exist_ok=True)
        store.folder(run.evaluation).report.write_text(
            json.dumps({"metrics": numbers, "mean_pose": {ERROR: 400.0, AUC: 0.0}})
        )
        store.folder(run.evaluation).finish(1.0, at_once=True)


def test_a_plan_does_nothing(file: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run_ok(
        capsys, "experiment", "run", file, "--dry-run", "--axes.seeds", "[1]", "--home", home
    ).splitlines()
    # A pool, its index, a dataset, a start, a pre-training; two methods at two shares, tuned and judged.
    assert plan[-1] == "13 of 13 steps are to be done, 1 at a time"
    assert plan[1].split()[:4] == ["missing", plan[1].split()[1], "dataset", "studio"]
    assert not home.exists()


def test_tables_and_figures(file: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _finish(home)
    text = run_ok(capsys, "experiment", "table", file, "--home", home)
    place = home / "experiments" / "small"
    assert text.startswith((place / "tables.md").read_text())
    assert "over seeds 1, 2; **best** of those with all seeds. 8 of 8 runs are done." in text
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
    figures = {path.stem for path in (place / "figures").glob("*.png")}
    assert figures == {f"main-{ERROR}", f"main-{AUC}", f"labels-{ERROR}", f"shares-{ERROR}"}
    results = json.loads((place / "results.json").read_text())
    assert results["axes"]["label_fraction"] == ["0.1", "1"]
    assert [run["state"] for run in results["runs"]] == ["done"] * 8
    assert results["tables"][0]["cells"][1][0]["values"] == {"1": 201.0, "2": 202.0}


def test_what_is_missing_is_told(file: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _finish(home, but=2)  # SiMHand with a tenth of the labels, seed 1
    text = run_ok(capsys, "experiment", "table", file, "--home", home)
    assert "7 of 8 runs are done." in text
    assert "\n| simhand | 202.00 (1 of 2 seeds) | 0.005 (1 of 2 seeds) |\n" in text
    text = run_ok(capsys, "experiment", "table", file, "--axes.seeds", "[5]", "--home", home)
    assert "\n| simhand | missing | missing |\n" in text


def test_settings_are_remembered_by_runs(file: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed, store = ("--axes.seeds", "[1]"), StepStore(home / "experiments" / "steps")
    _finish(home)
    run_ok(capsys, "experiment", "table", file, *seed, "--home", home)
    assert "over seeds 1, 2;" in run_ok(capsys, "experiment", "table", file, "--home", home)
    for step in in_order(run.evaluation for run in runs_of(CONTENT)):
        store.folder(step).path.mkdir(exist_ok=True)
        store.folder(step).finish(1.0, at_once=True)
    answer = run_ok(capsys, "experiment", "run", file, *seed, "--home", home)
    assert answer.startswith("13 steps, 13 of them done already\ntables and figures are in ")
    assert "over seeds 1;" in run_ok(capsys, "experiment", "table", file, "--home", home)
    assert "over seeds 2;" in run_ok(
        capsys, "experiment", "table", file, "--axes.seeds", "[2]", "--home", home
    )
    (home / "experiments" / "small" / "settings.yaml").write_text("- 1")
    assert "settings.yaml holds no settings; remove it" in run_refused(
        capsys, "experiment", "table", file, "--home", home
    )


def test_what_fails_is_told(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The home's own pool, of which there is too little."""
    synthesise_pool(home / "pool", SyntheticConfig(videos=1, hands_per_video=2, size_px=32))
    (tmp_path / "set").mkdir()
    content = {
        **SHORT,
        "data": {"pools": {"some": {"hands": 3}}, "datasets": {"d": {"root": str(tmp_path / "set")}}},
        "axes": {"methods": {"start": {"init": "start"}}, "seeds": [1]},
    }
    file = tmp_path / "little.yaml"
    file.write_text(yaml.safe_dump(content))
    assert main(["experiment", "run", str(file), "--jobs", "1", "--home", str(home)]) == 1
    output = capsys.readouterr().out
    assert "pool some: failed, handsim: 3 hands cannot be taken of " in output
    assert "\nfailed: pool some; its log is " in output
    assert "\n3 more steps need what failed, and were not done\n" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "synthetic_mian"), "there is no experiment synthetic_mian; did you mean synthetic_main?"),
        (("run", "main"), "data.datasets.freihand.root is not set; give its place with --data.datasets."),
        (("run", "synthetic_tiny", "--jobs", "0"), "--jobs is 0; it is at least 1"),
        (("table", "synthetic_tiny", "--axes.seed", "[1]"), "no setting axes.seed; did you mean axes.seeds?"),
        (
            ("table", "synthetic_tiny", "axes"),
            "axes is not a setting; settings are given as --its.name VALUE",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: tuple[str, ...], message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in run_refused(capsys, "experiment", *words, "--home", home)
    assert not home.exists()


def test_an_experiment_is_not_called_as_the_folder_of_the_steps(
    file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = file.rename(file.with_name("steps.yaml"))
    assert "steps.yaml would be mixed up with the folder of the steps" in run_refused(
        capsys, "experiment", "table", other, "--home", home
    )
