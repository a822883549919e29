"""Jobs: real processes that report, end, fail, die and are stopped."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.browser.jobs import Job, JobReporter, Jobs, run_job
from handsim.errors import HandsimError
from tests.apps.browser.builders import wait_for_job


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path / "jobs")
    yield jobs
    jobs.stop("work")


def find(jobs: Jobs) -> Job:
    job = jobs.find("work")
    assert job is not None
    return job


def test_a_job_reports_until_it_ends_and_runs_once_at_a_time(jobs: Jobs) -> None:
    assert jobs.find("work") is None
    assert not jobs.folder.exists()  # looking changes nothing
    go = jobs.folder / "go"
    script = f"""
import os, sys, time
from pathlib import Path
from apps.browser.jobs import run_job

def work(reporter):
    reporter.begin_phase("counting")
    reporter.update(3, 7)
    print("counted")
    while not os.path.exists({str(go)!r}):
        time.sleep(0.02)
    return {{"session": os.getsid(0), "pid": os.getpid(), "input": sys.stdin.read()}}

sys.exit(run_job(Path({str(jobs.folder)!r}), "work", work))"""
    jobs.start("work", [sys.executable, "-c", script])
    running = wait_for_job(jobs, "work", lambda job: job.record.done == 3)
    assert (running.status, running.record.phase, running.record.total) == ("running", "counting", 7)
    with pytest.raises(HandsimError, match="work runs already; wait for it to end, or stop it"):
        jobs.start("work", ["true"])
    assert find(Jobs(jobs.folder)).status == "running"  # another browser sees it, too
    go.touch()
    ended = wait_for_job(jobs, "work")
    assert (ended.status, ended.record.error) == ("done", None)
    result = ended.record.result
    assert result["session"] == result["pid"] != os.getsid(0)  # Ctrl-C in our terminal does not reach it
    assert result["input"] == ""
    assert ended.record.finished_at is not None
    assert ended.record.finished_at >= ended.record.started_at
    assert jobs.read_log_end("work") == "counted"
    assert not jobs.stop("work")


def test_a_job_that_fails_reports_why(jobs: Jobs) -> None:
    jobs.folder.mkdir()

    def fail(reporter: JobReporter) -> dict[str, Any]:
        raise HandsimError("there is no room")

    assert run_job(jobs.folder, "work", fail) == 2
    assert (find(jobs).status, find(jobs).record.error) == ("failed", "there is no room")
    with pytest.raises(ZeroDivisionError):
        run_job(jobs.folder, "work", lambda reporter: {"share": 1 / 0})
    assert find(jobs).status == "failed"
    assert find(jobs).record.error == "an unexpected ZeroDivisionError; the traceback is in its log"


def test_a_job_that_dies_or_was_no_program_leaves_no_report_and_can_be_started_again(jobs: Jobs) -> None:
    with pytest.raises(FileNotFoundError):
        jobs.start("work", ["no-such-program"])
    assert find(jobs).status == "died"
    jobs.start("work", ["sh", "-c", "echo out of memory; kill -9 $$"])
    job = wait_for_job(jobs, "work")
    assert (job.status, job.record.error, job.record.result) == ("died", None, {})
    assert jobs.read_log_end("work") == "out of memory"
    jobs.start("work", ["true"])


@pytest.mark.parametrize("handler", ["", "trap '' TERM; "])
def test_a_stopped_job_ends_with_all_that_it_started(
    jobs: Jobs, handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.browser.jobs._TERMINATE_TIMEOUT_S", 0.2)
    jobs.start("work", ["sh", "-c", f"{handler}sleep 600 & echo $!; wait"])
    wait_for_job(jobs, "work", lambda job: jobs.read_log_end("work").isdigit())
    child = int(jobs.read_log_end("work"))
    assert jobs.stop("work")
    assert find(jobs).status == "stopped"
    assert find(jobs).record.finished_at is not None
    wait_for_job(jobs, "work", lambda job: not is_running(child))


def is_running(pid: int) -> bool:
    """Whether it works still; an orphan that has ended may remain as a zombie for long."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_half_written_records_are_removed_only_while_no_job_runs(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.browser.jobs._LOCK_TIMEOUT_S", 0.0)
    jobs.start("work", ["sleep", "600"])
    half_written = jobs.folder / ".work.json.123"
    half_written.touch()
    with pytest.raises(HandsimError, match="work runs already"):
        jobs.start("work", ["true"])
    assert half_written.exists()
    monkeypatch.undo()
    assert jobs.stop("work")
    jobs.start("work", ["true"])
    assert not half_written.exists()


def test_only_the_end_of_a_long_log_is_read(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs.read_log_end("work") == ""
    jobs.folder.mkdir()
    (jobs.folder / "work.log").write_text("a" * 10_000 + "b" * 3_996 + "ü\n")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("all of it was read"))
    assert jobs.read_log_end("work") == "a" + "b" * 3_996 + "ü"
    (jobs.folder / "work.log").write_text("short\n")
    assert jobs.read_log_end("work") == "short"


def test_a_damaged_record_is_no_job(jobs: Jobs) -> None:
    jobs.folder.mkdir()
    for text in ("", "{", "[]", '{"a": 1}', "\xff"):
        (jobs.folder / "work.json").write_bytes(text.encode("latin-1"))
        assert jobs.find("work") is None


def test_a_record_keeps_the_keys_of_those_on_disk(jobs: Jobs) -> None:
    content = {
        **{"started_at": "2026-01-02T03:04:05+00:00", "phase": "writing hands", "done": 7, "total": 9},
        **{"finished_at": "2026-01-02T03:05:05+00:00", "error": None, "stopped": False},
        "result": {"version": "v0002"},
    }
    jobs.folder.mkdir()
    (jobs.folder / "work.json").write_text(json.dumps(content))
    job = find(jobs)
    assert (job.status, job.record.done, job.record.result) == ("done", 7, {"version": "v0002"})
    assert run_job(jobs.folder, "work", lambda reporter: {}) == 0
    assert json.loads((jobs.folder / "work.json").read_text()).keys() == content.keys()


def test_few_progress_reports_are_written_but_the_last_and_each_new_phase_are(tmp_path: Path) -> None:
    reporter, jobs = JobReporter(tmp_path, "work"), Jobs(tmp_path)
    reporter.begin_phase("counting")
    for done in range(1000):
        reporter.update(done, 1000)
    assert 0 <= find(jobs).record.done < 999
    reporter.update(1000, 1000)
    assert find(jobs).record.done == 1000
    reporter.update(5, 9, "going home")
    record = find(jobs).record
    assert (record.phase, record.done, record.total) == ("going home", 5, 9)


def test_a_progress_report_that_cannot_be_written_does_not_end_the_work(tmp_path: Path) -> None:
    reporter = JobReporter(tmp_path / "gone", "work")
    reporter.begin_phase("counting")
    reporter.update(1, 1)
    with pytest.raises(FileNotFoundError):
        reporter.finish()
