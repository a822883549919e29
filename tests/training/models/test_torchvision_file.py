import resource
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.trunk import read_trunk
from handsim.errors import HandsimError, NotThereError
from training.models.encoder import write_torchvision

NAMES = ("out.pth", "out.pt", "out.safetensors")


def read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_loads_it_strictly(
    name: str, network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    write_torchvision(tmp_path / name, read_trunk(str(checkpoint)), "run/last.ckpt")
    model = models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(read(tmp_path / name))
    pictures = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    pooled = []
    network.get_submodule("avgpool").register_forward_hook(
        lambda module, inputs, output: pooled.append(output.flatten(1))
    )
    with torch.inference_mode():
        network(pictures)
        assert torch.equal(model.eval()(pictures), pooled[0])
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_again_and_written_again_the_same(name: str, checkpoint: Path, tmp_path: Path) -> None:
    weights = read_trunk(str(checkpoint))
    write_torchvision(tmp_path / name, weights, "run/last.ckpt")
    again = read_trunk(str(tmp_path / name))
    assert again.sha256 == weights.sha256
    (tmp_path / "again").mkdir()
    write_torchvision(tmp_path / "again" / name, again, "run/last.ckpt")
    assert read_trunk(str(tmp_path / "again" / name)).sha256 == weights.sha256
    if name != "out.safetensors":
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_safetensors_say_what_they_are(checkpoint: Path, tmp_path: Path) -> None:
    write_torchvision(tmp_path / "out.safetensors", read_trunk(str(checkpoint)), "run/last.ckpt")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "architecture": "resnet18", "source": "run/last.ckpt"}


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_written_whole_leaves_the_old_file(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("old")
    weights = read_trunk(str(checkpoint))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, limits[1]))  # as on a full disk
    try:
        with pytest.raises(
            HandsimError, match=rf"^[^\n]*{name} cannot be written [^\n]*; make room and run it"
        ):
            write_torchvision(tmp_path / name, weights, "run/last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_targets_that_cannot_be_are_named(checkpoint: Path, tmp_path: Path) -> None:
    weights = read_trunk(str(checkpoint))
    (tmp_path / "folder.pth").mkdir()
    for name, message in (
        ("out.onnx", r"ends in \.onnx; it is to end in \.pth, \.pt, \.safetensors"),
        ("out", "ends in nothing"),
        ("folder.pth", "is a directory; name a file in it"),
    ):
        with pytest.raises(HandsimError, match=message):
            write_torchvision(tmp_path / name, weights, "run/last.ckpt")
    with pytest.raises(NotThereError, match="nowhere is not a directory; make it"):
        write_torchvision(tmp_path / "nowhere" / "out.pth", weights, "run/last.ckpt")
