"""Do the steps of an experiment that are not done, several at the same time.

Each step runs our own commands as child processes, in a slot: a GPU, or a share of the cores. Whatever ends a
run, the next one goes on from there: steps that are done stay done, trainings resume from their last
checkpoint.
"""

import os
import shutil
import signal
import subprocess
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
from handsim.geometry import CROP_ENLARGEMENT
from handsim.processes import StopRequest, available_cores, module_command
from training.experiments.steps import RUN, Kind, Step, StepFolder, StepStore
from training.runs.folder import BEST, LAST

_LOCK_POLL_SECONDS: Final = 1.0
"""Between two tries to lock the folder of a step that another process is doing."""

Command = list[str]
"""The words after ``handsim``."""
StepOutcome = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class Slot:
    """A place for one step at a time."""

    name: str
    environment: dict[str, str]
    """Variables that its processes get, beside ours."""


def make_slots(jobs: int | None) -> list[Slot]:
    """A slot for each GPU we may use, or on a CPU ``jobs`` slots (None: one); they share the cores.

    Raises HandsimError where ``jobs`` is below 1, or above the number of GPUs or cores.
    """
    if jobs is not None and jobs < 1:
        raise HandsimError(f"--jobs is {jobs}; it is at least 1")
    gpus = _allowed_gpus()
    most, unit = (len(gpus), "GPUs") if gpus else (available_cores(), "cores")
    if jobs is not None and jobs > most:
        raise HandsimError(f"--jobs is {jobs}, and there are {most} {unit}; give at most {most}")
    count = jobs or max(1, len(gpus))
    cores = max(1, available_cores() // count)
    threads = {"OMP_NUM_THREADS": str(cores)}
    if gpus:
        return [Slot(f"GPU {gpu}", {"CUDA_VISIBLE_DEVICES": gpu, **threads}) for gpu in gpus[:count]]
    return [Slot("a core" if cores == 1 else f"{cores} cores", threads)] * count


def _allowed_gpus() -> list[str]:
    """GPUs as CUDA_VISIBLE_DEVICES names them: those that it allows, or all."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [str(number) for number in range(count)] if allowed is None else allowed.split(",")
    return [name.strip() for name in names][:count]


@dataclass(frozen=True, eq=False)
class ExperimentOutcome:
    done: int
    """Steps that are done, with those that were done before."""
    failed: list[Step] = field(default_factory=list)
    blocked: list[Step] = field(default_factory=list)
    """Those that need a failed one."""
    stopped: bool = False
    """Whether a signal ended it."""


def run_steps(
    steps: Sequence[Step], store: StepStore, slots: Sequence[Slot], report: Callable[[str], None]
) -> ExperimentOutcome:
    """Do all ``steps`` that are not done, inputs first (as `in_order` returns them), one in each slot.

    A step that fails blocks only those that need it. SIGINT and SIGTERM stop: trainings write a checkpoint.
    ``report`` gets lines on the progress. To be called in the main thread.
    """
    return _Scheduler(steps, store, slots, report).run()


class _Scheduler:
    """Starts steps whose inputs are done in free slots, until no step can be started."""

    def __init__(
        self, steps: Sequence[Step], store: StepStore, slots: Sequence[Slot], report: Callable[[str], None]
    ) -> None:
        self._report, self._store, self._count = report, store, len(steps)
        self._free_slots, self._slots = list(slots), len(slots)
        self._durations = DurationEstimator()
        self._done: set[str] = set()
        self._waiting: list[Step] = []
        self._failed: list[Step] = []
        self._blocked: list[Step] = []
        self._running: dict[Future[StepOutcome], tuple[Step, Slot, float]] = {}
        for step in steps:
            folder = store.folder(step)
            if folder.is_done:
                self._add_done(step, folder)
            else:
                self._waiting.append(step)

    def run(self) -> ExperimentOutcome:
        runner, stop = StepRunner(self._store, self._report), StopRequest()
        stop.on_signal = runner.stop
        self._report(f"{self._count:,} steps, {len(self._done):,} of them done already{self._time_left()}")
        with ThreadPoolExecutor(self._slots, thread_name_prefix="step") as threads:
            try:
                with stop:
                    self._start_ready(runner, threads)
                    while self._running:
                        finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
                        for future in finished:
                            self._end(future)
                        if not stop.requested:
                            self._start_ready(runner, threads)
            except KeyboardInterrupt:  # a second signal
                runner.kill()
                raise
            finally:
                runner.stop()
        return ExperimentOutcome(len(self._done), self._failed, self._blocked, stopped=stop.requested)

    def _start_ready(self, runner: "StepRunner", threads: ThreadPoolExecutor) -> None:
        for step in list(self._waiting):
            inputs = {before.key for before in step.inputs.values()}
            if inputs & {lost.key for lost in (*self._failed, *self._blocked)}:
                self._waiting.remove(step)
                self._blocked.append(step)
            elif self._free_slots and inputs <= self._done:
                self._waiting.remove(step)
                slot = self._free_slots.pop(0)
                self._report(f"{step.title}: begins on {slot.name}")
                future = threads.submit(runner.do, step, slot)
                self._running[future] = (step, slot, time.monotonic())

    def _end(self, future: "Future[StepOutcome]") -> None:
        step, slot, started = self._running.pop(future)
        self._free_slots.append(slot)
        seconds, outcome, folder = time.monotonic() - started, future.result(), self._store.folder(step)
        if outcome == "done":
            self._add_done(step, folder)
            progress = f"{len(self._done):,} of {self._count:,}{self._time_left()}"
            self._report(f"{step.title}: done in {as_duration(seconds)}; {progress}")
        elif outcome == "failed":
            self._failed.append(step)
            self._report(f"{step.title}: failed, {folder.last_line()} (all of it in {folder.log})")
        else:
            self._report(f"{step.title}: stopped")

    def _add_done(self, step: Step, folder: StepFolder) -> None:
        self._done.add(step.key)
        if (seconds := folder.seconds()) is not None:
            self._durations.add(step, seconds)

    def _time_left(self) -> str:
        now = time.monotonic()
        running = {step: now - started for step, _, started in self._running.values()}
        if not self._waiting and not running:
            return ""
        seconds, is_all = self._durations.seconds_left(self._waiting, running, self._slots)
        if is_all:
            return f", about {as_duration(seconds)} left"
        return f", {as_duration(seconds)} left at least" if seconds else ""


class DurationEstimator:
    """Estimates from steps that are done: the same step with another seed, else those of the same kind."""

    def __init__(self) -> None:
        self._of_step: dict[tuple[str, str], list[float]] = {}
        self._of_kind: dict[str, list[float]] = {}

    def add(self, step: Step, seconds: float) -> None:
        self._of_step.setdefault((step.kind, step.description), []).append(seconds)
        self._of_kind.setdefault(step.kind, []).append(seconds)

    def seconds(self, step: Step) -> float | None:
        """How long a step will take; None while none of its kind is done."""
        known = self._of_step.get((step.kind, step.description)) or self._of_kind.get(step.kind)
        return mean(known) if known else None

    def seconds_left(
        self, waiting: Iterable[Step], running: Mapping[Step, float], slots: int
    ) -> tuple[float, bool]:
        """Time for the ``waiting`` steps and the rest of the ``running`` ones (seconds so far), over the
        slots; and False where nothing is known of some of them."""
        estimates = [self.seconds(step) for step in waiting]
        for step, elapsed in running.items():
            total = self.seconds(step)
            estimates.append(None if total is None else max(0.0, total - elapsed))
        known = [estimate for estimate in estimates if estimate is not None]
        return sum(known) / slots, len(known) == len(estimates)


def as_duration(seconds: float) -> str:
    """For people: ``1 h 05 min``, ``3 min 12 s``, ``8 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class StepRunner:
    """Does steps by our own commands, one on each thread that calls `do`."""

    def __init__(self, store: StepStore, report: Callable[[str], None]) -> None:
        self._store, self._report = store, report
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()

    def do(self, step: Step, slot: Slot) -> StepOutcome:
        """Do one, unless it is done; where another process is doing it, wait for that."""
        folder = self._store.folder(step)

        def on_wait() -> None:
            self._report(f"{step.title}: another process is doing it; waiting for that")

        try:
            with folder.lock(on_wait, self._wait) as lock:
                if lock is None:
                    return "stopped"
                return "done" if folder.is_done else self._do(step, folder, slot, lock)
        except OSError as error:
            raise HandsimError(
                f"{step.title} cannot be done in {folder.path} ({error}); solve that and run again"
            ) from error

    def _do(self, step: Step, folder: StepFolder, slot: Slot, lock: int) -> StepOutcome:
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
        remove_unused_checkpoint(step, self._store)
        return "done"

    def _run(self, command: Command, folder: StepFolder, slot: Slot, lock: int) -> int | None:
        """The exit code of ``handsim COMMAND``; None where it was not started, because of `stop`."""
        with folder.log.open("ab") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} handsim {' '.join(command)}\n".encode())
            log.flush()
            with self._lock:
                if self._stopping.is_set():
                    return None
                process = subprocess.Popen(
                    module_command("apps.cli", *command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **slot.environment},
                    pass_fds=(lock,),
                    # Ctrl-C must not reach it: after the signal of `stop` it would be the second one, at
                    # which a training ends without a checkpoint.
                    start_new_session=True,
                )
                self._processes.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._processes.discard(process)

    def stop(self) -> None:
        """Start no more commands, and have those that run end as soon as they can be resumed."""
        with self._lock:
            self._stopping.set()
            for process in self._processes:
                process.terminate()

    def kill(self) -> None:
        """End all commands that run, and whatever they started."""
        with self._lock:
            self._stopping.set()
            for process in self._processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _wait(self) -> bool:
        return not self._stopping.wait(_LOCK_POLL_SECONDS)


def prepare(step: Step, store: StepStore) -> list[Command]:
    """Prepare the folder of a step, which must exist, and return the commands to run there in turn.

    Trainings that were interrupted resume and pools are completed; any other half-done result is removed.
    """
    return _PREPARE[step.kind](step, store)


def remove_unused_checkpoint(step: Step, store: StepStore) -> None:
    """Of a training that is done, keep only the checkpoint that other steps start from."""
    if step.kind in _RESULT_CHECKPOINT:
        result = _checkpoint(step, store)
        for name in (BEST, LAST):
            if result.exists() and name != result.name:
                (result.parent / name).unlink(missing_ok=True)


_RESULT_CHECKPOINT: Final = {"pretrain": LAST, "finetune": BEST}
"""The checkpoint that others use; of fine-tuning, the one with the lowest error on the validation split."""


def _checkpoint(step: Step, store: StepStore) -> Path:
    return store.folder(step).checkpoints / _RESULT_CHECKPOINT[step.kind]


def _pool(step: Step, store: StepStore) -> list[Command]:
    home = store.folder(step).path
    if "hands" in step.settings:
        shutil.rmtree(home / "pool", ignore_errors=True)
        whole, hands = str(_home_of_pool(step, store)), str(step.settings["hands"])
        return [["pool", "subset", hands, "--to", str(home), "--home", whole]]
    world = _write_settings(home / "world.yaml", step.recipe)
    noise = str(step.settings["keypoint_noise"])
    enlargement = str(step.settings.get("crop_enlargement", CROP_ENLARGEMENT))
    words = ["--world", world, "--keypoint-noise", noise, "--crop-enlargement", enlargement]
    return [["synth", *words, "--home", str(home)]]


def _index(step: Step, store: StepStore) -> list[Command]:
    home = store.folder(step).path
    _link_pool(step, store)
    shutil.rmtree(home / "index", ignore_errors=True)
    (home / "embedding.json").unlink(missing_ok=True)
    components, normalisation = str(step.settings["components"]), step.settings["normalisation"]
    fit = ["embedding", "fit", "--components", components, "--normalisation", normalisation]
    fit += [f"--{name.replace('_', '-')}" for name in ("depth", "up_to_turn") if step.settings.get(name)]
    return [[*fit, "--home", str(home)], ["index", "build", "--home", str(home)]]


def _dataset(step: Step, store: StepStore) -> list[Command]:
    root = _dataset_root(step, store)
    shutil.rmtree(root, ignore_errors=True)
    world = _write_settings(store.folder(step).path / "world.yaml", step.recipe)
    return [["synth", "--world", world, "--layout", step.settings["layout"], "--out", str(root)]]


def _pretrain(step: Step, store: StepStore) -> list[Command]:
    _link_pool(step, store)
    index = []
    if "index" in step.inputs:
        index = ["--index", str(store.folder(step.inputs["index"]).path / "index")]
    return [[*_training(step, store, step.recipe), *index]]


def _finetune(step: Step, store: StepStore) -> list[Command]:
    recipe = dict(step.recipe)
    if "dataset" in step.inputs:
        recipe["data"] = {**recipe["data"], "root": str(_dataset_root(step.inputs["dataset"], store))}
    return [_training(step, store, recipe)]


def _evaluate(step: Step, store: StepStore) -> list[Command]:
    command = ["evaluate", "pose", str(_checkpoint(step.inputs["finetune"], store)), "--name", RUN]
    split = step.settings["split"]
    split_words = [] if split is None else ["--split", split]
    return [[*command, *split_words, "--home", str(store.folder(step).path)]]


_PREPARE: Final[Mapping[Kind, Callable[[Step, StepStore], list[Command]]]] = {
    "pool": _pool,
    "index": _index,
    "dataset": _dataset,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "evaluate": _evaluate,
}


def _training(step: Step, store: StepStore, recipe: Mapping[str, Any]) -> Command:
    """``handsim pretrain`` or ``finetune``, from the start or from its last checkpoint."""
    folder = store.folder(step)
    home = folder.path
    if (folder.checkpoints / LAST).exists():
        return [step.kind, RUN, "--resume", "--home", str(home)]
    shutil.rmtree(home / "runs", ignore_errors=True)
    if "init" in step.inputs:
        init = str(_checkpoint(step.inputs["init"], store))
        recipe = {**recipe, "encoder": {**recipe["encoder"], "init": init}}
    file = _write_settings(home / "recipe.yaml", recipe)
    return [step.kind, file, "--name", RUN, "--home", str(home)]


def _dataset_root(dataset: Step, store: StepStore) -> Path:
    return store.folder(dataset).path / "set"


def _home_of_pool(step: Step, store: StepStore) -> Path:
    """The home with the pool that a step needs: the folder of another step, or one of the user's."""
    return store.folder(step.inputs["pool"]).path if "pool" in step.inputs else Path(step.settings["home"])


def _link_pool(step: Step, store: StepStore) -> None:
    """Make the pool that a step needs appear in its own folder, which is the home of its commands.

    So do the lists of the user's home, of which the pool is all or a part.
    """
    home, whole = store.folder(step).path, step
    while "pool" in whole.inputs:
        whole = whole.inputs["pool"]
    links = {"pool": _home_of_pool(step, store) / "pool"}
    if whole.settings.get("home") is not None:
        links["lists"] = Path(whole.settings["home"]) / "lists"
    for name, target in links.items():
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(target)


def _write_settings(path: Path, settings: Mapping[str, Any]) -> str:
    write_text_atomically(path, yaml.safe_dump(dict(settings), sort_keys=False))
    return str(path)
