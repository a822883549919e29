"""How a run is launched and how it ends: processes, signals, and the checkpoint that its last line names."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handsim.errors import HandsimError
from tests.training.pretrain.builders import Place
from training.pretrain.module import PretrainModule
from training.runs import trainer as trainer_module
from training.runs.checkpoints import Checkpoints
from training.runs.folder import RunFolder
from training.runs.settings import LogSettings, TrainerSettings
from training.runs.trainer import make_trainer


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
    assert "2 steps of 12 pairs, 5 batches an epoch, on 2 x cpu" in done.stdout
    assert done.stdout.count("2 steps done") == 1
    assert [step for step, *_ in place.losses("small")] == [1, 2]


def _send_once() -> Callable[[], None]:
    pending = [signal.SIGTERM]

    def send() -> None:
        if pending:
            signal.raise_signal(pending.pop())

    return send


@pytest.mark.slow
def test_a_signal_within_a_step_stops_after_the_step_with_its_checkpoint(place: Place) -> None:
    send, step = _send_once(), PretrainModule.training_step

    def stepping(module: PretrainModule, batch: Any, index: int) -> torch.Tensor:
        if index == 2:  # the first of two batches of step 2
            send()
        return step(module, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainModule, "training_step", stepping)
        outcome = place.train("run", ["--trainer.accumulate=2"])
    assert (outcome.steps, outcome.finished) == (2, False)
    assert place.checkpoint("run")["global_step"] == 2


@pytest.mark.slow
def test_a_signal_after_checkpoints_were_decided_stops_with_the_next_one(place: Place) -> None:
    send, end = _send_once(), Checkpoints.on_train_batch_end

    def ending(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        end(self, trainer, module, outputs, batch, index)
        if index == 1:
            send()

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
