import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from handsim.files import FileLock, replacing, write_text_atomically


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
