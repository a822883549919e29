"""Folders of steps: what they record, and who may work in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handsim.errors import HandsimError
from tests.training.experiments.builders import pool_step
from training.experiments.steps import LAST_LINE_CHARACTERS, Step, StepFolder, StepStore

STEP = Step("index", "wild", {"components": 3}, {"pool": pool_step()})


@pytest.fixture
def folder(tmp_path: Path) -> StepFolder:
    folder = StepStore(tmp_path / "steps").folder(STEP)
    folder.path.mkdir(parents=True)
    return folder


def _never() -> None:
    raise AssertionError("the folder should be free")


def test_a_folder_is_named_by_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = StepStore(Path("steps"))
    assert store.folder(STEP).path == tmp_path / "steps" / f"index-{STEP.key}"
    assert not store.path.exists()
    store.make()
    store.make()
    assert store.path.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(
        HandsimError, match=r"file/steps cannot be made \(Not a directory\); name another --home"
    ):
        StepStore(tmp_path / "file" / "steps").make()


def test_a_folder_records_its_step_and_how_it_ended(folder: StepFolder) -> None:
    assert not folder.is_done
    assert folder.seconds() is None
    folder.begin(STEP)
    assert json.loads((folder.path / "step.json").read_text()) == {
        "title": "index wild",
        "kind": "index",
        "key": STEP.key,
        "inputs": {"pool": STEP.inputs["pool"].name},
        "settings": {"components": 3},
    }
    folder.fail(2)
    assert json.loads(folder.failed_file.read_text())["exit_code"] == 2
    assert not folder.is_done
    folder.begin(STEP)  # a failure is forgotten where it is tried again
    assert not folder.failed_file.exists()
    folder.finish(12.3456, at_once=True)
    assert folder.is_done
    assert folder.seconds() == 12.346


def test_seconds_are_known_for_steps_done_in_one_try(folder: StepFolder) -> None:
    folder.finish(3.0, at_once=False)
    assert folder.is_done
    assert folder.seconds() is None
    folder.done_file.write_text("{")  # a damaged mark is a mark
    assert folder.is_done
    assert folder.seconds() is None


def test_the_last_line_of_a_log_skips_blank_ones_and_is_short(folder: StepFolder) -> None:
    assert folder.last_line() == ""
    folder.log.write_text("")
    assert folder.last_line() == ""
    folder.log.write_text("one\nhandsim: two\n\n  \n")
    assert folder.last_line() == "handsim: two"
    folder.log.write_bytes(b"\xff" * 1000)
    assert len(folder.last_line()) == LAST_LINE_CHARACTERS


def test_a_locked_folder_is_refused_until_it_is_released(folder: StepFolder) -> None:
    calls: list[str] = []
    with folder.lock(_never, lambda: False) as first:
        assert first is not None
        with folder.lock(lambda: calls.append("waits"), lambda: False) as second:
            assert second is None
    assert calls == ["waits"]
    with folder.lock(_never, lambda: False) as again:
        assert again is not None


def test_a_locked_folder_is_tried_again_as_long_as_wait_says(folder: StepFolder) -> None:
    calls: list[str] = []
    first = folder.lock(_never, lambda: False)
    assert first.__enter__() is not None

    def wait() -> bool:
        calls.append("looks")
        if len(calls) == 3:
            first.__exit__(None, None, None)
        return True

    with folder.lock(lambda: calls.append("waits"), wait) as second:
        assert second is not None
    assert calls == ["waits", "looks", "looks"]


def test_an_exception_releases_the_folder(folder: StepFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.lock(_never, lambda: False):
        _ = 1 // 0
    with folder.lock(_never, lambda: False) as lock:
        assert lock is not None


def test_a_child_process_keeps_the_lock_when_its_parent_is_killed(folder: StepFolder) -> None:
    child = "import sys; sys.stdin.read()"
    parent = (
        "import os, subprocess, sys; from pathlib import Path\n"
        "from training.experiments.steps import StepFolder\n"
        f"with StepFolder(Path({str(folder.path)!r})).lock(print, bool) as lock:\n"
        f"    subprocess.Popen([sys.executable, '-c', {child!r}], pass_fds=(lock,))\n"
        "    os._exit(9)\n"
    )
    reading, writing = os.pipe()
    ended = subprocess.run([sys.executable, "-c", parent], stdin=reading, check=False)
    os.close(reading)
    assert ended.returncode == 9
    with folder.lock(lambda: None, lambda: False) as lock:
        assert lock is None
    os.close(writing)  # the child comes to its end
    with folder.lock(lambda: None, lambda: True) as lock:
        assert lock is not None
