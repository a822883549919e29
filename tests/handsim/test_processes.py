import os
import signal
import sys
from multiprocessing.connection import Connection
from threading import Thread

import pytest

from handsim.processes import PipeWorker, ignore_interrupts, module_command


def double(connection: Connection, factor: int, *, also_pid: bool) -> None:
    if also_pid:
        connection.send(os.getpid())
    while True:
        connection.send(factor * connection.recv())


def test_a_worker_answers_until_its_pipe_is_closed_and_hears_no_interrupt() -> None:
    worker = PipeWorker(double, 2, also_pid=True)
    assert worker.connection.recv() == worker.process.pid != os.getpid()
    assert worker.process.pid is not None
    os.kill(worker.process.pid, signal.SIGINT)
    worker.connection.send(21)
    assert worker.connection.recv() == 42
    worker.stop()
    assert worker.process.exitcode == 0


def test_a_worker_that_died_ends_the_pipe() -> None:
    worker = PipeWorker(double, 2, also_pid=False)
    worker.process.kill()
    with pytest.raises((EOFError, ConnectionError)):
        worker.connection.recv()
    worker.stop()


def test_interrupts_are_ignored_inside_the_block_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ignore_interrupts():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
    inside: list[object] = []

    def run_in_thread() -> None:  # only the main thread may set handlers
        with ignore_interrupts():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = Thread(target=run_in_thread)
    thread.start()
    thread.join()
    assert inside == [before]


def test_a_module_is_started_without_the_working_directory() -> None:
    assert module_command("apps.cli", "--help") == [sys.executable, "-P", "-m", "apps.cli", "--help"]
