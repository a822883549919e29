"""`handsim finetune` as people run it, on a synthetic set: bad input in one line, signals, two processes."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from apps.cli import main
from handsim.skeleton import REFERENCE_BONE
from tests.apps.commands import run_ok, run_refused, start_command
from training.datasets.synthetic import LABELS_FILE, METADATA_FILE
from training.models.estimator import PoseEstimator

SETTINGS = [
    *("--augmentation.size_px=32", "--data.training_crop_px=48", "--trainer.batch_size=8"),
    *("--trainer.epochs=1", "--log.metrics_every_steps=1", "--log.figures_every_steps=0"),
    "--log.tensorboard=false",
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic set: 24 hands of 12 people, whereof 16 to train on."""
    path = tmp_path_factory.mktemp("labelled") / "set"
    synth = ["synth", "--layout", "synthetic", "--videos", "12", "--hands-per-video", "2", "--size", "64"]
    assert main([*synth, "--out", str(path)]) == 0
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "home"


def _run(labelled: Path, *words: str) -> list[str]:
    return ["finetune", "synthetic", "--name", "run", "--data.root", str(labelled), *SETTINGS, *words]


def _runs(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "runs").glob("*"))


def _steps(place: Path) -> list[int]:
    lines = map(json.loads, (place / "runs/run/metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "loss" in line]


def _last(place: Path) -> Any:
    return torch.load(place / "runs/run/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["synthetik"], "did you mean synthetic?"),
        ([], "which recipe?"),
        (["synthetic"], "data.root is not set; say where synthetic lies, with --data.root FOLDER"),
        (["synthetic", "--data.root", "nowhere"], "nowhere is not a folder"),
        (["synthetic", "--data.root", "SET", "--data.val_split", "vall"], "did you mean val?"),
        (["synthetic", "--data.root", "SET", "--data.dataset", "freihand"], "give the folder that FreiHAND"),
        (["synthetic", "--data.root", "SET", "--data.dataset", "frei"], "did you mean freihand?"),
        (["synthetic", "--data.root", "SET", "--label-fraction", "0"], "data.label_fraction is 0"),
        (["synthetic", "--data.root", "SET", "--label-fraction", "2"], "data.label_fraction is 2"),
        (
            ["synthetic", "--data.root", "SET", "--label-fraction", "0.1"],
            "lower trainer.batch_size, or",
        ),
        (["synthetic", "--data.root", "SET", "--init", "nobody"], "no run of that name"),
        (["synthetic", "--data.root", "SET", "--init", "resnet50"], "make them the same"),
        (["synthetic", "--data.root", "SET", "--optimizer.lrr", "1"], "did you mean optimizer.lr?"),
        (["synthetic", "--resume"], "leave --resume out"),
        (["synthetic", "--data.root", "SET", "--name", "../run"], "run name"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    labelled: Path, place: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    words = [str(labelled) if word == "SET" else word for word in words]
    assert message in run_refused(capsys, "finetune", *words, "--home", place)
    assert _runs(place) == []


def _without_labels(root: Path) -> None:
    (root / LABELS_FILE).unlink()


def _of_another_version(root: Path) -> None:
    (root / METADATA_FILE).write_text(
        (root / METADATA_FILE).read_text().replace('"format": 1', '"format": 7')
    )


def _change_joints(root: Path, change: Callable[[NDArray[np.float32]], None]) -> None:
    with np.load(root / LABELS_FILE) as stored:
        labels = dict(stored)
    change(labels["joints_3d_mm"])
    np.savez(root / LABELS_FILE, **labels)


def _all_invalid(root: Path) -> None:
    _change_joints(root, lambda joints: joints.fill(np.nan))


def _without_a_reference_bone(root: Path) -> None:
    start, end = REFERENCE_BONE

    def shrink(joints: NDArray[np.float32]) -> None:
        joints[:, end] = joints[:, start]

    _change_joints(root, shrink)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_without_labels, "labels.npz is missing; write it again with `handsim synth"),
        (_of_another_version, "has format 7, this handsim reads 1; write it again"),
        (_all_invalid, "has numbers in joints_3d_mm that are not finite; write it again"),
        (_without_a_reference_bone, "have a bone from wrist to middle_mcp of length 0, so that"),
    ],
)
def test_a_broken_set_is_one_line_and_leaves_nothing(
    labelled: Path,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Path], None],
    message: str,
) -> None:
    root = place.parent / "broken"
    shutil.copytree(labelled, root)
    break_it(root)
    assert message in run_refused(capsys, *_run(root), "--home", place)
    assert _runs(place) == []


def test_a_truncated_picture_is_told(labelled: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = place.parent / "damaged"
    shutil.copytree(labelled, damaged)
    for picture in damaged.glob("images/*.jpg"):
        picture.write_bytes(picture.read_bytes()[:300])
    capsys.readouterr()
    assert main([*_run(damaged), "--home", str(place)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("handsim: the picture ")
    assert line.count("\n") == 1


def test_from_pre_training_to_a_resumed_run(
    labelled: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trunk begins with a run's weights, whose file's checksum is written down."""
    assert main([*_run(labelled), "--trainer.max_steps=1", "--home", str(place)]) == 0
    first = _last(place)
    begun = ["finetune", "synthetic", "--name", "again", "--init", "run", "--data.root", str(labelled)]
    assert main([*begun, *SETTINGS, "--optimizer.lr=0", "--trainer.max_steps=1", "--home", str(place)]) == 0
    facts = json.loads((place / "runs/again/facts.json").read_text())
    assert facts["init"].startswith("resnet18 of ")
    assert "runs/run/checkpoints/last.ckpt, sha256 " in facts["init"]
    assert (facts["dataset"], facts["hands"], facts["val_hands"]) == ("synthetic", 16, 4)
    again = torch.load(place / "runs/again/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    name = "estimator.encoder.trunk.layer4.1.conv2.weight"
    assert torch.equal(again[name], first["state_dict"][name])

    out = run_ok(capsys, "finetune", "run", "--resume", "--trainer.max_steps=2", "--home", place)
    assert "resuming" in out
    assert out.splitlines()[-1].startswith("2 steps done in ")
    assert _steps(place) == [1, 2]


def test_a_loss_that_is_no_number(
    labelled: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    loss = PoseEstimator.loss

    def poisoned(estimator: PoseEstimator, *given: Any) -> Any:
        calls.append(1)
        losses = loss(estimator, *given)
        return {**losses, "loss": losses["loss"] * (float("nan") if len(calls) == 2 else 1.0)}

    monkeypatch.setattr(PoseEstimator, "loss", poisoned)
    capsys.readouterr()
    assert main([*_run(labelled), "--log.checkpoint_every_steps=1", "--home", str(place)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("handsim: the loss is nan in batch 1 of epoch 0; ")
    assert line.count("\n") == 1
    assert _last(place)["global_step"] == 1
    record = json.loads((place / "runs/run/diverged.json").read_text())
    assert (record["loss"], record["epoch"], record["batch"]) == ("nan", 0, 1)
    assert len(set(record["sample_ids"])) == 8

    monkeypatch.undo()
    assert main(["finetune", "run", "--resume", "--home", str(place)]) == 0
    assert _steps(place) == [1, 2]


def test_a_signal_stops_with_a_checkpoint(labelled: Path, place: Path) -> None:
    process = start_command(place, *_run(labelled, "--trainer.epochs=40"))
    metrics = place / "runs/run/metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    steps = _steps(place)[-1]
    assert out.splitlines()[-1] == (
        f"stopped after step {steps:,}; `handsim finetune run --resume` goes on from there"
    )
    assert "Traceback" not in err
    assert _last(place)["global_step"] == steps


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes(labelled: Path, place: Path) -> None:
    """While a trunk is frozen its weights have no gradients, which the processes are to agree on."""
    words = _run(labelled, "--trainer.devices=2", "--trainer.batch_size=4", "--trainer.epochs=2")
    process = start_command(place, *words, "--trainer.freeze_trunk=1")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert _runs(place) == ["run"]
    assert _steps(place) == [1, 2, 3, 4]
    assert out.count("over 4 hands") == 2
    facts = json.loads((place / "runs/run/facts.json").read_text())
    assert (facts["batches_an_epoch"], facts["hands_a_step"]) == (2, 8)
    assert all(bool(torch.isfinite(weight).all()) for weight in _last(place)["state_dict"].values())
