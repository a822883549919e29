"""Work that takes longer than a page may: in processes of their own, which outlive the browser.

A job is a name and a command line. Beside each other in one folder lie, of the job ``build``:

    build.json    what it says of itself, see `JobRecord`; replaced as a whole, to be read at any time
    build.log     what it prints
    .build.lock   locked for as long as the process lives, however it ends, with its number inside
"""

import fcntl
import json
import os
import re
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
from handsim.files import write_text_atomically

Status = Literal["running", "done", "failed", "stopped", "died"]

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_PATIENCE_S: Final = 1.0
"""How long a lock may be held by those who only look."""
_GRACE_S: Final = 5.0
"""From asking a process to end to ending it."""
_WRITES_EVERY_S: Final = 0.3
_LOG_BYTES: Final = 4000


@dataclass(frozen=True)
class JobRecord:
    """What a job's file says."""

    started_at: str
    """ISO 8601, UTC."""
    phase: str = "starting"
    """What it is at, for people."""
    done: int = 0
    """Of the phase's ``total``."""
    total: int = 0
    """0 where the phase cannot be counted."""
    finished_at: str | None = None
    """When it came to an end by itself, or was stopped; None too if it was killed."""
    error: str | None = None
    """Why it failed, in a sentence."""
    stopped: bool = False
    """Whether somebody asked it to stop."""
    result: dict[str, Any] = field(default_factory=dict)
    """What came of it."""


@dataclass(frozen=True)
class Job:
    """A job as it stands, or stood when it ended."""

    name: str
    """What it was started as."""
    status: Status
    """``died``: the process is gone and did not say why, as when it was killed or the computer went off."""
    record: JobRecord
    """What it last said."""


class Jobs:
    """The jobs of a home: one of each name at a time, whoever started it."""

    def __init__(self, folder: Path) -> None:
        """``folder`` need not be there; it is made for the first job."""
        self.folder = folder

    def start(self, name: str, command: Sequence[str]) -> None:
        """Run a command line that reports by `run_job` with this folder and name.

        Raises HandsimError while one of that name runs.
        """
        _check(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone(name) as lock, open(self._log(name), "wb") as log:
            # Left by those that were killed while writing; one that runs would miss its own.
            for leftover in self.folder.glob(f".{name}.json.*"):
                leftover.unlink(missing_ok=True)
            os.ftruncate(lock, 0)
            _write(self.folder / f"{name}.json", JobRecord(_now()))
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the browser's terminal is not meant for it
                pass_fds=[
                    lock
                ],  # and with it the lock, which the kernel takes back when the last copy is gone
            )
            os.pwrite(lock, str(process.pid).encode(), 0)
        Thread(target=process.wait, daemon=True).start()  # else it would stay, ended, until we end

    def find(self, name: str) -> Job | None:
        """How a job stands; None where none of that name was ever started."""
        _check(name)
        pid = self._pid(name)
        record = _read(self.folder / f"{name}.json")
        if record is None:
            return None
        if pid is None and record.finished_at is None:
            pid = self._pid(name)  # one may have been started between the two
        return Job(name, _status(pid is not None, record), record)

    def stop(self, name: str) -> bool:
        """End a job and all that it started; returns whether there was one to end."""
        _check(name)
        give_up_at = time.monotonic() + _PATIENCE_S
        while (pid := self._pid(name)) == 0 and time.monotonic() < give_up_at:
            time.sleep(_PATIENCE_S / 50)
        if not pid:
            return False
        _end(pid, signal.SIGTERM)
        if not self._ended_within(name, _GRACE_S):
            _end(pid, signal.SIGKILL)
        with suppress(HandsimError), self._alone(name):  # else the next one runs already
            record = _read(self.folder / f"{name}.json")
            if record is not None and record.finished_at is None:
                _write(self.folder / f"{name}.json", replace(record, finished_at=_now(), stopped=True))
        return True

    def read_log_end(self, name: str) -> str:
        """The last lines that a job printed; empty where there are none."""
        _check(name)
        try:
            with open(self._log(name), "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
                data = log.read(_LOG_BYTES)
        except OSError:
            return ""
        return data.decode("utf-8", "replace").strip()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _lock(self, name: str) -> Path:
        return self.folder / f".{name}.lock"

    @contextmanager
    def _alone(self, name: str) -> Iterator[int]:
        """The lock's descriptor, held by nobody else; raises HandsimError while a process runs."""
        lock = os.open(self._lock(name), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            give_up_at = time.monotonic() + _PATIENCE_S
            while not _take(lock, fcntl.LOCK_EX):
                if time.monotonic() > give_up_at:
                    raise HandsimError(f"{name} runs already; wait for it to end, or stop it")
                time.sleep(_PATIENCE_S / 50)
            yield lock
        finally:
            os.close(lock)  # a process that was started meanwhile has a copy

    def _pid(self, name: str) -> int | None:
        """The process that runs; 0 for one whose number is not known yet, None where there is none."""
        try:
            lock = os.open(self._lock(name), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return None if _take(lock, fcntl.LOCK_SH) else int(os.pread(lock, 20, 0) or b"0")
        finally:
            os.close(lock)

    def _ended_within(self, name: str, seconds: float) -> bool:
        give_up_at = time.monotonic() + seconds
        while self._pid(name) is not None:
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.02)
        return True


class JobReporter:
    """How a job's process tells how far it is."""

    def __init__(self, folder: Path, name: str) -> None:
        """Go on from what `Jobs.start` wrote."""
        _check(name)
        self._path = folder / f"{name}.json"
        self._record = _read(self._path) or JobRecord(_now())
        self._written_at = 0.0

    def begin_phase(self, name: str) -> None:
        """Begin with something else, which is not counted until `update` is called."""
        self._say(replace(self._record, phase=name, done=0, total=0))
        self._written_at = 0.0

    def update(self, done: int, total: int, phase: str | None = None) -> None:
        """So much of the phase, or of another one that begins, is done; call it as often as you like."""
        begins = phase is not None and phase != self._record.phase
        self._record = replace(self._record, phase=phase or self._record.phase, done=done, total=total)
        if begins or done >= total or time.monotonic() - self._written_at > _WRITES_EVERY_S:
            self._say(self._record)

    def finish(self, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """The last word: what came of it, JSON values, or why nothing did."""
        self._record = replace(self._record, finished_at=_now(), result=result or {}, error=error)
        _write(self._path, self._record)

    def _say(self, record: JobRecord) -> None:
        self._record, self._written_at = record, time.monotonic()
        with suppress(OSError):  # a courtesy, no reason to fail
            _write(self._path, record)


def run_job(folder: Path, name: str, work: Callable[[JobReporter], dict[str, Any]]) -> int:
    """Do a job's work in its process and see that its end is told, well or not; returns the exit code."""
    reporter = JobReporter(folder, name)
    try:
        result = work(reporter)
    except HandsimError as error:
        reporter.finish(error=str(error))
        return 2
    except BaseException as error:
        reporter.finish(error=f"it failed by a mistake of ours, {type(error).__name__}; its log tells more")
        raise
    reporter.finish(result=result)
    return 0


def _status(running: bool, record: JobRecord) -> Status:
    if running:
        return "running"
    if record.stopped:
        return "stopped"
    if record.error is not None:
        return "failed"
    return "died" if record.finished_at is None else "done"


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise HandsimError(f"job name {name!r} is not small letters, digits and - alone")


def _take(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end(pid: int, by: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, by)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, record: JobRecord) -> None:
    write_text_atomically(path, json.dumps(asdict(record), indent=1) + "\n")


def _read(path: Path) -> JobRecord | None:
    """What a file says; None where there is none, or not one of ours."""
    try:
        return JobRecord(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
