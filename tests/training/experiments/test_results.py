"""Results of runs, read from their folders, and written to and read from ``results.json``."""

import json
from pathlib import Path

import pytest

from handsim.errors import HandsimError
from tests.training.experiments.contents import SHORT, experiment_of, runs_of
from training.experiments.config import Experiment
from training.experiments.plan import Run
from training.experiments.steps import Step, StepStore
from training.experiments.tables import RunResult, collect_results, step_state


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


def _results(experiment: Experiment, runs: list[Run], store: StepStore) -> list[RunResult]:
    return collect_results(experiment, runs, store).runs


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
    done, missing = _results(experiment, runs, store)
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
    assert [result.state for result in _results(experiment, runs, store)] == ["missing", "failed"]
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
    with pytest.raises(
        HandsimError, match=r"pose\.json cannot be read \(.*\); remove .*evaluate-\w+ and run"
    ):
        collect_results(experiment, runs, store)
