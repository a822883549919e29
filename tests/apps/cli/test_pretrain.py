"""`handsim pretrain` as people run it: bad input in one line, Ctrl-C, kill, two processes."""

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
from handsim.pool import Pool
from tests.apps.commands import run_refused, start_command
from tests.apps.conftest import copy_home
from training.losses import nt_xent
from training.pairs.live import LiveNeighbors
from training.pretrain import module as pretrain_module

SETTINGS = [
    *("--encoder.architecture=resnet18", "--augmentation.size_px=32", "--head.hidden=16", "--head.out=8"),
    *("--trainer.batch_size=12", "--trainer.epochs=2", "--pairs.patience_s=0"),
    *("--log.metrics_every_steps=1", "--log.figures_every_steps=0", "--log.tensorboard=false"),
]
"""60 hands: 5 batches an epoch."""
RUN = ["pretrain", "cpu_small", "--name", "run", *SETTINGS]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    """A home of one's own with the shared pool and index."""
    path = tmp_path / "place"
    path.mkdir()
    for name in ("pool", "index", "embedding.json"):
        (path / name).symlink_to(home / name)
    return path


def _runs(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "runs").glob("*"))


def _steps(place: Path) -> list[int]:
    lines = (place / "runs" / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def _last(place: Path) -> Any:
    return torch.load(place / "runs/run/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simhnd"], "did you mean simhand?"),
        (["cpu_small", "--optimizer.lrr", "1"], "did you mean optimizer.lr?"),
        (["cpu_small", "--trainer.epochs", "soon"], "trainer.epochs"),
        (["cpu_small", "--trainer.batch_size", "61"], "61"),
        (["cpu_small", "--resume"], "leave --resume out"),
        (["cpu_small", "--pairs.pin_version", "v0009"], "v0009"),
        (["cpu_small", *SETTINGS, "--encoder.init", "nowhere.pth"], "nowhere.pth"),
        (["cpu_small", *SETTINGS, "--pairs.table", "nowhere.parquet"], "nowhere.parquet"),
        (["cpu_small", "--name", "../run"], "run name"),
        ([], "which recipe?"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in run_refused(capsys, "pretrain", *arguments, "--home", place)
    assert _runs(place) == []


def test_unknown_key_of_a_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine.yaml").write_text("pairs: {policy: {topk: 1}}")
    line = run_refused(capsys, "pretrain", place / "mine.yaml", "--home", place)
    assert "there is no setting pairs.policy.topk; did you mean pairs.policy.top_k?" in line


def test_no_index(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "index").unlink()
    assert "index" in run_refused(capsys, *RUN, "--home", place)
    assert _runs(place) == []


def test_index_of_another_pool(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "pool").unlink()
    synth = ["synth", "--videos", "4", "--hands-per-video", "5", "--size", "32", "--seed", "9"]
    assert main([*synth, "--home", str(place)]) == 0
    line = run_refused(capsys, *RUN, "--home", place)
    assert "pool" in line
    assert "index" in line
    assert _runs(place) == []


def _one_step(place: Path) -> Path:
    assert main([*RUN, "--trainer.max_steps=1", "--home", str(place)]) == 0
    return place / "runs" / "run" / "checkpoints" / "last.ckpt"


class _Trap:
    """Opens a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return open, (str(self._path), "w")


def test_checkpoints_that_cannot_go_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = _one_step(place)
    whole = last.read_bytes()
    metrics = (place / "runs/run/metrics.jsonl").read_text()
    again = ["pretrain", "run", "--resume", "--trainer.max_steps=2", "--home", str(place)]

    assert "architecture resnet18, this run has resnet34" in run_refused(
        capsys, *again, "--encoder.architecture=resnet34"
    )
    assert "batches an epoch 5, this run has 10" in run_refused(capsys, *again, "--trainer.batch_size=6")
    assert "seed" in run_refused(capsys, *again, "--seed=5")
    assert "another network" in run_refused(capsys, *again, "--head.out=4")

    last.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a checkpoint of `handsim pretrain`" in run_refused(capsys, *again)

    sprung = place / "sprung"
    trapped = {"handsim": _Trap(sprung), "state_dict": {}}
    torch.save(trapped, last)
    assert "cannot be read as a checkpoint of `handsim pretrain`" in run_refused(capsys, *again)
    assert not sprung.exists()

    assert (place / "runs/run/metrics.jsonl").read_text() == metrics
    last.write_bytes(whole)
    assert main(again) == 0
    assert _steps(place) == [1, 2]


def test_a_loss_that_is_no_number(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def poisoned(*views: Any, **settings: Any) -> torch.Tensor:
        calls.append(1)
        return nt_xent(*views, **settings) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(pretrain_module, "nt_xent", poisoned)
    capsys.readouterr()
    assert main([*RUN, "--log.checkpoint_every_steps=2", "--home", str(place)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("handsim: the loss is nan in batch 3 of epoch 0; ")
    assert said.count("\n") == 1

    last = _last(place)
    assert last["global_step"] == 2
    assert all(bool(torch.isfinite(weight).all()) for weight in last["state_dict"].values())
    record = json.loads((place / "runs/run/diverged.json").read_text())
    assert (record["loss"], record["epoch"], record["batch"], record["index_version"]) == (
        "nan",
        0,
        3,
        "v0001",
    )
    known = {f"{int(hand_id):016x}" for hand_id in Pool.open(place / "pool").hand_ids}
    assert len({*record["anchors"]}) == len(record["positives"]) == 12
    assert {*record["anchors"], *record["positives"]} <= known

    monkeypatch.undo()
    assert main(["pretrain", "run", "--resume", "--home", str(place)]) == 0
    assert _steps(place) == list(range(1, 11))


def test_a_new_version_in_mid_run_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = copy_home(home, tmp_path / "own")
    calls = []

    def publishing(*views: Any, **settings: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            assert main(["index", "build", "--home", str(own)]) == 0
        return nt_xent(*views, **settings)

    monkeypatch.setattr(pretrain_module, "nt_xent", publishing)
    assert main([*RUN, "--pairs.prefetch=1", "--home", str(own)]) == 0
    log = (own / "runs/run/log.txt").read_text()
    assert log.count("pairs come from index version v0002 now, until here from v0001") == 1


def _await_step(process: "subprocess.Popen[str]", place: Path, step: int) -> None:
    metrics = place / "runs" / "run" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= step):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_stops_with_a_checkpoint(place: Path, sent: signal.Signals) -> None:
    process = start_command(place, *RUN, "--trainer.epochs=40")
    _await_step(process, place, 1)
    process.send_signal(sent)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    steps = _steps(place)[-1]
    assert out.splitlines()[-1] == (
        f"stopped after step {steps:,}; `handsim pretrain run --resume` goes on from there"
    )
    assert "Traceback" not in err
    assert _last(place)["global_step"] == steps
    assert (
        main(["pretrain", "run", "--resume", f"--trainer.max_steps={steps + 2}", "--home", str(place)]) == 0
    )
    assert _steps(place) == list(range(1, steps + 3))


def test_kill_leaves_a_whole_checkpoint(place: Path) -> None:
    process = start_command(place, *RUN, "--trainer.epochs=40", "--log.checkpoint_every_steps=1")
    _await_step(process, place, 3)
    process.kill()
    process.communicate(timeout=60)
    steps = _last(place)["global_step"]
    assert steps >= 2
    assert (
        main(["pretrain", "run", "--resume", f"--trainer.max_steps={steps + 2}", "--home", str(place)]) == 0
    )
    assert _steps(place) == list(range(1, steps + 3))


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes(place: Path) -> None:
    """That their loss is that of one process is shown in tests/training/losses/test_distributed.py.

    Batch norm's statistics are each process's own on a CPU, so a whole run is not one of twice the batch.
    """
    process = start_command(
        place, *RUN, "--trainer.devices=2", "--trainer.max_steps=3", "--trainer.batch_size=6"
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert _runs(place) == ["run"]
    assert _steps(place) == [1, 2, 3]
    assert out.count("3 steps done") == 1
    record = json.loads((place / "runs/run/facts.json").read_text())
    assert (record["batches_an_epoch"], record["pairs_a_step"]) == (5, 12)
    assert all(bool(torch.isfinite(weight).all()) for weight in _last(place)["state_dict"].values())


def test_unavailable_index_keeps_what_was_learned(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, calls = LiveNeighbors.draw, []

    def away(source: LiveNeighbors, anchors: Any, rng: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise UnavailableError("nobody answers")
        return draw(source, anchors, rng)

    monkeypatch.setattr(LiveNeighbors, "draw", away)
    capsys.readouterr()
    assert main([*RUN, "--home", str(place)]) == 2
    said = capsys.readouterr().err
    assert said == "handsim: the index did not answer for 0 s: nobody answers\n"
    assert _last(place)["global_step"] == 3
    assert "waiting for the index, 0 s at most: nobody answers" in (place / "runs/run/log.txt").read_text()

    monkeypatch.undo()
    assert main(["pretrain", "run", "--resume", "--home", str(place)]) == 0
    assert _steps(place) == list(range(1, 11))


def test_an_absurd_learning_rate_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made up here: the weights grow until the loss is no number."""
    absurd = ["--optimizer.lr=1e30", "--optimizer.warmup_epochs=0", "--log.checkpoint_every_steps=1"]
    capsys.readouterr()
    assert main([*RUN, *absurd, "--home", str(place)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("handsim: the loss is nan in batch ")
    assert said.count("\n") == 1
    assert (place / "runs/run/diverged.json").exists()
    last = _last(place)
    assert last["global_step"] >= 1
    assert all(bool(torch.isfinite(weight).all()) for weight in last["state_dict"].values())
