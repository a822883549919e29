"""Steps that are really done, small ones: failures, signals, kills, and what a second run makes of them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.training.experiments.contents import pool_step
from training.experiments.run import Slot, run_steps
from training.experiments.steps import Step, StepStore

SLOT = Slot("a core", {"OMP_NUM_THREADS": "1"})
PATIENCE_S = 120.0


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    store = StepStore(tmp_path / "steps")
    store.make()
    return store


def _is_whole(step: Step, store: StepStore) -> bool:
    """Whether its pool has the hands that filming it without a break gives."""
    world, folder = step.recipe, store.folder(step)
    straight = store.path.parent / f"straight-{step.key}"
    synthesise_pool(straight, SyntheticConfig(**world))
    expected, found = Pool.open(straight), Pool.open(folder.path / "pool")
    assert len(expected.hand_ids) == world["videos"] * world["hands_per_video"]
    first, second = np.argsort(expected.hand_ids), np.argsort(found.hand_ids)
    return (
        folder.is_done
        and np.array_equal(expected.hand_ids[first], found.hand_ids[second])
        and np.array_equal(expected.keypoints[first], found.keypoints[second])
    )


def test_what_fails_holds_up_only_what_needs_it(store: StepStore) -> None:
    """Two at a time, inputs first."""
    bad, good = pool_step(size_px=65), pool_step()
    needs_bad = Step("index", "of bad", {"components": 3, "normalisation": "none"}, {"pool": bad})
    needs_more = Step("pretrain", "on bad", {}, {"pool": bad, "index": needs_bad})
    after = Step("pool", "after good", good.settings, {"first": good}, {**good.recipe, "videos": 1})
    steps, said = [bad, needs_bad, needs_more, good, after], list[str]()
    left, right = Slot("left", SLOT.environment), Slot("right", SLOT.environment)
    outcome = run_steps(steps, store, [left, right], said.append)
    assert (outcome.done, outcome.stopped) == (2, False)
    assert outcome.failed == [bad]
    assert outcome.blocked == [needs_bad, needs_more]
    assert said[0].startswith("5 steps, 0 of them done already")
    assert said[1:3] == [f"{bad.title}: begins on left", f"{good.title}: begins on right"]
    log = store.folder(bad).log
    refusal = "handsim: size_px is 65; it must be a multiple of 8, at least 32"
    assert f"{bad.title}: failed, {refusal} (all of it in {log})" in said
    assert " handsim synth --world " in log.read_text().splitlines()[0]
    assert (store.folder(bad).failed_file.exists(), store.folder(bad).is_done) == (True, False)
    assert not store.folder(needs_bad).path.exists()
    ended = next(number for number, line in enumerate(said) if line.startswith(f"{good.title}: done in "))
    assert any(line.startswith(f"{after.title}: begins on ") for line in said[ended:])
    assert _is_whole(good, store)

    # What is done is not done again, what failed is tried again; here it can be done now.
    said.clear()
    mended = Step(bad.kind, bad.description, bad.settings, recipe={**bad.recipe, "size_px": 64})
    assert mended.key == bad.key
    outcome = run_steps([mended, good, after], store, [SLOT], said.append)
    assert (outcome.done, outcome.failed, outcome.blocked) == (3, [], [])
    assert said[0].startswith("3 steps, 2 of them done already")
    assert [line.split(":")[0] for line in said[1:]] == [mended.title] * 2
    assert said[-1].endswith("; 3 of 3")
    assert not store.folder(mended).failed_file.exists()
    assert store.folder(mended).seconds() is None  # not at once
    assert store.folder(good).seconds() is not None


def _children(process: int, count: int) -> list[psutil.Process]:
    """The commands that a process has started, as soon as there are ``count`` of them."""
    for _ in _until_late():
        found = [child for child in psutil.Process(process).children() if "apps.cli" in _words(child)]
        if len(found) >= count:
            return found
    raise AssertionError(f"there are no {count} commands under way")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _wait_for_the_end(process: psutil.Process) -> None:
    """Of one that is not ours; nobody may be there to take note of it."""
    for _ in _until_late():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
    raise AssertionError(f"{process} lives on")


def _until_late() -> Iterator[None]:
    """Again and again, for a while."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        yield
        pause.wait(0.02)


def test_a_signal_stops_and_a_second_run_goes_on(store: StepStore) -> None:
    first, second = pool_step(40), pool_step(3)

    def interrupt() -> None:
        _children(os.getpid(), 1)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as elsewhere:
        interrupted = elsewhere.submit(interrupt)
        outcome = run_steps([first, second], store, [SLOT], lambda line: None)
    interrupted.result()
    assert (outcome.stopped, outcome.done, outcome.failed, outcome.blocked) == (True, 0, [], [])
    assert not store.folder(first).failed_file.exists()
    assert not store.folder(second).path.exists()
    short = Step(
        first.kind, first.description, first.settings, recipe=second.recipe
    )  # all 40 videos take too long
    assert short.key == first.key
    outcome = run_steps([short], store, [SLOT], lambda line: None)
    assert (outcome.stopped, outcome.done) == (False, 1)
    assert _is_whole(short, store)


def test_a_second_signal_ends_at_once(store: StepStore) -> None:
    """Also what does not heed the first one: here a command that is suspended, with SIGTERM before it."""
    deaf, second = pool_step(40), pool_step(3)
    seen: list[psutil.Process] = []
    rescue: list[threading.Timer] = []

    def say(line: str) -> None:
        if line.startswith(f"{second.title}: begins"):  # said by the main thread; the other one has begun
            seen.extend(_children(os.getpid(), 1))
            seen[0].suspend()
            os.waitid(os.P_PID, seen[0].pid, os.WSTOPPED)
            rescue.append(threading.Timer(PATIENCE_S, seen[0].resume))  # or this test would never end
            rescue[0].start()
            signal.raise_signal(signal.SIGINT)
            assert seen[0].status() == psutil.STATUS_STOPPED
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_steps([deaf, second], store, [SLOT] * 2, say)
    assert not rescue[0].finished.is_set()
    rescue[0].cancel()
    assert not seen[0].is_running()
    assert not store.folder(deaf).is_done
    assert not store.folder(second).path.exists()


def test_a_run_that_was_killed_is_gone_on_with(store: StepStore) -> None:
    """One of its two commands is killed with it; the other lives on, is waited for, and nothing is lost."""
    steps = [pool_step(2, seed=1), pool_step(2, seed=2)]
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.training.experiments.contents import pool_step\n"
        "from training.experiments.run import run_steps\n"
        "from training.experiments.run import Slot\n"
        "from training.experiments.steps import StepStore\n"
        "steps, store = [pool_step(2, seed=1), pool_step(2, seed=2)], StepStore(Path(sys.argv[1]))\n"
        "run_steps(steps, store, [Slot('', {'OMP_NUM_THREADS': '1'})] * 2, print)\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", script, str(store.path)], stdout=subprocess.DEVNULL)
    survivor, victim = _children(runner.pid, 2)
    survivor.suspend()  # so that it is still there when it is waited for
    runner.kill()
    victim.kill()
    assert runner.wait() == -signal.SIGKILL
    _wait_for_the_end(victim)
    assert not any(store.folder(step).is_done for step in steps)

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "another process" in line:
            survivor.resume()

    outcome = run_steps(steps, store, [SLOT] * 2, say)
    assert (outcome.done, outcome.failed, outcome.stopped) == (2, [], False)
    assert sum("another process is doing it; waiting for that" in line for line in said) == 1
    assert all(_is_whole(step, store) for step in steps)
