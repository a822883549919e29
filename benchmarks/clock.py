"""Seconds that things take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


class Phases:
    """The seconds of each part of a longer job."""

    def __init__(self) -> None:
        """None yet."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how long the block takes."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that some work took, and what it returned."""
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer
