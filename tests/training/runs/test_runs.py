"""How a run starts and ends: its folder, metrics and checkpoints, processes and signals."""

import json
import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
from handsim.processes import StopRequest
from tests.training.pretrain.builders import Place
from training.pairs.decoding import PairBatch
from training.pretrain.config import PretrainConfig
from training.pretrain.module import PretrainModule
from training.runs import trainer as trainer_module
from training.runs.checkpoints import Checkpoints
from training.runs.folder import RunFolder
from training.runs.module import RunModule
from training.runs.monitor import MetricsFile
from training.runs.optimizer import OptimizerSettings
from training.runs.settings import LogSettings, Schedule, TrainerSettings
from training.runs.trainer import make_trainer


def test_metrics_forget_what_comes_after_a_step(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.drop_after(3)  # nothing there yet
    assert not (tmp_path / "metrics.jsonl").exists()
    for step in range(1, 6):
        file.log_metrics({"loss": step / 8, "odd": math.nan}, step)
    with (tmp_path / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 2, "loss": 0.')
    file.drop_after(3)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": step, "loss": step / 8, "odd": None} for step in (1, 2, 3)]
    file.drop_after(0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


class _Trainer:
    """As much of one as keeping checkpoints takes."""

    def __init__(self) -> None:
        self.strategy = self
        self.is_global_zero = True
        self.global_step = 0
        self.should_stop = False
        self.full = False

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return decision

    def reduce(self, value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        return value

    def save_checkpoint(self, path: Path) -> None:
        path.write_text(f"step {self.global_step}")
        if self.full:
            raise OSError(28, "No space left on device")


class _SmallModule(RunModule):
    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule, OptimizerSettings())
        self.layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


class _Recorder:
    """Checkpoints of a run of two epochs, three batches each, whose losses the test makes up."""

    def __init__(self, folder: Path, every_steps: int = 100, accumulate: int = 1) -> None:
        schedule = Schedule(
            batches_an_epoch=3, batches=6, full_batches=6, samples_a_step=8, accumulate=accumulate
        )
        self.module = _SmallModule(schedule)
        self.trainer, self.stop = _Trainer(), StopRequest()
        self.folder, self.batches = folder, 0
        self.checkpoints = Checkpoints(RunFolder(folder.parent), every_steps, self.stop)

    def train(self, *losses: float) -> None:
        for loss in losses:
            self.module.loss = loss
            done = self.batches + 1
            if done % self.module.schedule.accumulate == 0 or done == self.module.schedule.batches:
                self.trainer.global_step += 1
            trainer, batch = cast(Trainer, self.trainer), cast(PairBatch, None)
            self.checkpoints.on_train_batch_end(trainer, self.module, None, batch, self.batches)
            self.batches = done

    def contents(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.glob("*")}


@pytest.fixture
def recorder(tmp_path: Path) -> _Recorder:
    return _Recorder(tmp_path / "checkpoints")


def test_the_last_and_the_best_epoch_have_checkpoints(recorder: _Recorder) -> None:
    recorder.train(1.0, 2.0)
    assert not recorder.folder.exists()
    recorder.train(3.0)
    assert recorder.contents() == {"last.ckpt": "step 3", "best.ckpt": "step 3"}
    recorder.train(0.1, 0.1, 9.0)  # worse on the whole
    assert recorder.contents() == {"last.ckpt": "step 6", "best.ckpt": "step 3"}


def test_a_checkpoint_is_written_every_so_many_steps(tmp_path: Path) -> None:
    recorder = _Recorder(tmp_path / "checkpoints", every_steps=2)
    recorder.train(1.0)
    assert recorder.contents() == {}
    recorder.train(1.0)
    assert recorder.contents() == {"last.ckpt": "step 2"}


def test_no_checkpoint_is_written_within_a_step(tmp_path: Path) -> None:
    """With two batches a step the first epoch ends within the second step, and is saved with it."""
    recorder = _Recorder(tmp_path / "checkpoints", accumulate=2)
    recorder.train(1.0, 1.0, 1.0)
    assert recorder.contents() == {}
    recorder.train(1.0)
    assert recorder.contents() == {"last.ckpt": "step 2", "best.ckpt": "step 2"}


def test_a_stop_waits_for_the_end_of_the_step(tmp_path: Path) -> None:
    recorder = _Recorder(tmp_path / "checkpoints", accumulate=2)
    recorder.stop.request()
    recorder.train(1.0)
    assert (recorder.contents(), recorder.trainer.should_stop) == ({}, False)
    recorder.train(1.0)
    assert (recorder.contents(), recorder.trainer.should_stop) == ({"last.ckpt": "step 1"}, True)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["layers.0.weight", "layers.1.running_var"])
def test_broken_weights_and_statistics_never_replace_whole_ones(
    recorder: _Recorder, name: str, broken: float
) -> None:
    recorder.train(1.0, 1.0, 1.0)
    recorder.module.state_dict()[name].flatten()[0] = broken
    recorder.train(0.5, 0.5, 0.5)
    assert recorder.contents() == {"last.ckpt": "step 3", "best.ckpt": "step 3"}


def test_a_full_disk_is_an_error_and_leaves_the_last_checkpoint(recorder: _Recorder) -> None:
    recorder.train(1.0, 1.0, 1.0)
    recorder.trainer.full = True
    recorder.train(0.5, 0.5)
    with pytest.raises(HandsimError, match=r"best\.ckpt cannot be written \(No space left on device\)"):
        recorder.train(0.5)
    assert recorder.contents() == {"last.ckpt": "step 3", "best.ckpt": "step 3"}


def test_new_folders_are_numbered(tmp_path: Path) -> None:
    home = Home(tmp_path)
    names = [RunFolder.new(home, "simhand").path.name for _ in range(3)]
    assert names == ["simhand", "simhand-2", "simhand-3"]
    with pytest.raises(HandsimError, match="run name"):
        RunFolder.new(home, "../out")


def test_no_two_runs_take_one_folder(tmp_path: Path) -> None:
    """The system makes a directory once, whoever asks: threads here, which start at once."""
    with ThreadPoolExecutor(8) as threads:
        taken = [*threads.map(RunFolder.new, [Home(tmp_path)] * 40, ["race"] * 40)]
    assert len({folder.path for folder in taken}) == 40


def _with_checkpoint(home: Home, name: str, written_s: int) -> RunFolder:
    folder = RunFolder(home.run(name))
    folder.checkpoints.mkdir(parents=True)
    folder.last.write_text("")
    os.utime(folder.last, (written_s, written_s))
    return folder


def test_the_latest_run_is_that_of_the_latest_checkpoint(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(NotThereError, match=r"no checkpoint of a run a .*leave --resume out"):
        RunFolder.latest(home, "a")
    home.run("a-4").mkdir(parents=True)  # nothing in it
    _with_checkpoint(home, "a", 10)
    wanted = _with_checkpoint(home, "a-2", 30)
    _with_checkpoint(home, "a-3", 20)
    _with_checkpoint(home, "a-2nd-try", 40)
    _with_checkpoint(home, "ab", 50)
    assert RunFolder.latest(home, "a") == wanted
    assert RunFolder.latest(home, "a-3").path.name == "a-3"


def test_other_processes_of_a_run_neither_make_nor_remove_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    earlier = RunFolder.new(home, "run")
    monkeypatch.setenv("RANK", "1")
    folder = RunFolder.new(home, "run")
    folder.discard_unless_begun()
    assert [path.name for path in home.runs.iterdir()] == [earlier.path.name]


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    home = Home(tmp_path)
    never, begun = RunFolder.new(home, "never"), RunFolder.new(home, "begun")
    begun.write_config(PretrainConfig())
    for folder in (never, begun):
        folder.add_to_log("hello")
        folder.discard_unless_begun()
    assert (never.path.exists(), begun.path.exists()) == (False, True)
    assert begun.read_config()["seed"] == 1


def test_settings_that_an_earlier_run_lacks_are_those_by_which_it_went(tmp_path: Path) -> None:
    folder = RunFolder.new(Home(tmp_path), "run")
    folder.config.write_text(
        "augmentation: {margin: [0.9, 1.5]}\npairs: {policy: {min_distance: 0.1}}\nestimator: {}\n"
    )
    assert folder.read_config() == {
        "augmentation": {"margin": [0.9, 1.5], "extent": "box"},
        "pairs": {"policy": {"min_distance": 0.1, "keep_duplicates": True}},
        "estimator": {"loss_balance": "by_size"},
    }


@pytest.mark.parametrize("text", ["", "- 1", "a: ["])
def test_unreadable_settings_of_a_run_are_an_error(tmp_path: Path, text: str) -> None:
    folder = RunFolder.new(Home(tmp_path), "run")
    folder.config.write_text(text)
    with pytest.raises(HandsimError, match="the run cannot be resumed") as caught:
        folder.read_config()
    assert "\n" not in str(caught.value)


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Lightning's Trainer gets them, in place of being made."""
    found: dict[str, Any] = {}

    class Recorder:
        def __init__(self, **arguments: Any) -> None:
            found.update(arguments)

    monkeypatch.setattr(trainer_module, "Trainer", Recorder)
    return found


def _make(find_unused_parameters: bool = False, **settings: Any) -> None:
    log = LogSettings(tensorboard=False)
    folder = RunFolder(Path("run"))
    make_trainer(TrainerSettings(**settings), log, folder, [], find_unused_parameters=find_unused_parameters)


@pytest.mark.parametrize(
    ("gpus", "settings", "unused", "devices", "strategy"),
    [
        (0, {}, True, 1, "auto"),
        (1, {}, True, 1, "auto"),
        (4, {}, True, 4, "ddp_find_unused_parameters_true"),
        (4, {}, False, 4, "ddp"),
        (4, {"accelerator": "cpu"}, False, 1, "auto"),
        (4, {"devices": 2}, True, 2, "ddp_find_unused_parameters_true"),
        (1, {"nodes": 2}, True, 1, "ddp_find_unused_parameters_true"),
    ],
)
def test_every_gpu_is_used_and_unused_parameters_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    gpus: int,
    settings: dict[str, Any],
    unused: bool,
    devices: int,
    strategy: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    _make(unused, **settings)
    assert (arguments["devices"], arguments["strategy"]) == (devices, strategy)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN], ids=["torchrun", "srun"])
def test_processes_that_were_started_are_used_or_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _make(accelerator="cpu", nodes=2)
    assert (arguments["devices"], arguments["num_nodes"], arguments["strategy"]) == (2, 2, "ddp")
    with pytest.raises(HandsimError, match=r"trainer\.devices is 1, and .*run started 2 processes on this"):
        _make(accelerator="cpu", nodes=2, devices=1)
    with pytest.raises(HandsimError, match=r"trainer\.nodes is 1, and .*; give --trainer\.nodes 2"):
        _make(accelerator="cpu")


@pytest.mark.slow
def test_two_processes_of_torchrun_are_one_run(place: Place) -> None:
    command = [
        *(sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--no-python", str(Path(sys.executable).with_name("handsim")), "pretrain", str(place.recipe())),
        *("--trainer.max_steps=2", "--trainer.batch_size=6", "--home", str(place.home.path)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr
    assert "2 steps of 12 pairs, 1 batches an epoch, on 2 x cpu" in done.stdout
    assert done.stdout.count("2 steps done") == 1
    assert [step for step, *_ in place.losses("small")] == [1, 2]


@pytest.mark.slow
def test_a_signal_within_a_step_stops_after_the_step_with_its_checkpoint(place: Place) -> None:
    step = PretrainModule.training_step

    def stepping(module: PretrainModule, batch: Any, index: int) -> torch.Tensor:
        if index == 2:  # the first of two batches of step 2
            signal.raise_signal(signal.SIGTERM)
        return step(module, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainModule, "training_step", stepping)
        outcome = place.train("run", ["--trainer.accumulate=2"])
    assert (outcome.steps, outcome.finished) == (2, False)
    assert place.checkpoint("run")["global_step"] == 2


@pytest.mark.slow
def test_a_signal_after_checkpoints_were_decided_stops_with_the_next_one(place: Place) -> None:
    end = Checkpoints.on_train_batch_end

    def ending(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        end(self, trainer, module, outputs, batch, index)
        if index == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", ending)
        outcome = place.train("run")
    assert (outcome.steps, outcome.finished) == (3, False)
    assert place.checkpoint("run")["global_step"] == 3


def _break_weights(patch: pytest.MonkeyPatch, after_step: int) -> None:
    """Have the weights become NaN in an optimizer step whose loss was a number."""
    end = Checkpoints.on_train_batch_end

    def ending(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if trainer.global_step == after_step:
            with torch.no_grad():
                next(module.parameters()).fill_(torch.nan)
        end(self, trainer, module, outputs, batch, index)

    patch.setattr(Checkpoints, "on_train_batch_end", ending)


@pytest.mark.slow
def test_the_last_step_of_a_run_without_a_checkpoint_is_an_error(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _break_weights(patch, 2)
        with pytest.raises(HandsimError, match=r"step 2 made weights NaN .* written after step 1; resume"):
            place.train("run", ["--trainer.max_steps=2", "--log.checkpoint_every_steps=1"])
    assert place.checkpoint("run")["global_step"] == 1
