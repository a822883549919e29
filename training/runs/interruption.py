"""Ctrl-C while it trains: stop between two steps, with a checkpoint."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType


class StopRequest:
    """Whether somebody asked for an end: by SIGINT (Ctrl-C) or SIGTERM within a ``with`` block, or `ask`.

    A second signal interrupts at once. Only the main thread may enter the block.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether it was."""
        self.also: Callable[[], None] = lambda: None
        """What else to do when a signal comes; it runs in the signal's handler."""

    def ask(self) -> None:
        """Ask for an end at the next opportunity."""
        self.asked = True

    def __enter__(self) -> "StopRequest":
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.ask()
        self.also()
