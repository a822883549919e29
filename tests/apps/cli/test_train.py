"""``handsim pretrain`` and ``handsim finetune``: arguments, last lines, exit codes and Ctrl-C.

That a resumed run is equal to the bit to a whole one is shown in tests/training.
"""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from apps.cli import main
from handsim.errors import UnavailableError
from tests.apps.commands import Capture, run_ok, run_refused, start_command
from training.models.estimator import PoseEstimator
from training.pairs.live import LiveNeighbors
from training.pretrain import module as pretrain_module

pytestmark = pytest.mark.slow

LOG = ["--log.metrics_every_steps=1", "--log.figures_every_steps=0", "--log.tensorboard=false"]
PRETRAIN = [
    *("pretrain", "cpu_small", "--name", "run", "--encoder.architecture=resnet18", *LOG),
    *("--augmentation.size_px=32", "--head.hidden=16", "--head.out=8"),
    *("--trainer.batch_size=12", "--trainer.epochs=2", "--pairs.patience_s=0"),
]
"""60 hands: 5 batches an epoch."""
TUNE_SET = ["finetune", "synthetic", "--data.root", "SET"]
FINETUNE = [
    *(*TUNE_SET, "--name", "run", "--augmentation.size_px=32", *LOG),
    *("--data.training_crop_px=48", "--trainer.batch_size=8", "--trainer.epochs=1"),
]
"""16 hands: 2 batches an epoch."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic set: 24 hands of 12 people, 16 of them to train on."""
    path = tmp_path_factory.mktemp("labelled") / "set"
    synth = ["synth", "--layout", "synthetic", "--videos", "12", "--hands-per-video", "2", "--size", "64"]
    assert main([*synth, "--out", str(path)]) == 0
    return path


def home_beside(home: Path, path: Path) -> Path:
    """A home of one's own with the shared pool and index."""
    path.mkdir()
    for name in ("pool", "index", "embedding.json"):
        (path / name).symlink_to(home / name)
    return path


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    return home_beside(home, tmp_path / "place")


@pytest.fixture(scope="module")
def trained(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the pre-training ``run`` of one step."""
    path = home_beside(home, tmp_path_factory.mktemp("trained") / "home")
    torch.set_num_threads(1)
    assert main([*PRETRAIN, "--trainer.max_steps=1", "--home", str(path)]) == 0
    return path


def words_with(labelled: Path, words: list[str]) -> list[str]:
    return [str(labelled) if word == "SET" else word for word in words]


def runs_of(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "runs").glob("*"))


def steps_of(place: Path, run: str = "run") -> list[int]:
    lines = map(json.loads, (place / "runs" / run / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "loss" in line]


def checkpoint_of(place: Path, run: str = "run") -> Any:
    return torch.load(place / "runs" / run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain"], "which recipe?"),
        (["pretrain", "simhnd"], "did you mean simhand?"),
        (["pretrain", "cpu_small", "--optimizer.lrr", "1"], "did you mean optimizer.lr?"),
        (["pretrain", "cpu_small", "--trainer.batch_size", "61"], "a batch of 61 anchors"),
        (["pretrain", "cpu_small", "--resume"], "leave --resume out"),
        (["pretrain", "cpu_small", "--pairs.pin_version", "v0009"], "v0009"),
        ([*PRETRAIN, "--pairs.table", "nowhere.parquet"], "no table of pairs at nowhere.parquet"),
        (["pretrain", "cpu_small", "--name", "../run"], "run name"),
        (["finetune"], "which recipe?"),
        (["finetune", "synthetic"], "data.root is not set; say where synthetic lies, with --data.root"),
        ([*TUNE_SET, "--label-fraction", "2"], "data.label_fraction is 2"),
        ([*TUNE_SET, "--init", "nobody"], "no run of that name"),
        ([*TUNE_SET, "--init", "resnet50"], "make them the same"),
        (["finetune", "synthetic", "--resume"], "leave --resume out"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    labelled: Path, place: Path, capsys: Capture, words: list[str], message: str
) -> None:
    assert message in run_refused(capsys, *words_with(labelled, words), "--home", place)
    assert runs_of(place) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--seed=5", "seed 1, this run has 5"),
        ("--head.out=4", "another network"),
        ("--encoder.architecture=resnet34", "architecture resnet18, this run has resnet34"),
        ("--trainer.batch_size=4", "batches an epoch 5, this run has 15"),
    ],
)
def test_a_run_is_not_resumed_as_another(trained: Path, capsys: Capture, setting: str, message: str) -> None:
    resume = ("pretrain", "run", "--resume", "--trainer.max_steps=2", setting, "--home", trained)
    assert message in run_refused(capsys, *resume)
    assert steps_of(trained) == [1]


def test_a_fine_tuning_begins_with_a_pre_training_and_is_resumed(
    labelled: Path, trained: Path, capsys: Capture
) -> None:
    """The trunk begins with the run's weights, whose file's checksum is written down."""
    begin = [*words_with(labelled, FINETUNE), "--name=fine", "--init=run", "--optimizer.lr=0"]
    out = run_ok(capsys, *begin, "--trainer.max_steps=1", "--home", trained)
    folder = trained / "runs" / "fine"
    assert out.splitlines()[-1] == (
        f"1 step done in {folder}; next: handsim evaluate pose fine --home {trained}"
    )
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["init"].startswith("resnet18 of ")
    assert "runs/run/checkpoints/last.ckpt, sha256 " in facts["init"]
    assert (facts["dataset"], facts["hands"], facts["val_hands"]) == ("synthetic", 16, 4)
    name = "encoder.trunk.layer4.1.conv2.weight"
    fine = checkpoint_of(trained, "fine")["state_dict"]
    assert torch.equal(fine[f"estimator.{name}"], checkpoint_of(trained)["state_dict"][name])

    out = run_ok(capsys, "finetune", "fine", "--resume", "--trainer.max_steps=2", "--home", trained)
    assert "resuming" in out
    assert out.splitlines()[-1].startswith("2 steps done in ")
    assert steps_of(trained, "fine") == [1, 2]


@pytest.mark.parametrize(
    ("words", "place_of_loss", "samples"),
    [
        (PRETRAIN, (pretrain_module, "nt_xent"), {"anchors": 12}),
        (FINETUNE, (PoseEstimator, "loss"), {"sample_ids": 8}),
    ],
    ids=["pretrain", "finetune"],
)
def test_a_loss_that_is_nan_ends_the_run_and_names_the_batch(
    labelled: Path,
    place: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    place_of_loss: tuple[Any, str],
    samples: dict[str, int],
) -> None:
    calls: list[int] = []
    compute = getattr(*place_of_loss)

    def poisoned(*inputs: Any, **settings: Any) -> Any:
        calls.append(1)
        loss = compute(*inputs, **settings)
        if len(calls) < 2:
            return loss
        return {**loss, "loss": loss["loss"] * torch.nan} if isinstance(loss, dict) else loss * torch.nan

    monkeypatch.setattr(*place_of_loss, poisoned)
    words = [*words_with(labelled, words), "--log.checkpoint_every_steps=1", "--home", str(place)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("handsim: the loss is nan in batch 1 of epoch 0; resume from the last checkpoint")
    assert error.count("\n") == 1
    assert checkpoint_of(place)["global_step"] == 1
    record = json.loads((place / "runs/run/diverged.json").read_text())
    assert (record["loss"], record["epoch"], record["batch"]) == ("nan", 0, 1)
    assert {name: len(set(record[name])) for name in samples} == samples


def test_a_run_whose_index_is_away_saves_its_last_step(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, calls = LiveNeighbors.draw, []

    def away(source: LiveNeighbors, anchors: Any, rng: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:  # the first one asks whether the anchors have positives
            raise UnavailableError("nobody answers")
        return draw(source, anchors, rng)

    monkeypatch.setattr(LiveNeighbors, "draw", away)
    assert main([*PRETRAIN, "--home", str(place)]) == 2
    assert capsys.readouterr().err == "handsim: the index did not answer for 0 s: nobody answers\n"
    assert checkpoint_of(place)["global_step"] == 2
    assert "waiting for the index, 0 s at most: nobody answers" in (place / "runs/run/log.txt").read_text()


def signal_once_there(process: "subprocess.Popen[str]", file: Path, sent: signal.Signals) -> tuple[str, str]:
    """Send a signal when a file has content; returns what the process printed until its end."""
    while not (file.exists() and file.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(sent)
    return process.communicate(timeout=120)


def test_a_killed_run_leaves_a_whole_checkpoint_and_is_resumed_from_it(place: Path) -> None:
    """Every step writes one: the kill comes within a step or within the writing of the next one."""
    process = start_command(place, *PRETRAIN, "--trainer.epochs=40", "--log.checkpoint_every_steps=1")
    signal_once_there(process, place / "runs/run/checkpoints/last.ckpt", signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    last = checkpoint_of(place)["global_step"] + 1
    assert main(["pretrain", "run", "--resume", f"--trainer.max_steps={last}", "--home", str(place)]) == 0
    assert steps_of(place) == list(range(1, last + 1))


def test_ctrl_c_ends_a_run_with_the_checkpoint_that_its_last_line_names(place: Path) -> None:
    """SIGTERM, and going on from there: see tests/training/runs/test_runs.py."""
    process = start_command(place, *PRETRAIN, "--trainer.epochs=40")
    out, err = signal_once_there(process, place / "runs/run/metrics.jsonl", signal.SIGINT)
    assert process.returncode == 130, err
    steps = checkpoint_of(place)["global_step"]
    assert out.splitlines()[-1] == (
        f"stopped after step {steps:,}; `handsim pretrain run --resume --home {place}` goes on from there"
    )
    assert "Traceback" not in err
    assert steps_of(place) == list(range(1, steps + 1))


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_are_one_run(labelled: Path, place: Path) -> None:
    """While a trunk is frozen its weights have no gradients, on which the processes must agree."""
    words = [*words_with(labelled, FINETUNE), "--trainer.devices=2", "--trainer.batch_size=4"]
    process = start_command(place, *words, "--trainer.epochs=2", "--trainer.freeze_trunk=1")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert runs_of(place) == ["run"]
    assert steps_of(place) == [1, 2, 3, 4]
    assert out.count("4 steps done") == 1
    facts = json.loads((place / "runs/run/facts.json").read_text())
    assert (facts["batches_an_epoch"], facts["hands_a_step"]) == (2, 8)
    assert all(bool(torch.isfinite(weight).all()) for weight in checkpoint_of(place)["state_dict"].values())
