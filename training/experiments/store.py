"""Where steps are done: a folder for each, kept for whichever experiment needs an equal one.

Whether all is there that an experiment takes from outside.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from handsim.embedding.image import FEATURES
from handsim.errors import HandsimError
from handsim.files import sync, write_text_atomically
from training.experiments.config import Experiment
from training.experiments.plan import Step

LAST_LINE_CHARACTERS: Final = 300


@dataclass(frozen=True)
class StepFolder:
    """The folder of one step; nothing need exist yet. It is laid out like a home."""

    path: Path
    """The directory, absolute."""

    @property
    def done(self) -> Path:
        """Written last: what is in the folder is whole."""
        return self.path / "done"

    @property
    def failed(self) -> Path:
        """There where the last try failed."""
        return self.path / "failed"

    @property
    def log(self) -> Path:
        """What the commands said, over all tries."""
        return self.path / "log.txt"

    @property
    def is_done(self) -> bool:
        """Whether it need not be done any more."""
        return self.done.exists()

    def begin(self, step: Step) -> None:
        """Write down what it is; an earlier failure is forgotten."""
        self.failed.unlink(missing_ok=True)
        inputs = {role: before.name for role, before in step.inputs.items()}
        told = {"title": step.title, "kind": step.kind, "key": step.key, "inputs": inputs}
        write_text_atomically(
            self.path / "step.json", json.dumps({**told, "settings": step.settings}, indent=1) + "\n"
        )

    def finish(self, seconds: float, *, at_once: bool) -> None:
        """Mark it as done; ``at_once`` says that nothing interrupted it."""
        sync(self.path)
        told = {"seconds": round(seconds, 3), "at_once": at_once, "finished": _now()}
        write_text_atomically(self.done, json.dumps(told) + "\n")

    def fail(self, exit_code: int) -> None:
        """Mark it as failed."""
        write_text_atomically(self.failed, json.dumps({"exit_code": exit_code, "at": _now()}) + "\n")

    def seconds(self) -> float | None:
        """How long it took, if it was done at once."""
        try:
            told: dict[str, Any] = json.loads(self.done.read_text())
            return float(told["seconds"]) if told["at_once"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # an estimate less

    def last_line(self) -> str:
        """Of the log: a command that fails says why in it."""
        try:
            lines = self.log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:LAST_LINE_CHARACTERS]

    @contextmanager
    def held(self, on_wait: Callable[[], None], wait: Callable[[], bool]) -> Iterator[int | None]:
        """Be the one who does it: a descriptor that processes are to inherit; None if ``wait`` gave up.

        As long as one of them lives that inherited it, it is held, also when whoever started them was killed.
        While somebody else holds it, ``on_wait`` is called once, and ``wait``, which takes its time, again
        and again.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = _try_lock(lock)
            if not free:
                on_wait()
            while not free and wait():
                free = _try_lock(lock)
            yield lock if free else None
            if free:
                # By word: a process of a crew that ended may still have a copy of the descriptor.
                fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            os.close(lock)


@dataclass(frozen=True)
class StepStore:
    """All folders of steps."""

    path: Path
    """Where they lie."""

    def folder(self, step: Step) -> StepFolder:
        """Of one step."""
        return StepFolder(self.path.resolve() / step.name)

    def make(self) -> None:
        """Raises HandsimError where there can be none."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HandsimError(
                f"{self.path} cannot be made ({error.strerror}); name another --home"
            ) from error


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def check_places(experiment: Experiment) -> None:
    """Raises HandsimError for a dataset, a pool or a checkpoint that is not there or not said where."""
    for name, dataset in experiment.data.datasets.items():
        if not dataset.is_filmed:
            _check_folder(f"data.datasets.{name}.root", dataset.root, "")
    for name, pool in experiment.data.pools.items():
        if not pool.is_filmed:
            setting = "data.home" if pool.home is None else f"data.pools.{name}.home"
            _check_folder(setting, pool.home or experiment.data.home, "pool")
    for name, method in experiment.axes.methods.items():
        init = method.init
        if init is not None and init not in ("start", *FEATURES) and not Path(init).is_file():
            raise HandsimError(
                f"axes.methods.{name}.init is {init}, which is no file; "
                f"it is start, a checkpoint, or one of {', '.join(FEATURES)}"
            )


def _check_folder(setting: str, folder: str | None, inside: str) -> None:
    if folder is None:
        raise HandsimError(f"{setting} is not set; say where it lies, with --{setting} FOLDER")
    if not (Path(folder) / inside).is_dir():
        what = f"has no folder {inside}" if inside else "is no folder"
        raise HandsimError(f"{setting} is {folder}, which {what}; give another one with --{setting} FOLDER")
