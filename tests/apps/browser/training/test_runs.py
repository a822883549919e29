"""Runs of a home as their files describe them, also files that are damaged or still being written."""

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

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
    parse_line,
    read_latest,
    read_object,
)
from handsim.home import Home
from tests.apps.browser.training.run_files import NOW, loss_lines, set_age, write_run


def _record(home: Path) -> RunRecord:
    (record,) = RunStore(Home(home)).records(NOW)
    return record


def test_a_run_that_still_writes_is_going(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "first", loss_lines(5), age_s=20)
    record = _record(tmp_path)
    assert (record.state, record.steps_done, record.steps) == ("running", 50, 100)
    assert record.share_done == 0.5
    assert record.left_s == pytest.approx(50 * 32 / 320)
    assert progress_line(record).startswith(
        "▶ running · 50 of 100 steps · loss 1 · 320 images/s · waiting 25%"
    )


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
    assert [row["State"] for row in rows] == ["▶ running", "✓ done"]
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


def _line(step: int, **numbers: float | None) -> str:
    return json.dumps({"step": step, **numbers}) + "\n"


def _values(metrics: Metrics, name: str = "loss") -> list[float]:
    values: list[float] = metrics.points()[name][1].tolist()
    return values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_what_is_added_is_read_on(file: Path) -> None:
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


def test_half_a_line_is_waited_for(file: Path) -> None:
    metrics = Metrics(file)
    whole = _line(1, loss=3.0) + _line(2, loss=2.0)
    for cut in range(len(whole) + 1):
        file.write_text(whole[:cut])
        metrics.advance()
        assert _count(metrics) == whole[:cut].count("\n")


def _count(metrics: Metrics) -> int:
    return len(metrics.points()["loss"][0]) if metrics.points() else 0


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
        _line(5, loss=1.0),
    ]
    file.write_bytes("".join(lines).encode("latin-1"))
    metrics = Metrics(file)
    metrics.advance()
    assert set(metrics.points()) == {"loss"}
    assert _values(metrics) == [3.0, 1.0]


def test_a_resumed_run_that_dropped_lines_is_read_anew(file: Path) -> None:
    metrics = Metrics(file)
    file.write_text("".join(_line(step, loss=float(step)) for step in range(20)))
    metrics.advance()
    # Written anew, and by now longer than before.
    file.write_text("".join(_line(step, loss=100.0 + step) for step in range(30)))
    metrics.advance()
    assert _values(metrics) == [100.0 + step for step in range(30)]


def test_of_a_run_that_is_gone_stays_what_was_read(file: Path) -> None:
    metrics = Metrics(file)
    file.write_text(_line(1, loss=3.0))
    metrics.advance()
    file.unlink()
    metrics.advance()
    assert _values(metrics) == [3.0]
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


def test_a_line_without_end_does_not_hold_it_up(file: Path) -> None:
    file.write_text("x" * (3 * 2**20) + "\n" + _line(7, loss=3.0))
    metrics = Metrics(file)
    metrics.advance()
    assert _values(metrics) == [3.0]


def test_the_latest_numbers_are_those_of_the_last_lines(file: Path) -> None:
    many = "".join(_line(step, loss=float(step)) for step in range(5000))
    file.write_text(many + _line(5000, val_mpjpe_mm=12.5) + '{"step": 50')
    assert read_latest(file) == {"step": 5000, "loss": 4999.0, "val_mpjpe_mm": 12.5}


def test_a_line_tells_numbers_alone() -> None:
    assert parse_line(b'{"step": 2, "a": 1, "b": null, "c": [1]}') == {"step": 2.0, "a": 1.0}
    assert parse_line(b"") is None
    assert all(parse_line(line) is None for line in (b"3", b'{"a": 1}', b"{"))


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    reads: list[Path] = []

    def read(path: Path) -> str:
        reads.append(path)
        return path.read_text()

    memory, file = FileCache(read), tmp_path / "file"
    assert memory(file) is None
    file.write_text("one")
    assert [memory(file), memory(file)] == ["one", "one"]
    assert len(reads) == 1
    file.write_text("two")
    os.utime(file, (1, 1))
    assert memory(file) == "two"
    file.unlink()
    assert memory(file) is None


def test_no_more_are_kept_than_fit(tmp_path: Path) -> None:
    memory = FileCache(Path.read_text, most=3)
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number))
        assert memory(tmp_path / str(number)) == str(number)
    assert len(memory) == 3


def test_what_is_no_object_is_none(tmp_path: Path) -> None:
    memory = FileCache(read_object)
    for number, content in enumerate(["[1]", "{", "3", "[" * 100_000, '{"a": 1}']):
        (tmp_path / str(number)).write_text(content)
    assert [memory(tmp_path / str(number)) for number in range(5)] == [None, None, None, None, {"a": 1}]


def test_a_number_that_is_too_large_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1" + "0" * 400)
    assert FileCache(lambda path: float(int(path.read_text())))(tmp_path / "file") is None


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
