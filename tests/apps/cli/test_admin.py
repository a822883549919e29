"""``handsim pool subset`` and ``handsim export``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handsim import Pool
from handsim.embedding.trunk import read_trunk
from tests.apps.commands import Capture, run_ok, run_refused
from training.models.encoder import Encoder


def test_a_subset_is_a_home_of_its_own(home: Path, tmp_path: Path, capsys: Capture) -> None:
    small = tmp_path / "some" / "small"
    subset = ("pool", "subset", "5", "--to", small, "--home", home)
    assert run_ok(capsys, *subset) == f"5 hands in {small}/pool; next: handsim index build --home {small}\n"
    some = Pool.open(small / "pool")
    assert {*some.hand_ids.tolist()} < {*Pool.open(home / "pool").hand_ids.tolist()}
    assert some.crop(int(some.hand_ids[0])).shape == (64, 64, 3)
    assert "pool is there already" in run_refused(capsys, *subset)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run, whose last and best checkpoint hold different encoders."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "runs" / "first" / "checkpoints"
    folder.mkdir(parents=True)
    (home / "runs" / "broken" / "checkpoints").mkdir(parents=True)
    for seed, name in enumerate(("last.ckpt", "best.ckpt")):
        torch.manual_seed(seed)
        state = {f"encoder.{name}": value for name, value in Encoder("resnet18").state_dict().items()}
        torch.save({"epoch": 3, "state_dict": state, "loops": {}}, folder / name)
    return home


def test_a_run_is_exported_with_the_code_that_loads_it(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.safetensors"
    line = run_ok(capsys, "export", "first", "--out", out, "--home", runs)
    last = runs / "runs" / "first" / "checkpoints" / "last.ckpt"
    assert line.count("\n") == 1
    assert line.startswith(f"resnet18 of {last} (11.2 million numbers) in {out}; load it by model = ")
    scope: dict[str, Any] = {}
    exec(f"import torch, torchvision, safetensors.torch; {line.partition('load it by ')[2]}", scope)
    expected = read_trunk(str(last)).tensors
    loaded = {key: value.numpy() for key, value in scope["model"].state_dict().items() if key in expected}
    np.testing.assert_equal(loaded, expected)


def test_the_best_checkpoint_and_files_are_exported_too(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    best = runs / "runs" / "first" / "checkpoints" / "best.ckpt"
    run_ok(capsys, "export", "first", "--best", "--out", tmp_path / "run.pth", "--home", runs)
    line = run_ok(capsys, "export", best, "--out", tmp_path / "file.pth")
    assert "model.load_state_dict(torch.load(" in line
    assert (tmp_path / "run.pth").read_bytes() == (tmp_path / "file.pth").read_bytes()
    assert read_trunk(str(tmp_path / "run.pth")).sha256 == read_trunk(str(best)).sha256


def test_bad_input_is_one_line(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    def refusal(*arguments: str | Path) -> str:
        return run_refused(capsys, "export", *arguments, "--home", runs)

    out, last = tmp_path / "out.pth", runs / "runs" / "first" / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    missing = refusal("second", "--out", out)
    assert f"no checkpoint at second, and no run of that name in {runs / 'runs'}" in missing
    assert "broken, first); give one of them" in missing
    assert "no checkpoint at ../runs/first" in refusal("../runs/first", "--out", out)
    assert "run broken has no best.ckpt (it has none)" in refusal("broken", "--best", "--out", out)
    assert "--best chooses among a run's checkpoints" in refusal(last, "--best", "--out", out)
    assert "ends in .tflite" in refusal("first", "--out", tmp_path / "out.tflite")
    assert "files of ONNX end in .onnx" in refusal("first", "--out", out, "--format", "onnx")
    assert "--size-px is for ONNX" in refusal("first", "--out", out, "--size-px", "64")
    (tmp_path / "link.pth").symlink_to(last)
    assert "--out is the checkpoint itself" in refusal(last, "--out", tmp_path / "link.pth")
    assert not out.exists()
    assert last.read_bytes() == whole
