"""``handsim pool subset`` and ``handsim export``."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim import Pool
from handsim.embedding import load_embedding
from handsim.embedding.trunk import read_trunk
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.apps.commands import run_ok, run_refused
from tests.handsim.builders import write_picture_pool
from training.models.encoder import Encoder


def test_a_subset_is_a_home_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, small = tmp_path / "home", tmp_path / "some" / "small"
    synthesise_pool(home / "pool", SyntheticConfig(videos=3, hands_per_video=4, size_px=32))
    answer = run_ok(capsys, "pool", "subset", "5", "--to", small, "--home", home)
    assert answer == f"5 hands in {small}/pool; next: handsim index build --home {small}\n"
    some = Pool.open(small / "pool")
    assert {*some.hand_ids.tolist()} < {*Pool.open(home / "pool").hand_ids.tolist()}
    assert some.crop(int(some.hand_ids[0])).shape == (32, 32, 3)
    assert "pool is there already" in run_refused(
        capsys, "pool", "subset", "5", "--to", small, "--home", home
    )
    assert "13 hands cannot be taken of" in run_refused(
        capsys, "pool", "subset", "13", "--to", tmp_path / "x", "--home", home
    )
    assert "there is no pool at" in run_refused(
        capsys, "pool", "subset", "5", "--to", tmp_path / "x", "--home", tmp_path / "none"
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.mark.parametrize("name", ["out.pth", "out.safetensors"])
def test_a_run_is_exported_and_told_how_to_load(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    line = run_ok(capsys, "export", "first", "--out", out, "--home", home)
    last = home / "runs" / "first" / "checkpoints" / "last.ckpt"
    assert line.count("\n") == 1
    assert line.startswith(f"resnet18 of {last} (11.2 million numbers) in {out}; load it by model = ")
    code = line.partition("load it by ")[2]
    scope: dict[str, object] = {}
    exec(f"import torch, torchvision, safetensors.torch; {code}", scope)
    model = scope["model"]
    assert isinstance(model, models.ResNet)
    expected = read_trunk(str(last)).tensors
    loaded = {key: value.numpy() for key, value in model.state_dict().items() if key in expected}
    assert loaded.keys() == expected.keys()
    for key, value in loaded.items():
        np.testing.assert_array_equal(value, expected[key])


def test_the_best_one_and_files_are_exported_too(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = home / "runs" / "first" / "checkpoints" / "best.ckpt"
    run_ok(capsys, "export", "first", "--best", "--out", tmp_path / "run.pth", "--home", home)
    run_ok(capsys, "export", best, "--out", tmp_path / "file.pth")
    assert (tmp_path / "run.pth").read_bytes() == (tmp_path / "file.pth").read_bytes()
    assert read_trunk(str(tmp_path / "run.pth")).sha256 == read_trunk(str(best)).sha256
    assert read_trunk(str(tmp_path / "run.pth")).sha256 != read_trunk(str(best.with_name("last.ckpt"))).sha256


def test_an_embedding_is_fitted_with_what_was_exported(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_ok(capsys, "export", "first", "--out", tmp_path / "exported.pth", "--home", home)
    vectors = []
    checkpoint = home / "runs" / "first" / "checkpoints" / "last.ckpt"
    for number, encoder in enumerate((tmp_path / "exported.pth", checkpoint)):
        own = tmp_path / str(number)
        pool = write_picture_pool(own / "pool", range(20))
        fit = ("--encoder", encoder, "--size", "32", "--device", "cpu", "--components", "4")
        run_ok(capsys, "embedding", "fit", *fit, "--home", own)
        vectors.append(load_embedding(own / "embedding.json").embed_hands(Pool.open(pool.path), slice(None)))
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_bad_input_is_one_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*arguments: str | Path) -> str:
        return run_refused(capsys, "export", *arguments, "--home", home)

    out, last = tmp_path / "out.pth", home / "runs" / "first" / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    assert (
        f"no checkpoint at second, and no run of that name in {home / 'runs'} (runs with checkpoints: "
        in (missing := refusal("second", "--out", out))
    )
    assert "broken, first); give one of them" in missing
    assert "no checkpoint at ../runs/first" in refusal("../runs/first", "--out", out)
    assert "run broken has no best.ckpt (it has none)" in refusal("broken", "--best", "--out", out)
    assert "--best chooses among a run's checkpoints" in refusal(last, "--best", "--out", out)
    assert "ends in .onnx" in refusal("first", "--out", tmp_path / "out.onnx")
    assert "is not a directory; make it" in refusal("first", "--out", tmp_path / "no" / "out.pth")
    (tmp_path / "link.pth").symlink_to(last)
    assert "--out is the checkpoint itself" in refusal(last, "--out", tmp_path / "link.pth")
    (tmp_path / "text.pt").write_text("no weights")
    assert "text.pt (10 bytes) is no checkpoint" in refusal(tmp_path / "text.pt", "--out", out)
    assert not out.exists()
    assert last.read_bytes() == whole
