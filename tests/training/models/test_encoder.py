"""The encoder, its projection head, and its weights in files of torchvision's layout."""

import copy
import resource
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types
from torchvision.transforms import v2  # type: ignore[import-untyped]

from handsim.embedding.image import FEATURES, Architecture
from handsim.embedding.trunk import Trunk, read_trunk
from handsim.errors import HandsimError, NotThereError
from training.models.encoder import (
    Encoder,
    EncoderSettings,
    ProjectionHead,
    build_encoder,
    write_torchvision,
)

pytestmark = pytest.mark.slow

SIZE_PX = 48


def pictures(count: int = 4) -> torch.Tensor:
    """uint8 [count, 3, S, S] from a seed."""
    return torch.randint(256, (count, 3, SIZE_PX, SIZE_PX), generator=torch.Generator().manual_seed(7)).byte()


def encoder_of(init: Path | None, **settings: Any) -> Encoder:
    return build_encoder(EncoderSettings("resnet18", str(init) if init else None, **settings)).eval()


def features(encoder: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = encoder(pictures() / 255)
    return found


def test_it_is_torchvisions_network_on_normalised_images(network: torch.nn.Module, checkpoint: Path) -> None:
    plain = copy.deepcopy(network)
    plain.fc = torch.nn.Identity()
    normalise = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        expected = plain(normalise(pictures() / 255))
    for channels_last in (True, False):
        encoder = encoder_of(checkpoint, channels_last=channels_last)
        assert encoder.features == 512
        torch.testing.assert_close(features(encoder), expected, rtol=1e-4, atol=1e-5)


def test_an_embedding_with_its_weights_has_the_same_features(checkpoint: Path) -> None:
    trunk = Trunk(read_trunk(str(checkpoint)), SIZE_PX, "cpu")
    crops = list(pictures().permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(
        trunk.extract_features(crops), features(encoder_of(checkpoint)).half().numpy()
    )


def test_loaded_weights_have_the_memory_format_of_the_settings(checkpoint: Path) -> None:
    for channels_last in (True, False):
        encoder = encoder_of(checkpoint, channels_last=channels_last)
        weight = encoder.get_parameter("trunk.layer2.0.conv2.weight")
        assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
        assert weight.is_contiguous() is not channels_last


@pytest.mark.parametrize("architecture", [name for name in FEATURES if not name.startswith("vit_")])
def test_every_architecture_has_torchvisions_names_behind_trunk(architecture: Architecture) -> None:
    with torch.device("meta"):
        encoder = Encoder(architecture)
        state = models.get_model(architecture).state_dict()
    names = [name for name in state if not name.startswith(("fc.", "classifier.2."))]
    assert list(encoder.state_dict()) == [f"trunk.{name}" for name in names]


def test_random_weights_follow_the_seed() -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(features(encoder_of(None)))
    assert encoder_of(None).origin == "random weights"
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_origin_names_the_weights_it_begins_with(network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    torch.save({"state_dict": network.state_dict()}, path)
    encoder = encoder_of(path)
    assert encoder.origin == f"resnet18 of {path}, sha256 {read_trunk(str(path)).sha256[:16]}"


def test_another_architecture_is_refused_and_named(checkpoint: Path) -> None:
    message = r"hands\.pt is a resnet18, and the encoder a resnet34; set encoder\.architecture to resnet18"
    with pytest.raises(HandsimError, match=message):
        build_encoder(EncoderSettings("resnet34", str(checkpoint)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "resnet20"}, "encoder.architecture is 'resnet20'; it is one of resnet18, "),
        ({"architecture": "resnet50", "init": ""}, "encoder.init is empty"),
        ({"architecture": "resnet50", "init": "resnet18"}, "init is resnet18, .* resnet50; make them"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        EncoderSettings(**settings)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"no checkpoint at .*nothing\.pth"):
        encoder_of(tmp_path / "nothing.pth")


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HandsimError, match=r"no C\+\+ compiler here; install g\+\+, or set encoder.compile"):
        encoder_of(None, compile=True)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ for the CPU")
def test_compiled_it_has_the_same_names_and_the_same_features(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Processes that compile in parallel would each import torch, for one kernel.
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)
    plain, compiled = encoder_of(checkpoint), encoder_of(checkpoint, compile=True)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for encoder in (plain, compiled):  # all layers would take half a minute
        for name in ("layer1", "layer2", "layer3", "layer4"):
            encoder.trunk.register_module(name, torch.nn.Identity())
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.testing.assert_close(features(compiled), features(plain), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs
    plain.load_state_dict(compiled.state_dict())
    assert torch.equal(features(copy.deepcopy(compiled)), features(plain))


def test_the_projection_head_is_linear_batch_norm_relu_linear() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(6, hidden=5, out=4).double()
    features = torch.randn(7, 6, dtype=torch.double)
    weights = head.state_dict()
    hidden = features @ weights["0.weight"].T + weights["0.bias"]
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(features), hidden.clamp(min=0) @ weights["3.weight"].T)


NAMES = ("out.pth", "out.pt", "out.safetensors")


def read_state(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_loads_a_written_file_strictly_and_it_is_written_again_the_same(
    name: str, network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    weights = read_trunk(str(checkpoint))
    write_torchvision(tmp_path / name, weights, "run/last.ckpt")
    with torch.device("meta"):
        model = models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(read_state(tmp_path / name), assign=True)
    pictures = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    pooled: list[torch.Tensor] = []
    network.get_submodule("avgpool").register_forward_hook(
        lambda module, inputs, output: pooled.append(output.flatten(1))
    )
    with torch.inference_mode():
        network(pictures)
        assert torch.equal(model.eval()(pictures), pooled[0])
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644
    again = read_trunk(str(tmp_path / name))
    assert again.sha256 == weights.sha256
    (tmp_path / "again").mkdir()
    write_torchvision(tmp_path / "again" / name, again, "run/last.ckpt")
    assert read_trunk(str(tmp_path / "again" / name)).sha256 == weights.sha256
    assert len(list(tmp_path.iterdir())) == 2
    if name != "out.safetensors":
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
        return
    with safe_open(tmp_path / name, "pt") as file:
        assert file.metadata() == {"format": "pt", "architecture": "resnet18", "source": "run/last.ckpt"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("old")
    weights = read_trunk(str(checkpoint))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, limits[1]))  # as on a full disk
    try:
        with pytest.raises(HandsimError, match=rf"^[^\n]*{name} cannot be written [^\n]*; check space and"):
            write_torchvision(tmp_path / name, weights, "run/last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_paths_that_cannot_be_written_are_named(checkpoint: Path, tmp_path: Path) -> None:
    weights = read_trunk(str(checkpoint))
    (tmp_path / "folder.pth").mkdir()
    for name, message in (
        ("out.onnx", r"ends in \.onnx; it must end in \.pth, \.pt, \.safetensors"),
        ("out", "ends in nothing"),
        ("folder.pth", "is a directory; name a file in it"),
    ):
        with pytest.raises(HandsimError, match=message):
            write_torchvision(tmp_path / name, weights, "run/last.ckpt")
    with pytest.raises(NotThereError, match="nowhere is not a directory; make it"):
        write_torchvision(tmp_path / "nowhere" / "out.pth", weights, "run/last.ckpt")
