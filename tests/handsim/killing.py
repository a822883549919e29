"""Kills a process at each of its steps on the disk, to see what a crash at the worst moment leaves.

A step is what changes names or contents: a file opened to write, renamed, linked, deleted or synced, a
directory made or removed, a Parquet table written. The process is a fork, so that a kill costs milliseconds.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Final

import pyarrow.parquet as pq

_NAME_EVENTS: Final = {
    "os.rename",
    "os.link",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}
_STEP: Final = "tests.step"


def kill_at_every_step(
    prepare: Callable[[], None], operation: Callable[[], object], check: Callable[[], None]
) -> int:
    """For n = 1, 2, ...: prepare, run the operation in a process killed before its n-th step, and check.

    Ends with the n for which the operation came to its end; returns it. A process that ends otherwise fails.
    """
    for step in count(1):
        prepare()
        status = _run_killed(operation, step)
        check()
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0, "the operation failed; its traceback is above"
            return step
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError


def _run_killed(operation: Callable[[], object], step: int) -> int:
    """The status of a child that runs the operation, and is killed before its step of that number."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        _kill_before(step)
        operation()
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _kill_before(step: int) -> None:
    """Count the steps of this process from now on; audit hooks cannot be taken back, so it is a child."""
    left = step

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in _NAME_EVENTS or event == _STEP or writes:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    def as_step(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            sys.audit(_STEP)
            return function(*arguments, **options)

        return call

    os.fsync = as_step(os.fsync)  # type: ignore[assignment]
    pq.write_table = as_step(pq.write_table)
    sys.addaudithook(on_event)
