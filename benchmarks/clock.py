"""Seconds that things take, and the time of what is under way."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

Result = TypeVar("Result")


class Clock:
    """How long a ``with`` block takes, and how long the cores are busy with it."""

    seconds: float
    """Of the wall's clock."""
    processor_seconds: float
    """Of this process, all threads together."""

    def __enter__(self) -> "Clock":
        self._started, self._processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self.processor_seconds = time.process_time() - self._processor


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that some work took, and what it returned."""
    with Clock() as clock:
        answer = work()
    return clock.seconds, answer


def say(text: str) -> None:
    """Tell whoever watches what is under way, where the figures do not go."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
