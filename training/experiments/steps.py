"""The steps that experiments are made of, and the folders in which they are done.

A step is one command with all that decides its result: settings as plain values, and the steps before it.
Steps with the same result have the same key (a hash of both) and share a folder, ``KIND-KEY``: whichever
experiment comes first does the step, and later ones find it done. A folder is laid out like a home, and has
beside it ``step.json`` (what the step is), ``log.txt``, ``.lock``, and at the end ``done`` or ``failed``.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from handsim.errors import HandsimError
from handsim.files import FileLock, sync, write_text_atomically
from training.evaluation.report import REPORT_FILE

Kind = Literal["pool", "index", "dataset", "pretrain", "finetune", "evaluate"]
FORMAT: Final = 1
"""Raised when the same settings come to mean another result; all steps are then done anew."""
RUN: Final = "run"
"""Name of the one run in a step's folder."""
LAST_LINE_CHARACTERS: Final = 300


@dataclass(frozen=True, eq=False)
class Step:
    """One command, done once for all runs that need its result."""

    kind: Kind
    description: str
    """For people, without the seed: of the first run that needs it. It does not change the result."""
    settings: Mapping[str, Any]
    """All that decides the result, beside the inputs, as plain values."""
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    """Steps that are done before it, by their role: ``pool``, ``index``, ``init``, ..."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Written for its command: settings as plain values, also those that do not change the result."""
    seed: int | None = None
    """Of a training; it is in the settings, too."""

    @property
    def title(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.kind} {self.description}{seed}"

    @cached_property
    def key(self) -> str:
        """16 hex digits; equal for steps with the same result."""
        identity = {
            "format": FORMAT,
            "kind": self.kind,
            "settings": self.settings,
            "inputs": {role: step.key for role, step in self.inputs.items()},
        }
        text = json.dumps(identity, sort_keys=True, allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.key}"


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps and all steps before them, each once, inputs first."""
    by_key: dict[str, Step] = {}
    for step in steps:
        for each in _with_inputs(step):
            by_key.setdefault(each.key, each)
    return list(by_key.values())


def _with_inputs(step: Step) -> Iterator[Step]:
    for before in step.inputs.values():
        yield from _with_inputs(before)
    yield step


@dataclass(frozen=True)
class StepFolder:
    """The folder of one step; it need not exist yet."""

    path: Path
    """The directory, absolute."""

    @property
    def done_file(self) -> Path:
        """Written last: the folder is complete."""
        return self.path / "done"

    @property
    def failed_file(self) -> Path:
        """Exists where the last try failed."""
        return self.path / "failed"

    @property
    def log(self) -> Path:
        """The output of the commands, over all tries."""
        return self.path / "log.txt"

    @property
    def report(self) -> Path:
        """Where an evaluation writes its numbers."""
        return self.path / "runs" / RUN / REPORT_FILE

    @property
    def metrics(self) -> Path:
        """Where a training writes its numbers."""
        return self.path / "runs" / RUN / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where a training writes its checkpoints."""
        return self.path / "runs" / RUN / "checkpoints"

    @property
    def is_done(self) -> bool:
        return self.done_file.exists()

    def begin(self, step: Step) -> None:
        """Write down which step it is, and remove the mark of an earlier failure."""
        self.failed_file.unlink(missing_ok=True)
        content = {
            "title": step.title,
            "kind": step.kind,
            "key": step.key,
            "inputs": {role: before.name for role, before in step.inputs.items()},
            "settings": step.settings,
        }
        write_text_atomically(self.path / "step.json", json.dumps(content, indent=1) + "\n")

    def finish(self, seconds: float, *, at_once: bool) -> None:
        """Mark it as done; ``at_once``: in one try, so that ``seconds`` is what it takes."""
        sync(self.path)
        content = {"seconds": round(seconds, 3), "at_once": at_once, "finished": _now()}
        write_text_atomically(self.done_file, json.dumps(content) + "\n")

    def fail(self, exit_code: int) -> None:
        write_text_atomically(self.failed_file, json.dumps({"exit_code": exit_code, "at": _now()}) + "\n")

    def seconds(self) -> float | None:
        """How long it took; None unless it was done in one try."""
        try:
            content: dict[str, Any] = json.loads(self.done_file.read_text())
            return float(content["seconds"]) if content["at_once"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # it only serves estimates

    def last_line(self) -> str:
        """The last line of the log: a command that fails says why in it."""
        try:
            lines = self.log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:LAST_LINE_CHARACTERS]

    @contextmanager
    def lock(self, on_wait: Callable[[], None], wait: Callable[[], bool]) -> Iterator[int | None]:
        """Lock the folder and yield the lock's descriptor; the commands that inherit it keep the lock.

        While another process has the lock, ``on_wait`` is called once and ``wait`` between tries; where
        ``wait`` returns False, None is yielded.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / ".lock") as lock:
            is_locked = lock.acquire()
            if not is_locked:
                on_wait()
            while not is_locked and wait():
                is_locked = lock.acquire()
            yield lock.descriptor if is_locked else None


@dataclass(frozen=True)
class StepStore:
    """The folders of all steps of a home."""

    path: Path

    def folder(self, step: Step) -> StepFolder:
        return self.folder_named(step.name)

    def folder_named(self, name: str) -> StepFolder:
        """The folder of the step that is called so."""
        return StepFolder(self.path.resolve() / name)

    def make(self) -> None:
        """Make the directory; raises HandsimError where that fails."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HandsimError(
                f"{self.path} cannot be made ({error.strerror}); name another --home"
            ) from error


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
