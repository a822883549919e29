"""Jobs: work that takes too long for a page, each in a process of its own that outlives the browser.

A job has a name, which the code chooses, and a command line. A folder holds, for the job ``build``:

    build.json    its `JobRecord`, replaced as a whole at each report
    build.log     its output
    .build.lock   locked while the process lives, however it ends; contains the process id

The process inherits the lock when it starts, so every browser can see whether it runs, also after a restart.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, Final, Literal

from handsim.errors import HandsimError
from handsim.files import FileLock, write_text_atomically

Status = Literal["running", "done", "failed", "stopped", "died"]

_LOCK_TIMEOUT_S: Final = 1.0
"""How long to wait for a lock; those who only look hold it for a moment."""
_TERMINATE_TIMEOUT_S: Final = 5.0
"""From SIGTERM to SIGKILL."""
_POLL_S: Final = 0.02
_WRITE_INTERVAL_S: Final = 0.3
_LOG_BYTES: Final = 4000


@dataclass(frozen=True)
class JobRecord:
    started_at: str
    """ISO 8601, UTC."""
    phase: str = "starting"
    """What the job is doing, for people."""
    done: int = 0
    """Of the phase's ``total``."""
    total: int = 0
    """0: the phase cannot be counted."""
    finished_at: str | None = None
    """When it ended by itself or was stopped; None while it runs, and if it was killed."""
    error: str | None = None
    """Why it failed, in a sentence."""
    stopped: bool = False
    """Whether somebody stopped it."""
    result: dict[str, Any] = field(default_factory=dict)
    """What it returned."""

    @property
    def age_s(self) -> float:
        """Since it was started."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.started_at)).total_seconds()


@dataclass(frozen=True)
class Job:
    name: str
    status: Status
    """``died``: the process is gone without a last report, as after SIGKILL or a power cut."""
    record: JobRecord
    """Its last report."""


class Jobs:
    """The jobs of a home. At most one of each name runs at a time, whoever started it."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made for the first job."""
        self.folder = folder

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a command line that calls `run_job` with this folder and name.

        Raises HandsimError while a job of that name runs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock_exclusively(name) as lock, open(self._log(name), "wb") as log:
            # Half-written records of killed writers. A running job would miss its own, but none runs now.
            for leftover in self.folder.glob(f".{name}.json.*"):
                leftover.unlink(missing_ok=True)
            lock.write_holder("")
            _write_record(self._record(name), JobRecord(_now()))
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the browser's terminal must not reach it
                pass_fds=[lock.descriptor],
            )
            lock.write_holder(str(process.pid))
            lock.leave_to_child()
        Thread(target=process.wait, daemon=True).start()  # reaps it; a zombie would stay until we end

    def find(self, name: str) -> Job | None:
        """A job and its state; None if no job of that name was ever started."""
        pid = self._find_pid(name)
        record = _read_record(self._record(name))
        if record is None:
            return None
        if pid is None and record.finished_at is None:
            pid = self._find_pid(name)  # it may have been started after the first look at the lock
        return Job(name, _status(pid is not None, record), record)

    def stop(self, name: str) -> bool:
        """End a job and all processes that it started; return False if none runs."""
        _wait_until(lambda: self._find_pid(name) != 0, _LOCK_TIMEOUT_S)
        pid = self._find_pid(name)
        if not pid:
            return False
        _kill_group(pid, signal.SIGTERM)
        if not _wait_until(lambda: self._find_pid(name) is None, _TERMINATE_TIMEOUT_S):
            _kill_group(pid, signal.SIGKILL)
        with suppress(HandsimError), self._lock_exclusively(name):  # fails if the next one runs already
            record = _read_record(self._record(name))
            if record is not None and record.finished_at is None:
                _write_record(self._record(name), replace(record, finished_at=_now(), stopped=True))
        return True

    def read_log_end(self, name: str) -> str:
        """The last lines of a job's output; empty if there are none."""
        try:
            with open(self._log(name), "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
                data = log.read(_LOG_BYTES)
        except OSError:
            return ""
        return data.decode("utf-8", "replace").strip()

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _lock(self, name: str) -> Path:
        return self.folder / f".{name}.lock"

    @contextmanager
    def _lock_exclusively(self, name: str) -> Iterator[FileLock]:
        """Hold the lock for the block; raises HandsimError while a job runs."""
        with FileLock(self._lock(name)) as lock:
            if not _wait_until(lock.acquire, _LOCK_TIMEOUT_S):
                raise HandsimError(f"{name} runs already; wait for it to end, or stop it")
            yield lock

    def _find_pid(self, name: str) -> int | None:
        """The process that runs; 0 while its id is not known yet, None if none runs."""
        try:
            lock = FileLock(self._lock(name), create=False)
        except FileNotFoundError:
            return None
        with lock:
            if lock.acquire(shared=True):
                return None
            holder = lock.holder()
            return int(holder) if holder.isdigit() else 0


class JobReporter:
    """Writes a job's record, in the job's process."""

    def __init__(self, folder: Path, name: str) -> None:
        """Continue the record that `Jobs.start` wrote."""
        self._path = folder / f"{name}.json"
        self._record = _read_record(self._path) or JobRecord(_now())
        self._written_at = 0.0

    def begin_phase(self, name: str) -> None:
        """Begin a phase, which has no count until `update` is called."""
        self._report(replace(self._record, phase=name, done=0, total=0))
        self._written_at = 0.0

    def update(self, done: int, total: int, phase: str | None = None) -> None:
        """Report progress of the phase, or of a new one; cheap, because most reports are not written."""
        begins = phase is not None and phase != self._record.phase
        self._record = replace(self._record, phase=phase or self._record.phase, done=done, total=total)
        if begins or done >= total or time.monotonic() - self._written_at > _WRITE_INTERVAL_S:
            self._report(self._record)

    def finish(self, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Report the end: a result of JSON values, or why there is none."""
        self._record = replace(self._record, finished_at=_now(), result=result or {}, error=error)
        _write_record(self._path, self._record)

    def _report(self, record: JobRecord) -> None:
        self._record, self._written_at = record, time.monotonic()
        with suppress(OSError):  # a full disk must not end the work because of a progress report
            _write_record(self._path, record)


def run_job(folder: Path, name: str, work: Callable[[JobReporter], dict[str, Any]]) -> int:
    """Do a job's work in its process and report its end; return the exit code."""
    reporter = JobReporter(folder, name)
    try:
        result = work(reporter)
    except HandsimError as error:
        reporter.finish(error=str(error))
        return 2
    except BaseException as error:
        reporter.finish(error=f"an unexpected {type(error).__name__}; the traceback is in its log")
        raise
    reporter.finish(result=result)
    return 0


def _status(is_running: bool, record: JobRecord) -> Status:
    if is_running:
        return "running"
    if record.stopped:
        return "stopped"
    if record.error is not None:
        return "failed"
    return "died" if record.finished_at is None else "done"


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _kill_group(pid: int, by: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, by)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write_record(path: Path, record: JobRecord) -> None:
    write_text_atomically(path, json.dumps(asdict(record), indent=1) + "\n")


def _read_record(path: Path) -> JobRecord | None:
    """The record in a file; None if there is none that can be read."""
    try:
        return JobRecord(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
