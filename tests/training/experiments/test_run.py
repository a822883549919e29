"""Doing steps: folders, locks, slots, estimates, commands, and real small steps with failures and signals."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml

from handsim.errors import HandsimError
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.training.experiments.builders import SHORT, Content, nested, pool_step, runs_of
from training.experiments import run as slots
from training.experiments.plan import merge_settings
from training.experiments.run import (
    DurationEstimator,
    Slot,
    as_duration,
    make_slots,
    prepare,
    remove_unused_checkpoint,
    run_steps,
)
from training.experiments.steps import LAST_LINE_CHARACTERS, Kind, Step, StepFolder, StepStore
from training.finetune.config import RECIPES as FINETUNE_RECIPES
from training.pretrain.config import RECIPES as PRETRAIN_RECIPES

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
    with pytest.raises(HandsimError, match=r"file/steps cannot be made \(Not a .*\); name another --home"):
        StepStore(tmp_path / "file" / "steps").make()


def test_a_folder_records_its_step_and_how_it_ended(folder: StepFolder) -> None:
    assert (folder.is_done, folder.seconds()) == (False, None)
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
    assert (folder.is_done, folder.seconds()) == (True, 12.346)


def test_seconds_are_known_for_steps_done_in_one_try(folder: StepFolder) -> None:
    folder.finish(3.0, at_once=False)
    assert (folder.is_done, folder.seconds()) == (True, None)
    folder.done_file.write_text("{")  # a damaged mark is a mark
    assert (folder.is_done, folder.seconds()) == (True, None)


def test_the_last_line_of_a_log_skips_blank_ones_and_is_short(folder: StepFolder) -> None:
    assert folder.last_line() == ""
    folder.log.write_text("")
    assert folder.last_line() == ""
    folder.log.write_text("one\nhandsim: two\n\n  \n")
    assert folder.last_line() == "handsim: two"
    folder.log.write_bytes(b"\xff" * 1000)
    assert len(folder.last_line()) == LAST_LINE_CHARACTERS


def test_a_locked_folder_is_refused_until_its_holder_leaves_or_fails(folder: StepFolder) -> None:
    calls: list[str] = []
    with folder.lock(_never, lambda: False) as first:
        assert first is not None
        with folder.lock(lambda: calls.append("waits"), lambda: False) as second:
            assert second is None
    assert calls == ["waits"]
    with pytest.raises(ZeroDivisionError), folder.lock(_never, lambda: False):
        _ = 1 // 0
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


def _machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int, cores: int, allowed: str | None = None) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(slots, "available_cores", lambda: cores)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)


def _gpu(name: str, threads: int) -> Slot:
    return Slot(f"GPU {name}", {"CUDA_VISIBLE_DEVICES": name, "OMP_NUM_THREADS": str(threads)})


def test_a_cpu_is_one_slot_unless_jobs_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=0, cores=8)
    assert make_slots(None) == [Slot("8 cores", {"OMP_NUM_THREADS": "8"})]
    assert make_slots(3) == [Slot("2 cores", {"OMP_NUM_THREADS": "2"})] * 3
    assert make_slots(8) == [Slot("a core", {"OMP_NUM_THREADS": "1"})] * 8


def test_each_gpu_is_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=3, cores=8)
    assert make_slots(None) == [_gpu("0", 2), _gpu("1", 2), _gpu("2", 2)]
    assert make_slots(1) == [_gpu("0", 8)]


@pytest.mark.parametrize(
    ("allowed", "count", "names"),
    [
        ("2,5", 2, ["2", "5"]),
        (" 7 , 3", 2, ["7", "3"]),
        ("GPU-8932f937,GPU-27eb", 2, ["GPU-8932f937", "GPU-27eb"]),
        ("1,-1,2", 1, ["1"]),  # CUDA stops at the first that is none
        ("", 0, []),
    ],
)
def test_only_gpus_that_the_environment_allows_are_used(
    monkeypatch: pytest.MonkeyPatch, allowed: str, count: int, names: list[str]
) -> None:
    _machine(monkeypatch, gpus=count, cores=4, allowed=allowed)
    expected = [_gpu(name, 4 // count) for name in names] or [Slot("4 cores", {"OMP_NUM_THREADS": "4"})]
    assert make_slots(None) == expected


@pytest.mark.parametrize(
    ("gpus", "jobs", "problem"),
    [
        (0, 0, "--jobs is 0; it is at least 1"),
        (2, -1, "--jobs is -1; it is at least 1"),
        (0, 5, "--jobs is 5, and there are 4 cores; give at most 4"),
        (2, 3, "--jobs is 3, and there are 2 GPUs; give at most 2"),
    ],
)
def test_numbers_of_jobs_out_of_bounds_are_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: int, jobs: int, problem: str
) -> None:
    _machine(monkeypatch, gpus=gpus, cores=4)
    with pytest.raises(HandsimError, match=f"^{problem}$"):
        make_slots(jobs)


def _step(kind: Kind, what: str, seed: int = 1) -> Step:
    return Step(kind, what, {"seed": seed}, seed=seed)


def test_estimates_come_from_the_same_step_else_from_its_kind() -> None:
    durations = DurationEstimator()
    simhand, peclr = _step("pretrain", "simhand"), _step("pretrain", "peclr")
    assert durations.seconds(simhand) is None
    durations.add(simhand, 100.0)
    durations.add(_step("pretrain", "simhand", 2), 120.0)
    durations.add(peclr, 50.0)
    assert durations.seconds(_step("pretrain", "simhand", 3)) == 110.0
    assert durations.seconds(peclr) == 50.0
    assert durations.seconds(_step("pretrain", "simclr")) == 90.0
    assert durations.seconds(_step("finetune", "simhand")) is None


def test_the_time_left_is_divided_by_the_slots() -> None:
    durations = DurationEstimator()
    durations.add(_step("pretrain", "peclr"), 50.0)
    left = [_step("pretrain", "peclr", seed) for seed in (2, 3)]
    under_way = {_step("pretrain", "peclr", 4): 20.0, _step("pretrain", "peclr", 5): 70.0}
    assert durations.seconds_left(left, under_way, 2) == ((50 + 50 + 30 + 0) / 2, True)
    assert durations.seconds_left([], {}, 3) == (0.0, True)
    unknown = _step("finetune", "peclr")
    assert durations.seconds_left([*left, unknown], {}, 1) == (100.0, False)
    assert durations.seconds_left(left, {unknown: 3.0}, 1) == (100.0, False)


def test_durations_are_given_in_two_units_at_most() -> None:
    texts = ["8 s", "1 min 00 s", "3 min 12 s", "1 h 05 min", "25 h 00 min"]
    assert [as_duration(seconds) for seconds in (8.2, 59.6, 192, 3900, 90_000)] == texts


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    store = StepStore(tmp_path / "steps")
    store.make()
    return store


def _simhand(content: Content) -> dict[str, Step]:
    """The steps of the run of SiMHand."""
    evaluate = runs_of(content)[1].evaluation
    finetune = evaluate.inputs["finetune"]
    pretrain = finetune.inputs["init"]
    trainings = {"evaluate": evaluate, "finetune": finetune, "pretrain": pretrain}
    return {**trainings, **pretrain.inputs, **finetune.inputs}


def _prepared(step: Step, store: StepStore) -> tuple[Path, list[list[str]]]:
    home = store.folder(step).path
    home.mkdir(parents=True, exist_ok=True)
    return home, prepare(step, store)


def _read(path: str) -> Any:
    return yaml.safe_load(Path(path).read_text())


def test_synthetic_pools_and_datasets_are_made_by_synth(store: StepStore) -> None:
    steps = _simhand(merge_settings(SHORT, nested("data.pools.wild.keypoint_noise", 0.03)))
    home, (command,) = _prepared(steps["pool"], store)
    world_file = str(home / "world.yaml")
    assert command == ["synth", "--world", world_file, "--keypoint-noise", "0.03", "--home", str(home)]
    world = _read(command[2])
    assert (world["videos"], world["scene"]["passing_share"]) == (4, 0.35)
    home, (command,) = _prepared(steps["dataset"], store)
    assert command[3:] == ["--layout", "synthetic", "--out", str(home / "set")]
    (home / "set").mkdir()
    _prepared(steps["dataset"], store)
    assert not (home / "set").exists()  # of what is half written nothing is kept


def test_a_subset_is_taken_from_another_step_or_from_a_home(store: StepStore) -> None:
    part = _simhand(merge_settings(SHORT, nested("data.pools.wild.hands", 5)))["pool"]
    home, (command,) = _prepared(part, store)
    whole = store.folder(part.inputs["pool"]).path
    assert command == ["pool", "subset", "5", "--to", str(home), "--home", str(whole)]
    (home / "pool").mkdir()
    _prepared(part, store)
    assert not (home / "pool").exists()
    content = {**SHORT, "data": {**SHORT["data"], "home": "hands", "pools": {"wild": {"hands": 5}}}}
    _, (command,) = _prepared(_simhand(content)["pool"], store)
    assert command[-1] == str(Path("hands").resolve())


def test_an_index_is_always_built_from_the_start(store: StepStore) -> None:
    steps = _simhand(merge_settings(SHORT, nested("axes.components", [5])))
    home, commands = _prepared(steps["index"], store)
    fit = ["embedding", "fit", "--components", "5", "--normalisation", "centre-scale", "--home", str(home)]
    assert commands == [fit, ["index", "build", "--home", str(home)]]
    deep = merge_settings(
        SHORT, nested("axes.methods.simhand.embedding", {"depth": True, "up_to_turn": True})
    )
    deep_home, (deep_fit, _) = _prepared(_simhand(deep)["index"], store)
    assert deep_fit[-4:] == ["--depth", "--up-to-turn", "--home", str(deep_home)]
    assert deep_home != home
    pool = store.folder(steps["pool"]).path / "pool"
    assert (home / "pool").readlink() == pool
    (home / "index").mkdir()
    (home / "embedding.json").touch()
    _prepared(steps["index"], store)
    assert [path.name for path in home.iterdir()] == ["pool"]


def test_the_pool_of_a_home_is_linked_into_the_folder(store: StepStore) -> None:
    content = {**SHORT, "data": {"pools": {"mine": {"home": "hands"}}, "datasets": {"d": {"root": "set"}}}}
    evaluate = runs_of(content)[1].evaluation
    pretrain = evaluate.inputs["finetune"].inputs["init"]
    home, _ = _prepared(pretrain, store)
    assert (home / "pool").readlink() == Path("hands/pool").resolve()
    recipe = _read(_prepared(evaluate.inputs["finetune"], store)[1][0][1])
    assert recipe["data"]["root"] == str(Path("set").resolve())


def test_trainings_get_their_inputs(store: StepStore) -> None:
    steps = _simhand(SHORT)
    home, (command,) = _prepared(steps["pretrain"], store)
    index = store.folder(steps["index"]).path / "index"
    recipe = str(home / "recipe.yaml")
    assert command == ["pretrain", recipe, "--name", "run", "--home", str(home), "--index", str(index)]
    start = store.folder(steps["pretrain"].inputs["init"]).path / "runs/run/checkpoints/last.ckpt"
    assert PRETRAIN_RECIPES.read(recipe).encoder.init == str(start)
    assert "--index" not in _prepared(steps["pretrain"].inputs["init"], store)[1][0]  # SimCLR asks none

    home, (command,) = _prepared(steps["finetune"], store)
    assert command == ["finetune", str(home / "recipe.yaml"), "--name", "run", "--home", str(home)]
    config = FINETUNE_RECIPES.read(home / "recipe.yaml")
    assert config.encoder.init == str(store.folder(steps["pretrain"]).path / "runs/run/checkpoints/last.ckpt")
    assert config.data.root == str(store.folder(steps["dataset"]).path / "set")
    assert config.seed == 1


def test_a_training_with_a_checkpoint_resumes(store: StepStore) -> None:
    """Others begin again, in an empty folder."""
    steps = _simhand(SHORT)
    for kind in ("pretrain", "finetune"):
        home, _ = _prepared(steps[kind], store)
        checkpoints = home / "runs/run/checkpoints"
        checkpoints.mkdir(parents=True)
        (home / "runs/run-2").mkdir()
        _, (command,) = _prepared(steps[kind], store)
        assert command[1] == str(home / "recipe.yaml")
        assert not (home / "runs").exists()
        checkpoints.mkdir(parents=True)
        (checkpoints / "last.ckpt").touch()
        _, (command,) = _prepared(steps[kind], store)
        assert command[:5] == [kind, "run", "--resume", "--home", str(home)]
        assert ("--index" in command) == (kind == "pretrain")


def test_the_best_checkpoint_is_evaluated(store: StepStore) -> None:
    for split in (None, "val"):
        steps = _simhand(merge_settings(SHORT, nested("data.datasets.studio.split", split)))
        home, (command,) = _prepared(steps["evaluate"], store)
        best = store.folder(steps["finetune"]).path / "runs/run/checkpoints/best.ckpt"
        words = [] if split is None else ["--split", split]
        assert command == ["evaluate", "pose", str(best), "--name", "run", *words, "--home", str(home)]
        assert store.folder(steps["evaluate"]).report == home / "runs/run/pose.json"


def test_only_one_checkpoint_of_a_finished_training_remains(store: StepStore) -> None:
    steps = _simhand(SHORT)
    for kind, result in (("pretrain", "last.ckpt"), ("finetune", "best.ckpt")):
        checkpoints = store.folder(steps[kind]).path / "runs/run/checkpoints"
        checkpoints.mkdir(parents=True)
        other = ({"last.ckpt", "best.ckpt"} - {result}).pop()
        (checkpoints / other).touch()
        remove_unused_checkpoint(steps[kind], store)
        assert [path.name for path in checkpoints.iterdir()] == [other]  # better than none
        (checkpoints / result).touch()
        remove_unused_checkpoint(steps[kind], store)
        assert [path.name for path in checkpoints.iterdir()] == [result]
    remove_unused_checkpoint(steps["pool"], store)


SLOT = Slot("a core", {"OMP_NUM_THREADS": "1"})
LIMIT_S = 120.0


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


@pytest.mark.slow
def test_a_failed_step_blocks_only_the_steps_that_need_it(store: StepStore) -> None:
    """Two at a time, inputs first."""
    bad, good = pool_step(size_px=65), pool_step()
    needs_bad = Step("index", "of bad", {"components": 3, "normalisation": "none"}, {"pool": bad})
    needs_more = Step("pretrain", "on bad", {}, {"pool": bad, "index": needs_bad})
    lines: list[str] = []
    left, right = Slot("left", SLOT.environment), Slot("right", SLOT.environment)
    outcome = run_steps([bad, needs_bad, needs_more, good], store, [left, right], lines.append)
    assert (outcome.done, outcome.stopped) == (1, False)
    assert outcome.failed == [bad]
    assert outcome.blocked == [needs_bad, needs_more]
    assert lines[0].startswith("4 steps, 0 of them done already")
    assert lines[1:3] == [f"{bad.title}: begins on left", f"{good.title}: begins on right"]
    log = store.folder(bad).log
    refusal = "handsim: size_px is 65; it must be a multiple of 8, at least 32"
    assert f"{bad.title}: failed, {refusal} (all of it in {log})" in lines
    assert " handsim synth --world " in log.read_text().splitlines()[0]
    assert (store.folder(bad).failed_file.exists(), store.folder(bad).is_done) == (True, False)
    assert not store.folder(needs_bad).path.exists()
    assert _is_whole(good, store)

    # What is done is not done again, what failed is tried again; here it can be done now.
    lines.clear()
    mended = replace(bad, recipe={**bad.recipe, "size_px": 64})
    assert mended.key == bad.key
    outcome = run_steps([mended, good], store, [SLOT] * 2, lines.append)
    assert (outcome.done, outcome.failed, outcome.blocked) == (2, [], [])
    assert lines[0].startswith("2 steps, 1 of them done already")
    assert [line.split(":")[0] for line in lines[1:]] == [mended.title] * 2
    assert lines[-1].endswith("; 2 of 2")
    assert not store.folder(mended).failed_file.exists()
    assert store.folder(mended).seconds() is None  # not at once
    assert store.folder(good).seconds() is not None


def _soon(find: Callable[[], Any]) -> Any:
    """What a function finds, as soon as that is something."""
    pause = threading.Event()
    for _ in range(int(LIMIT_S / 0.02)):
        if found := find():
            return found
        pause.wait(0.02)
    raise AssertionError("it did not come about")


def _children(process: int, count: int) -> list[psutil.Process]:
    """The commands that a process has started, as soon as there are ``count`` of them."""

    def find() -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):  # one that ends now
            found = [each for each in psutil.Process(process).children() if "apps.cli" in each.cmdline()]
            return found if len(found) >= count else []
        return []

    return [*_soon(find)]


def _has_ended(process: psutil.Process) -> bool:
    """One that is not ours; nobody may be there to take note of it."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


@pytest.mark.slow
def test_a_signal_stops_and_the_next_run_completes(store: StepStore) -> None:
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
    short = replace(first, recipe=second.recipe)  # all 40 videos take too long
    assert short.key == first.key
    outcome = run_steps([short], store, [SLOT], lambda line: None)
    assert (outcome.stopped, outcome.done) == (False, 1)
    assert _is_whole(short, store)


@pytest.mark.slow
def test_a_second_signal_kills_the_commands(store: StepStore) -> None:
    """Also what does not heed the first one: here a command that is suspended, with SIGTERM before it."""
    deaf, second = pool_step(40), pool_step(3)
    children: list[psutil.Process] = []
    rescue: list[threading.Timer] = []

    def report(line: str) -> None:
        if line.startswith(f"{second.title}: begins"):  # lines by the main thread; the other one has begun
            children.extend(_children(os.getpid(), 1))
            children[0].suspend()
            os.waitid(os.P_PID, children[0].pid, os.WSTOPPED)
            rescue.append(threading.Timer(LIMIT_S, children[0].resume))  # or this test would never end
            rescue[0].start()
            signal.raise_signal(signal.SIGINT)
            assert children[0].status() == psutil.STATUS_STOPPED
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_steps([deaf, second], store, [SLOT] * 2, report)
    assert not rescue[0].finished.is_set()
    rescue[0].cancel()
    assert not children[0].is_running()
    assert not store.folder(deaf).is_done
    assert not store.folder(second).path.exists()


@pytest.mark.slow
def test_a_killed_run_is_completed_by_the_next_one(store: StepStore) -> None:
    """One of its two commands is killed with it; the other lives on, is waited for, and nothing is lost."""
    steps = [pool_step(2, seed=1), pool_step(2, seed=2)]
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.training.experiments.builders import pool_step\n"
        "from training.experiments.run import Slot, StepStore, run_steps\n"
        "steps, store = [pool_step(2, seed=1), pool_step(2, seed=2)], StepStore(Path(sys.argv[1]))\n"
        "run_steps(steps, store, [Slot('', {'OMP_NUM_THREADS': '1'})] * 2, print)\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", script, str(store.path)], stdout=subprocess.DEVNULL)
    survivor, victim = _children(runner.pid, 2)
    survivor.suspend()  # so that it is still there when it is waited for
    runner.kill()
    victim.kill()
    assert runner.wait() == -signal.SIGKILL
    _soon(lambda: _has_ended(victim))
    assert not any(store.folder(step).is_done for step in steps)

    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if "another process" in line:
            survivor.resume()

    outcome = run_steps(steps, store, [SLOT] * 2, report)
    assert (outcome.done, outcome.failed, outcome.stopped) == (2, [], False)
    assert sum("another process is doing it; waiting for that" in line for line in lines) == 1
    assert all(_is_whole(step, store) for step in steps)
