"""Processor cores, child processes, and the signals that stop them."""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any, Concatenate, Final, ParamSpec

_Arguments = ParamSpec("_Arguments")
_STOP_SECONDS: Final = 5.0
_STDERR_LOCK: Final = threading.Lock()


def available_cores() -> int:
    """The cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def allow_more_files() -> bool:
    """Let this process have as many files open as the system allows; False where it has them already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line of ``python -m module`` for a child process.

    -P leaves the working directory out of sys.path: a user's own index.py there must not be imported as ours.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what the process writes to standard error inside the block.

    Some C libraries write warnings straight to file descriptor 2 and have no option against it. What other
    threads write there is lost too, so only the few calls that warn run inside.
    """
    with _STDERR_LOCK:
        sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # a daemon without a standard error: nothing to silence
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C, in this process and in the children that it starts meanwhile.

    Ctrl-C reaches every process of a terminal. It is meant for the main one, which then ends its children in
    order. A child must ignore it from birth: it may come before the child runs its first line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change this, and only it is ever interrupted
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class StopRequest:
    """Whether the run is to stop: after SIGINT (Ctrl-C) or SIGTERM within a ``with`` block, or `request`.

    A second signal interrupts at once. Only the main thread may enter the block.
    """

    def __init__(self) -> None:
        self.requested = False
        self.on_signal: Callable[[], None] = lambda: None

    def request(self) -> None:
        self.requested = True

    def __enter__(self) -> "StopRequest":
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.request()
        self.on_signal()


class PipeWorker:
    """A child process and the pipe to it.

    The child runs ``serve(connection, ...)``, which receives and sends until the pipe is closed. It is
    spawned, not forked: neither MediaPipe's threads nor Qdrant's engine survive a fork.
    """

    def __init__(
        self,
        serve: Callable[Concatenate[Connection, _Arguments], None],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> None:
        """Start it; ``serve`` and its arguments must be picklable."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # Daemonic: it ends with this process, however this one ends.
        process = context.Process(target=_serve, args=(serve, theirs, args, kwargs), daemon=True)
        with ignore_interrupts():
            process.start()
        theirs.close()
        self.process: BaseProcess = process

    def stop(self) -> None:
        """Close the pipe and wait for the process to end; kill it if it does not within seconds."""
        stop_workers([self])


def stop_workers(workers: Iterable[PipeWorker]) -> None:
    """Close the pipes and wait for all processes to end; kill those that do not within the same seconds."""
    workers = list(workers)
    for worker in workers:
        worker.connection.close()
    deadline = time.monotonic() + _STOP_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(
    serve: Callable[..., None], connection: Connection, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it was started from a thread
    with suppress(EOFError, ConnectionError):  # the main process closed the pipe, or is gone
        serve(connection, *args, **kwargs)
