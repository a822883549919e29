"""Doing what is missing of an experiment, as much of it at once as there is room for."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from training.experiments.crew import Crew, Ending
from training.experiments.pace import Pace, as_duration
from training.experiments.slots import Slot
from training.experiments.steps import Step
from training.experiments.store import StepStore
from training.runs.interruption import StopRequest


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
