import json
from pathlib import Path

import pytest

from apps.browser.training.page import format_duration, progress_line, run_table
from apps.browser.training.runs import RunRecord, RunStore, by_tail, owner_of
from handsim.home import Home
from tests.apps.browser.runs.some_runs import NOW, loss_lines, set_age, write_run


def _record(home: Path) -> RunRecord:
    (record,) = RunStore(Home(home)).records(NOW)
    return record


def test_a_run_that_still_writes_is_going(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(5), age_s=20)
    record = _record(tmp_path)
    assert (record.state, record.steps_done, record.steps) == ("running", 50, 100)
    assert record.share_done == 0.5
    assert record.left_s == pytest.approx(50 * 32 / 320)
    assert progress_line(record).startswith("▶ going · 50 of 100 steps · loss 1 · 320 images/s · waiting 25%")


def test_one_that_stopped_writing_has_stopped(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(5), age_s=130)
    assert _record(tmp_path).state == "stopped"


def test_slow_lines_are_waited_for_longer(tmp_path: Path) -> None:
    lines = [{"step": 10, "loss": 1.0, "images_per_s": 2.0}]  # 160 s a line
    run = write_run(tmp_path / "runs" / "first", lines, age_s=470)
    assert _record(tmp_path).state == "running"
    set_age(run, 490)
    assert _record(tmp_path).state == "stopped"


def test_the_first_line_may_take_minutes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "first", age_s=500)
    assert _record(tmp_path).state == "running"
    set_age(run, 700)
    assert _record(tmp_path).state == "stopped"


def test_one_that_did_all_its_steps_is_done(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(10), age_s=1)
    assert _record(tmp_path).state == "done"


def test_a_loss_that_was_no_number_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "first", loss_lines(5), age_s=1)
    (run / "diverged.json").write_text("{}")
    assert _record(tmp_path).state == "diverged"


@pytest.mark.parametrize(
    "facts", ["", "[]", "{", '{"config": 3}', '{"config": {"trainer": {"epochs": "x"}}}']
)
def test_facts_that_say_nothing_leave_it_open(tmp_path: Path, facts: str) -> None:
    run = write_run(tmp_path / "runs" / "first", loss_lines(5))
    (run / "facts.json").write_text(facts)
    record = _record(tmp_path)
    assert record.steps is None
    assert record.share_done is None
    assert "50 steps" in progress_line(record)


def test_numbers_that_are_too_large_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(5), steps=10**400, seed=2**70)
    record = _record(tmp_path)
    assert (record.seed, record.steps, record.left_s) == (None, None, None)
    assert run_table([record])["Seed"].to_pylist() == [None]


def test_evaluations_and_other_folders_are_no_trainings(tmp_path: Path) -> None:
    (tmp_path / "runs" / "retrieval").mkdir(parents=True)
    (tmp_path / "runs" / "retrieval" / "retrieval.json").write_text("{}")
    assert RunStore(Home(tmp_path)).records() == []
    assert RunStore(Home(tmp_path / "nowhere")).records() == []


def test_a_trunk_that_another_run_trained_is_called_by_its_name(tmp_path: Path) -> None:
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
    assert [row["State"] for row in rows] == ["▶ going", "✓ done"]
    assert [row["Done"] for row in rows] == [0.0, 1.0]
    assert rows[1]["Loss"] == pytest.approx(0.5)
    assert rows[1]["Last change"] == "2 min ago"


def test_durations_are_told_in_the_largest_unit() -> None:
    assert [format_duration(seconds) for seconds in (5, 300, 5400, 500_000)] == [
        "5 s",
        "5 min",
        "1.5 h",
        "6 days",
    ]
