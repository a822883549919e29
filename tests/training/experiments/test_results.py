"""What came of runs, read from their folders."""

import json
from pathlib import Path

import pytest

from handsim.errors import HandsimError
from tests.training.experiments.contents import SHORT, runs_of
from training.experiments.plan import Run, Step
from training.experiments.run import report_file
from training.experiments.store import StepStore
from training.experiments.tables import read_results, state_of


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
        report_file(step, store).parent.mkdir(parents=True)
        report_file(step, store).write_text(report)
    folder.finish(1.0, at_once=True)


def test_numbers_of_a_run_that_is_done(runs: list[Run], store: StepStore) -> None:
    """As `handsim evaluate pose` writes them; what could not be measured is not there."""
    report = {"metrics": {"a_mm": 3, "b_mm": float("nan")}, "mean_pose": {"a_mm": 4.5}, "joints": {}}
    _finish(runs[0].evaluation, store, json.dumps(report))
    done, missing = read_results(runs, store)
    assert (done.point, done.seed, done.step) == (runs[0].point, 1, runs[0].evaluation.name)
    assert (done.state, done.metrics, done.mean_pose) == ("done", {"a_mm": 3.0}, {"a_mm": 4.5})
    assert (missing.state, missing.metrics, missing.mean_pose) == ("missing", {}, {})


def test_what_needs_a_step_that_failed_has_failed(runs: list[Run], store: StepStore) -> None:
    scratch, simhand = (run.evaluation for run in runs)
    trunk = simhand.inputs["finetune"].inputs["init"]
    index = trunk.inputs["index"]
    _finish(index.inputs["pool"], store)
    assert state_of(simhand, store) == "missing"
    store.folder(index).path.mkdir()
    store.folder(index).fail(2)
    assert [result.state for result in read_results(runs, store)] == ["missing", "failed"]
    assert state_of(index, store) == state_of(trunk, store) == "failed"
    assert state_of(trunk.inputs["init"], store) == "missing"
    assert state_of(index.inputs["pool"], store) == "done"
    assert state_of(scratch, store) == "missing"


@pytest.mark.parametrize(
    "report", [None, "", "{", "[]", '{"metrics": {}}', '{"metrics": {"a": "x"}, "mean_pose": {}}']
)
def test_a_damaged_report_is_told(runs: list[Run], store: StepStore, report: str | None) -> None:
    _finish(runs[0].evaluation, store, report)
    with pytest.raises(
        HandsimError, match=r"pose\.json cannot be read \(.*\); remove .*evaluate-\w+ and run"
    ):
        read_results(runs, store)
