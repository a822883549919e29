"""Doing what is missing of an experiment, as much of it at once as there is room for.

Where steps are done at the same time: a GPU each, or a share of the cores.

How long steps take, and how long those will that are left.

What a step is done with: our own commands, and the files that they read.

The processes that do the steps, and their end.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, Final, Literal

import torch
import yaml

from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.processes import available_cores
from training.evaluation.report import REPORT_FILE
from training.experiments.plan import Kind, Step
from training.experiments.store import StepFolder, StepStore
from training.runs.checkpoints import BEST, LAST, StopRequest


@dataclass(frozen=True)
class Slot:
    """A place for one step at a time."""

    name: str
    """For people."""
    environment: dict[str, str]
    """What its processes are told, beside what we were."""


def make_slots(jobs: int | None) -> list[Slot]:
    """One for each GPU that we may use, or on a CPU as many as ``jobs`` (None: one); they share the cores.

    Raises HandsimError for a number that is not at least 1, or more than there are GPUs or cores.
    """
    if jobs is not None and jobs < 1:
        raise HandsimError(f"--jobs is {jobs}; it is at least 1")
    gpus = _gpus()
    most, what = (len(gpus), "GPUs") if gpus else (available_cores(), "cores")
    if jobs is not None and jobs > most:
        raise HandsimError(f"--jobs is {jobs}, and there are {most} {what}; give {most} at most")
    wanted = jobs or max(1, len(gpus))
    cores = max(1, available_cores() // wanted)
    threads = {"OMP_NUM_THREADS": str(cores)}
    if gpus:
        return [Slot(f"GPU {gpu}", {"CUDA_VISIBLE_DEVICES": gpu, **threads}) for gpu in gpus[:wanted]]
    name = "a core" if cores == 1 else f"{cores} cores"
    return [Slot(name, threads)] * wanted


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them: those that it allows, or all."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [str(number) for number in range(count)] if allowed is None else allowed.split(",")
    return [name.strip() for name in names][:count]


class Pace:
    """Learns from steps that are done: equal ones of another seed, else those of the same kind."""

    def __init__(self) -> None:
        self._alike: dict[tuple[str, str], list[float]] = {}
        self._kind: dict[str, list[float]] = {}

    def add(self, step: Step, seconds: float) -> None:
        """One was done."""
        self._alike.setdefault((step.kind, step.what), []).append(seconds)
        self._kind.setdefault(step.kind, []).append(seconds)

    def seconds(self, step: Step) -> float | None:
        """What one will take; None while none of its kind was done."""
        known = self._alike.get((step.kind, step.what)) or self._kind.get(step.kind)
        return mean(known) if known else None

    def seconds_left(
        self, left: Iterable[Step], under_way: Mapping[Step, float], slots: int
    ) -> tuple[float, bool]:
        """For those that are ``left``, and the rest of those ``under_way`` (seconds so far), over the slots.

        And whether that is all: False where steps are among them of which nothing is known.
        """
        guesses = [self.seconds(step) for step in left]
        rests = [
            None if guess is None else max(0.0, guess - so_far)
            for step, so_far in under_way.items()
            for guess in (self.seconds(step),)
        ]
        known = [guess for guess in (*guesses, *rests) if guess is not None]
        return sum(known) / slots, len(known) == len(guesses) + len(rests)


def as_duration(seconds: float) -> str:
    """For people: ``1 h 05 min``, ``3 min 12 s``, ``8 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


Command = list[str]
"""The words after ``handsim``."""

RUN: Final = "run"
"""Name of the one run in a step's folder."""


def prepare(step: Step, store: StepStore) -> list[Command]:
    """Make a step's folder ready, which must exist, and tell what is to be run there in turn.

    Trainings that were interrupted go on where they stopped, pools get what they lack; of anything else
    that is half done nothing is kept.
    """
    return _PREPARE[step.kind](step, store)


def tidy(step: Step, store: StepStore) -> None:
    """Remove the checkpoint of a training that is done which nobody asks for."""
    if step.kind in _CHECKPOINTS:
        kept = _checkpoint(step, store)
        for name in (BEST, LAST):
            if kept.exists() and name != kept.name:
                (kept.parent / name).unlink(missing_ok=True)


def report_file(step: Step, store: StepStore) -> Path:
    """Where an evaluation leaves its numbers."""
    return store.folder(step).path / "runs" / RUN / REPORT_FILE


_CHECKPOINTS: Final = {"pretrain": LAST, "finetune": BEST}
"""What others take of a training: of fine-tuning, the one with the lowest error on the validation split."""


def _checkpoint(step: Step, store: StepStore) -> Path:
    return store.folder(step).path / "runs" / RUN / "checkpoints" / _CHECKPOINTS[step.kind]


def _pool(step: Step, store: StepStore) -> list[Command]:
    home = store.folder(step).path
    if "hands" in step.settings:
        shutil.rmtree(home / "pool", ignore_errors=True)
        whole, hands = str(_home_of_pool(step, store)), str(step.settings["hands"])
        return [["pool", "subset", hands, "--to", str(home), "--home", whole]]
    world = _write_settings(home / "world.yaml", step.recipe)
    noise = str(step.settings["keypoint_noise"])
    return [["synth", "--world", world, "--keypoint-noise", noise, "--home", str(home)]]


def _index(step: Step, store: StepStore) -> list[Command]:
    home = store.folder(step).path
    _link_pool(step, store)
    shutil.rmtree(home / "index", ignore_errors=True)
    (home / "embedding.json").unlink(missing_ok=True)
    components, normalisation = str(step.settings["components"]), step.settings["normalisation"]
    fit = ["embedding", "fit", "--components", components, "--normalisation", normalisation]
    return [[*fit, "--home", str(home)], ["index", "build", "--home", str(home)]]


def _dataset(step: Step, store: StepStore) -> list[Command]:
    folder = store.folder(step).path
    shutil.rmtree(_set(step, store), ignore_errors=True)
    world = _write_settings(folder / "world.yaml", step.recipe)
    return [["synth", "--world", world, "--layout", step.settings["layout"], "--out", str(_set(step, store))]]


def _pretrain(step: Step, store: StepStore) -> list[Command]:
    _link_pool(step, store)
    index = []
    if "index" in step.inputs:
        index = ["--index", str(store.folder(step.inputs["index"]).path / "index")]
    return [[*_training(step, store, step.recipe), *index]]


def _finetune(step: Step, store: StepStore) -> list[Command]:
    recipe = dict(step.recipe)
    if "dataset" in step.inputs:
        recipe["data"] = {**recipe["data"], "root": str(_set(step.inputs["dataset"], store))}
    return [_training(step, store, recipe)]


def _evaluate(step: Step, store: StepStore) -> list[Command]:
    command = ["evaluate", "pose", str(_checkpoint(step.inputs["finetune"], store)), "--name", RUN]
    split = step.settings["split"]
    return [
        [*command, *([] if split is None else ["--split", split]), "--home", str(store.folder(step).path)]
    ]


_PREPARE: Final[Mapping[Kind, Callable[[Step, StepStore], list[Command]]]] = {
    "pool": _pool,
    "index": _index,
    "dataset": _dataset,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
}


def _training(step: Step, store: StepStore, recipe: Mapping[str, Any]) -> Command:
    """``handsim pretrain`` or ``finetune``, from its beginning or on from where it stopped."""
    home = store.folder(step).path
    if (home / "runs" / RUN / "checkpoints" / LAST).exists():
        return [step.kind, RUN, "--resume", "--home", str(home)]
    shutil.rmtree(home / "runs", ignore_errors=True)
    if "init" in step.inputs:
        init = str(_checkpoint(step.inputs["init"], store))
        recipe = {**recipe, "encoder": {**recipe["encoder"], "init": init}}
    written = _write_settings(home / "recipe.yaml", recipe)
    return [step.kind, written, "--name", RUN, "--home", str(home)]


def _set(dataset: Step, store: StepStore) -> Path:
    return store.folder(dataset).path / "set"


def _home_of_pool(step: Step, store: StepStore) -> Path:
    """Where the pool lies that a step needs: another step's folder, or a home."""
    return store.folder(step.inputs["pool"]).path if "pool" in step.inputs else Path(step.settings["home"])


def _link_pool(step: Step, store: StepStore) -> None:
    """Have the folder show the pool as its own."""
    link = store.folder(step).path / "pool"
    link.unlink(missing_ok=True)
    link.symlink_to(_home_of_pool(step, store) / "pool")


def _write_settings(path: Path, settings: Mapping[str, Any]) -> str:
    write_text_atomically(path, yaml.safe_dump(dict(settings), sort_keys=False))
    return str(path)


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


@dataclass(frozen=True, eq=False)
class Outcome:
    """How it ended."""

    done: int
    """Steps that are done now, earlier ones counted in."""
    failed: list[Step] = field(default_factory=list)
    """Those that failed."""
    held_up: list[Step] = field(default_factory=list)
    """Those that need one which failed."""
    stopped: bool = False
    """Whether somebody asked for an end before it."""


def run_steps(
    steps: Sequence[Step], store: StepStore, slots: Sequence[Slot], say: Callable[[str], None]
) -> Outcome:
    """Do all of ``steps`` that are not done, inputs first (as `in_order` has them), a step a slot.

    A step that fails holds up those alone that need it. SIGINT and SIGTERM stop: trainings keep a checkpoint.
    To be called in the main thread.
    """
    return _Running(steps, store, slots, say).run()


class _Running:
    """The steps of one session, by what became of them."""

    def __init__(
        self, steps: Sequence[Step], store: StepStore, slots: Sequence[Slot], say: Callable[[str], None]
    ) -> None:
        self._say, self._store, self._count = say, store, len(steps)
        self._free, self._slots = list(slots), len(slots)
        self._pace = Pace()
        self._done: set[str] = set()
        self._waiting: list[Step] = []
        self._failed: list[Step] = []
        self._held_up: list[Step] = []
        self._under_way: dict[Future[Ending], tuple[Step, Slot, float]] = {}
        for step in steps:
            folder = store.folder(step)
            if not folder.is_done:
                self._waiting.append(step)
                continue
            self._done.add(step.key)
            if (seconds := folder.seconds()) is not None:
                self._pace.add(step, seconds)

    def run(self) -> Outcome:
        crew, stop = Crew(self._store, self._say), StopRequest()
        stop.also = crew.stop
        self._say(f"{self._count:,} steps, {len(self._done):,} of them done already{self._time_left()}")
        with ThreadPoolExecutor(self._slots, thread_name_prefix="step") as threads:
            try:
                with stop:
                    self._begin_ready(crew, threads)
                    while self._under_way:
                        finished, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
                        for future in finished:
                            self._end(future)
                        if not stop.asked:
                            self._begin_ready(crew, threads)
            except KeyboardInterrupt:  # asked twice
                crew.kill()
                raise
            finally:
                crew.stop()
        return Outcome(len(self._done), self._failed, self._held_up, stopped=stop.asked)

    def _begin_ready(self, crew: Crew, threads: ThreadPoolExecutor) -> None:
        for step in list(self._waiting):
            inputs = {before.key for before in step.inputs.values()}
            if inputs & {lost.key for lost in (*self._failed, *self._held_up)}:
                self._waiting.remove(step)
                self._held_up.append(step)
            elif self._free and inputs <= self._done:
                self._waiting.remove(step)
                slot = self._free.pop(0)
                self._say(f"{step.title}: begins on {slot.name}")
                future = threads.submit(crew.do, step, slot)
                self._under_way[future] = (step, slot, time.monotonic())

    def _end(self, future: "Future[Ending]") -> None:
        step, slot, begun = self._under_way.pop(future)
        self._free.append(slot)
        took, ending, folder = time.monotonic() - begun, future.result(), self._store.folder(step)
        if ending == "done":
            self._done.add(step.key)
            if (seconds := folder.seconds()) is not None:
                self._pace.add(step, seconds)
            progress = f"{len(self._done):,} of {self._count:,}{self._time_left()}"
            self._say(f"{step.title}: done in {as_duration(took)}; {progress}")
        elif ending == "failed":
            self._failed.append(step)
            self._say(f"{step.title}: failed, {folder.last_line()} (all of it in {folder.log})")
        else:
            self._say(f"{step.title}: stopped")

    def _time_left(self) -> str:
        now = time.monotonic()
        under_way = {step: now - begun for step, _, begun in self._under_way.values()}
        seconds, is_all = self._pace.seconds_left(self._waiting, under_way, self._slots)
        if not self._waiting and not under_way:
            return ""
        if not is_all:
            return f", {as_duration(seconds)} left at least" if seconds else ""
        return f", about {as_duration(seconds)} left"
