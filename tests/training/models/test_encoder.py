import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types
from torchvision.transforms import v2  # type: ignore[import-untyped]

from handsim.embedding.image import FEATURES, Architecture
from handsim.embedding.trunk import Trunk, read_trunk
from handsim.errors import HandsimError, NotThereError
from training.models.encoder import Encoder, EncoderSettings, ProjectionHead, build_encoder, initialise

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


def test_it_is_torchvisions_network_on_normalised_pictures(
    network: torch.nn.Module, checkpoint: Path
) -> None:
    plain = copy.deepcopy(network)
    plain.fc = torch.nn.Identity()
    normalise = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        expected = plain(normalise(pictures() / 255))
    for channels_last in (True, False):
        encoder = encoder_of(checkpoint, channels_last=channels_last)
        assert encoder.features == 512
        torch.testing.assert_close(features(encoder), expected, rtol=1e-4, atol=1e-5)


def test_an_embedding_with_its_weights_sees_what_it_sees(checkpoint: Path) -> None:
    trunk = Trunk(read_trunk(str(checkpoint)), SIZE_PX, "cpu")
    crops = list(pictures().permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(
        trunk.extract_features(crops), features(encoder_of(checkpoint)).half().numpy()
    )


def test_channels_last_is_how_weights_lie_and_stay_while_they_are_loaded(checkpoint: Path) -> None:
    for channels_last in (True, False):
        encoder = encoder_of(checkpoint, channels_last=channels_last)
        weight = encoder.get_parameter("trunk.layer2.0.conv2.weight")
        assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
        assert weight.is_contiguous() is not channels_last


@pytest.mark.parametrize("architecture", FEATURES)
def test_every_architecture_has_torchvisions_names_behind_trunk(architecture: Architecture) -> None:
    with torch.device("meta"):
        encoder = Encoder(architecture)
        names = [name for name in models.get_model(architecture).state_dict() if not name.startswith("fc.")]
    assert list(encoder.state_dict()) == [f"trunk.{name}" for name in names]
    assert encoder(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, encoder.features)


def test_gradients_reach_every_weight() -> None:
    encoder = encoder_of(None).train()
    encoder(pictures() / 255).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_random_weights_follow_the_seed() -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(features(encoder_of(None)))
    assert encoder_of(None).origin == "random weights"
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


LAYOUTS: dict[str, Callable[[torch.nn.Module], Any]] = {
    "torchvision": lambda network: network.state_dict(),
    "PeCLR, published": lambda network: {"state_dict": network.state_dict()},
    "PeCLR or SiMHand, training": lambda network: {
        "state_dict": prefixed(
            torch.nn.Sequential(*list(network.children())[:-1]).state_dict(), "encoder.features."
        )
        | {"projection_head.0.weight": torch.ones(512, 512)}
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_begins_with_the_weights_of_every_layout(
    layout: str, network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    torch.save(LAYOUTS[layout](network), tmp_path / "theirs.ckpt")
    encoder = encoder_of(tmp_path / "theirs.ckpt")
    assert torch.equal(features(encoder), features(encoder_of(checkpoint)))
    digest = read_trunk(str(checkpoint)).sha256[:16]
    assert encoder.origin == f"resnet18 of {tmp_path / 'theirs.ckpt'}, sha256 {digest}"
    again = Encoder("resnet18").eval()
    assert initialise(again, str(tmp_path / "theirs.ckpt")) == again.origin == encoder.origin
    assert torch.equal(features(again), features(encoder))


class Pretraining(lightning.LightningModule):
    """The least that has an encoder, a head, a schedule and state of its own to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder("resnet18")
        self.head = ProjectionHead(self.encoder.features, 8, 4)

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        loss: torch.Tensor = self.head(self.encoder(batch[0])).square().sum()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)]


def test_it_begins_with_what_lightning_saved(tmp_path: Path) -> None:
    module = Pretraining()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, "best", "loss", save_last=True)],
    )
    dataset = torch.utils.data.TensorDataset(pictures() / 255)
    trainer.fit(module, torch.utils.data.DataLoader(dataset, batch_size=2))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert {"optimizer_states", "lr_schedulers", "loops", "callbacks"} <= saved.keys()
    encoder = encoder_of(tmp_path / "last.ckpt")
    assert torch.equal(features(encoder), features(module.encoder.eval()))


def test_another_architecture_is_refused_and_named(checkpoint: Path) -> None:
    encoder = Encoder("resnet34")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    message = (
        r"hands\.pt is a resnet18, and the encoder a resnet34; set encoder\.architecture to resnet18, or "
    )
    with pytest.raises(HandsimError, match=message):
        initialise(encoder, str(checkpoint))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    with pytest.raises(HandsimError, match=message):
        build_encoder(EncoderSettings("resnet34", str(checkpoint)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "resnet20"}, "encoder.architecture is 'resnet20'; it is one of resnet18, "),
        ({"architecture": "resnet50", "init": ""}, "encoder.init is empty"),
        (
            {"architecture": "resnet50", "init": "resnet18"},
            "encoder.init is resnet18, .* resnet50; make them",
        ),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        EncoderSettings(**settings)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"no checkpoint at .*nothing\.pth"):
        encoder_of(tmp_path / "nothing.pth")


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HandsimError, match=r"no C\+\+ compiler here; install g\+\+, or set encoder.compile"):
        encoder_of(None, compile=True)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ for the CPU")
def test_compiled_it_has_the_same_names_and_says_the_same(checkpoint: Path) -> None:
    plain, compiled = encoder_of(checkpoint), encoder_of(checkpoint, compile=True)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for encoder in (plain, compiled):  # the rest is more of the same, and takes half a minute
        for name in ("layer1", "layer2", "layer3", "layer4"):
            encoder.trunk.register_module(name, torch.nn.Identity())
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.testing.assert_close(features(compiled), features(plain), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs
    plain.load_state_dict(compiled.state_dict())
    assert torch.equal(features(copy.deepcopy(compiled)), features(plain))
