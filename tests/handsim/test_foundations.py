"""What the rest is built on: errors, hashes, files and locks, child processes."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from handsim.errors import NotThereError, UnusableError, did_you_mean
from handsim.files import FileLock, replacing, write_text_atomically
from handsim.hashing import GOLDEN_GAMMA, hash64, mix64
from handsim.processes import PipeWorker, ignore_interrupts, module_command

SETTINGS = ["optimizer.lr", "pairs.policy.top_k", "data.world", "data.worlds"]
SPLITS = ["s0_train", "s0_val", "s1_train", "s1_val"]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("simhnd", ["simclr", "simhand"], "; did you mean simhand?"),
        ("optimizer.lrr", SETTINGS, "; did you mean optimizer.lr?"),
        ("lr", SETTINGS, "; did you mean optimizer.lr?"),
        ("pairs.topk", SETTINGS, "; did you mean pairs.policy.top_k?"),
        ("train", SPLITS, "; did you mean s0_train?"),  # the first of equally near ones
        ("zz", [], ""),
        ("zz", ["freihand", "dexycb"], ""),
    ],
)
def test_the_nearest_name_is_suggested_if_one_is_near(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known) == hint


def test_errors_read_as_one_sentence() -> None:
    assert str(NotThereError("there is no pool")) == "there is no pool"
    assert str(UnusableError("not a video", "it holds no pictures")) == "not a video: it holds no pictures"
    assert str(UnusableError("no such file", "")) == "no such file"


def test_hashes_are_those_on_disk() -> None:
    """Ids, checksums and seeds hold them: they must never change."""
    states = [GOLDEN_GAMMA, 2 * GOLDEN_GAMMA % 2**64]
    # The first two numbers of SplitMix64 for the seed 0, from its authors' code.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    assert [mix64(state) for state in states] == expected
    assert mix64(np.array(states, dtype=np.uint64)).tolist() == expected
    assert hash64(b"hand") == 0x77ACCD9718BD69B4


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_text_atomically(path, "old")
    with suppress(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["settings.json"]


def test_threads_that_replace_a_file_at_once_do_not_mix(tmp_path: Path) -> None:
    path, together = tmp_path / "file", Barrier(4)

    def write(letter: str) -> None:
        with replacing(path) as temporary:
            together.wait(timeout=60)
            temporary.write_text(letter * 1000)
            together.wait(timeout=60)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, "abcd"))
    assert path.read_text() in {letter * 1000 for letter in "abcd"}
    assert os.listdir(tmp_path) == ["file"]


def test_a_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as lock, FileLock(tmp_path / "lock") as other:
        assert lock.acquire()
        lock.write_holder("process 12345")
        lock.write_holder("process 7")
        assert not other.acquire()
        assert not other.acquire(shared=True)
        assert other.holder() == "process 7"
        lock.release()
        assert other.acquire(shared=True)
        with FileLock(tmp_path / "lock") as third:
            assert third.acquire(shared=True)
            assert not third.acquire()
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "absent", create=False)


def test_a_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from handsim.files import FileLock\n"
        "FileLock(Path(sys.argv[1])).acquire() and print('locked', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with FileLock(tmp_path / "lock") as lock:
            assert not lock.acquire()
            process.kill()
            assert lock.acquire(wait=True)


def double(connection: Connection, factor: int, *, also_pid: bool) -> None:
    if also_pid:
        connection.send(os.getpid())
    while True:
        connection.send(factor * connection.recv())


def test_a_worker_hears_no_interrupt_answers_until_its_pipe_is_closed_and_ends_it_when_it_dies() -> None:
    worker = PipeWorker(double, 2, also_pid=True)
    assert worker.connection.recv() == worker.process.pid != os.getpid()
    assert worker.process.pid is not None
    os.kill(worker.process.pid, signal.SIGINT)
    worker.connection.send(21)
    assert worker.connection.recv() == 42
    worker.stop()
    assert worker.process.exitcode == 0
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

    def handler_in_thread() -> object:  # only the main thread may set handlers
        with ignore_interrupts():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(handler_in_thread).result() is before


def test_a_module_is_started_without_the_working_directory() -> None:
    assert module_command("apps.cli", "--help") == [sys.executable, "-P", "-m", "apps.cli", "--help"]
