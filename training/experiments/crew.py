"""The processes that do the steps, and their end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal

from handsim.errors import HandsimError
from training.experiments.commands import prepare, tidy
from training.experiments.slots import Slot
from training.experiments.steps import Step
from training.experiments.store import StepFolder, StepStore

Ending = Literal["done", "failed", "stopped"]
HANDSIM: Final = (sys.executable, "-m", "apps.cli")
_PATIENCE_S: Final = 1.0
"""Between two looks whether another process is through with a step."""


class Crew:
    """Does steps by our own commands, on as many threads as call it."""

    def __init__(self, store: StepStore, say: Callable[[str], None]) -> None:
        self._store, self._say = store, say
        self._live: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()

    def do(self, step: Step, slot: Slot) -> Ending:
        """Do one, unless it is done; what another process is doing is waited for."""
        folder = self._store.folder(step)

        def on_wait() -> None:
            self._say(f"{step.title}: another process is at it, and is waited for")

        try:
            with folder.held(on_wait, self._wait) as lock:
                if lock is None:
                    return "stopped"
                return "done" if folder.is_done else self._do(step, folder, slot, lock)
        except OSError as error:
            raise HandsimError(
                f"{folder.path} cannot be written ({error}); make room and run again"
            ) from error

    def _do(self, step: Step, folder: StepFolder, slot: Slot, lock: int) -> Ending:
        at_once, started = not folder.log.exists(), time.monotonic()
        folder.begin(step)
        for command in prepare(step, self._store):
            code = self._run(command, folder, slot, lock)
            if code is None or (code and self._stopping.is_set()):
                return "stopped"
            if code:
                folder.fail(code)
                return "failed"
        folder.finish(time.monotonic() - started, at_once=at_once)
        tidy(step, self._store)
        return "done"

    def _run(self, command: Sequence[str], folder: StepFolder, slot: Slot, lock: int) -> int | None:
        """The exit code of ``handsim COMMAND``; None where it was not begun any more."""
        with folder.log.open("ab") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} handsim {' '.join(command)}\n".encode())
            log.flush()
            with self._lock:
                if self._stopping.is_set():
                    return None
                process = subprocess.Popen(
                    [*HANDSIM, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **slot.environment},
                    pass_fds=(lock,),
                    # Ctrl-C is for us alone: a second signal would have it end without a checkpoint.
                    start_new_session=True,
                )
                self._live.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._live.discard(process)

    def stop(self) -> None:
        """Begin nothing more, and have what is under way stop as soon as it can go on from there."""
        with self._lock:
            self._stopping.set()
            for process in self._live:
                process.terminate()

    def kill(self) -> None:
        """End what is under way, and whatever it started."""
        with self._lock:
            self._stopping.set()
            for process in self._live:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _wait(self) -> bool:
        return not self._stopping.wait(_PATIENCE_S)
