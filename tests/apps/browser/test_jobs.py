"""Jobs: real processes that report, end, fail, die and are stopped."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.browser.jobs import Job, JobRecord, JobReporter, Jobs, run_job
from handsim.errors import HandsimError

_PATIENCE_S = 120.0


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "jobs")
    yield made
    made.stop("work")


def command(folder: Path, body: str) -> list[str]:
    """A process that does ``body`` with ``say``, its reporter, and returns ``out``."""
    lines = "\n    ".join(body.splitlines())
    script = (
        "import os, sys, time\nfrom pathlib import Path\nfrom apps.browser.jobs import run_job\n"
        "from handsim.errors import HandsimError\n"
        f"def work(say):\n    out = {{}}\n    {lines}\n    return out\n"
        f"sys.exit(run_job(Path({str(folder)!r}), 'work', work))"
    )
    return [sys.executable, "-c", script]


def wait_for(jobs: Jobs, fits: Callable[[Job], bool]) -> Job:
    give_up_at = time.monotonic() + _PATIENCE_S
    while (job := jobs.find("work")) is None or not fits(job):
        assert time.monotonic() < give_up_at, job
        time.sleep(0.02)
    return job


def test_a_job_reports_and_ends(jobs: Jobs) -> None:
    assert jobs.find("work") is None
    assert not jobs.folder.exists()  # looking changes nothing
    go = jobs.folder / "go"
    body = (
        "say.begin_phase('counting')\nsay.update(3, 7)\nprint('counted')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\nout = {{'sum': 3}}"
    )
    jobs.start("work", command(jobs.folder, body))
    running = wait_for(jobs, lambda job: job.record.done == 3)
    assert (running.status, running.record.phase, running.record.total) == ("running", "counting", 7)
    with pytest.raises(HandsimError, match="work runs already; wait for it to end, or stop it"):
        jobs.start("work", ["true"])
    assert wait_for(Jobs(jobs.folder), lambda job: True).status == "running"  # and so for another browser
    go.touch()
    ended = wait_for(jobs, lambda job: job.status != "running")
    assert (ended.status, ended.record.result, ended.record.error) == ("done", {"sum": 3}, None)
    assert ended.record.finished_at is not None
    assert ended.record.finished_at >= ended.record.started_at
    assert jobs.read_log_end("work") == "counted"
    assert not jobs.stop("work")


def test_it_is_a_session_of_its_own_without_input(jobs: Jobs) -> None:
    body = "out = {'sid': os.getsid(0), 'pid': os.getpid(), 'input': sys.stdin.read()}"
    jobs.start("work", command(jobs.folder, body))
    said = wait_for(jobs, lambda job: job.status != "running").record.result
    assert said["sid"] == said["pid"] != os.getsid(0)
    assert said["input"] == ""


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("raise HandsimError('there is no room')", "failed", "there is no room"),
        ("1 / 0", "failed", "it failed by a mistake of ours, ZeroDivisionError; its log tells more"),
        ("os.kill(os.getpid(), 9)", "died", None),
        ("os._exit(0)", "died", None),
    ],
)
def test_ends_that_are_none(jobs: Jobs, body: str, status: str, error: str | None) -> None:
    jobs.start("work", command(jobs.folder, body))
    job = wait_for(jobs, lambda job: job.status != "running")
    assert (job.status, job.record.error, job.record.result) == (status, error, {})
    assert ("ZeroDivisionError" in jobs.read_log_end("work")) == ("Zero" in (error or ""))
    jobs.start("work", command(jobs.folder, "out = {'again': True}"))  # nothing of it stays
    assert wait_for(jobs, lambda job: job.status != "running").record.result == {"again": True}


@pytest.mark.parametrize("deaf", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
def test_stopped(jobs: Jobs, deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.browser.jobs._GRACE_S", 0.2)
    body = "import subprocess\nout = subprocess.Popen(['sleep', '60'])\n"
    body += "say.begin_phase(str(out.pid))\nout.wait()"
    # What the job itself has started goes with it.
    jobs.start("work", command(jobs.folder, deaf + body))
    child = int(wait_for(jobs, lambda job: job.record.phase.isdigit()).record.phase)
    assert jobs.stop("work")
    job = jobs.find("work")
    assert job is not None
    assert job.status == "stopped"
    assert job.record.finished_at is not None
    give_up_at = time.monotonic() + _PATIENCE_S
    while is_running(child):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether it works still: an orphan that has ended may wait for long until somebody takes note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_record_that_is_being_written_is_left_alone(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.browser.jobs._PATIENCE_S", 0.0)
    jobs.start("work", ["sleep", "60"])
    half_written = jobs.folder / ".work.json.123"
    half_written.touch()
    with pytest.raises(HandsimError, match="work runs already"):
        jobs.start("work", ["true"])
    assert half_written.exists()
    assert jobs.stop("work")
    jobs.start("work", ["true"])
    assert not half_written.exists()


def test_of_a_long_log_the_end_alone_is_read(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs.read_log_end("work") == ""
    jobs.folder.mkdir()
    (jobs.folder / "work.log").write_text("a" * 10_000 + "b" * 3_996 + "ü\n")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("all of it was read"))
    assert jobs.read_log_end("work") == "a" + "b" * 3_996 + "ü"
    (jobs.folder / "work.log").write_text("short\n")
    assert jobs.read_log_end("work") == "short"


def test_a_program_that_is_not_there(jobs: Jobs) -> None:
    with pytest.raises(FileNotFoundError):
        jobs.start("work", ["no-such-program"])
    assert wait_for(jobs, lambda job: True).status == "died"


@pytest.mark.parametrize("name", ["", "../work", "a/b", "Work", "-x", "a b", "a.b"])
def test_names_do_not_lead_elsewhere(jobs: Jobs, name: str) -> None:
    for use in (jobs.find, jobs.stop, jobs.read_log_end, lambda name: jobs.start(name, ["true"])):
        with pytest.raises(HandsimError, match="is not small letters, digits and - alone"):
            use(name)
    with pytest.raises(HandsimError, match="is not small letters"):
        JobReporter(jobs.folder, name)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff"])
def test_a_damaged_file_is_no_job(jobs: Jobs, text: str) -> None:
    jobs.folder.mkdir()
    (jobs.folder / "work.json").write_bytes(text.encode("latin-1"))
    assert jobs.find("work") is None


def test_progress_is_written_now_and_then(tmp_path: Path) -> None:
    say = JobReporter(tmp_path, "work")
    say.begin_phase("counting")
    for done in range(1000):
        say.update(done, 1000)
    seen = Jobs(tmp_path).find("work")
    assert seen is not None
    assert 0 <= seen.record.done < 999  # not each of them
    say.update(1000, 1000)
    seen = Jobs(tmp_path).find("work")
    assert seen is not None
    assert seen.record.done == 1000
    say.update(5, 9, "going home")  # another phase is told of at once
    seen = Jobs(tmp_path).find("work")
    assert seen is not None
    assert (seen.record.phase, seen.record.done, seen.record.total) == ("going home", 5, 9)


def test_a_full_disk_does_not_end_the_work(tmp_path: Path) -> None:
    say = JobReporter(tmp_path / "gone", "work")
    say.begin_phase("counting")
    say.update(1, 1)
    with pytest.raises(FileNotFoundError):
        say.finish()


def test_reporting_in_one_process(tmp_path: Path) -> None:
    assert run_job(tmp_path, "work", lambda say: {"seven": 7}) == 0
    job = Jobs(tmp_path).find("work")
    assert job is not None
    assert (job.status, job.record.result) == ("done", {"seven": 7})
    assert job.record == JobRecord(
        job.record.started_at, finished_at=job.record.finished_at, result={"seven": 7}
    )


def test_ctrl_c_tells_its_end(jobs: Jobs) -> None:
    jobs.start("work", command(jobs.folder, "say.begin_phase(str(os.getpid()))\ntime.sleep(60)"))
    pid = int(wait_for(jobs, lambda job: job.record.phase.isdigit()).record.phase)
    os.kill(pid, signal.SIGINT)
    assert wait_for(jobs, lambda job: job.status != "running").status == "failed"
