"""Reading a trunk out of every layout of checkpoint, and refusing what is none."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.trunk import read_trunk
from handsim.errors import HandsimError
from tests.handsim.builders import limited

State = dict[str, torch.Tensor]


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def in_a_sequential(network: torch.nn.Module) -> State:
    """Its weights, named as PeCLR and SiMHand name them: the children but the classifier, numbered."""
    return prefixed(torch.nn.Sequential(*list(network.children())[:-1]).state_dict(), "features.")


HEAD = {
    "projection_head.0.weight": torch.zeros(512, 512),
    "projection_head.1.running_mean": torch.zeros(512),
    "projection_head.3.weight": torch.zeros(128, 512),
}
LAYOUTS: dict[str, Callable[[torch.nn.Module], Any]] = {
    "handsim, pre-training": lambda network: {
        "state_dict": prefixed(network.state_dict(), "encoder.trunk.") | HEAD,
        "optimizer_states": [
            {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
        ],
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 2}}}},
        "callbacks": {"Checkpoints": {"best": 0.25}},
    },
    "PeCLR, training": lambda network: {
        "state_dict": prefixed(
            in_a_sequential(network) | {"final_layer.0.weight": torch.zeros(64, 512)}, "encoder."
        )
        | HEAD
    },
    "PeCLR, published": lambda network: {"state_dict": network.state_dict()},
    "PeCLR, fine-tuned and published": lambda network: {
        "state_dict": prefixed(network.state_dict(), "backend_model.")
        | {"zroot_ref.zroot_ref.0.weight": torch.zeros(128, 64)}
    },
    "SiMHand, published": lambda network: network.state_dict(),
    "SiMHand, fine-tuning": lambda network: (
        prefixed(in_a_sequential(network), "encoder.")
        | {"hmap_0.project.0.weight": torch.zeros(256, 258, 3, 3)}
    ),
    "the Sequential alone": lambda network: torch.nn.Sequential(*list(network.children())[:-1]).state_dict(),
    "across processes": lambda network: {"state_dict": prefixed(in_a_sequential(network), "module.encoder.")},
    "without the classifier": lambda network: {
        name: value for name, value in network.state_dict().items() if not name.startswith("fc.")
    },
    "model in state_dict": lambda network: {"state_dict": {"model": network.state_dict()}},
    "encoder. beside a head": lambda network: {
        "state_dict": prefixed(network.state_dict(), "encoder.") | {"head.0.weight": torch.zeros(4, 4)}
    },
    "old, without counters": lambda network: {
        name: value for name, value in network.state_dict().items() if "num_batches" not in name
    },
}


@pytest.mark.parametrize("zipped", [True, False], ids=["", "before torch 1.6"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_usual_layout_gives_the_same_numbers(
    layout: str, zipped: bool, network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    content = LAYOUTS[layout](network)
    torch.save(content, tmp_path / "theirs.ckpt", _use_new_zipfile_serialization=zipped)
    theirs, ours = read_trunk(str(tmp_path / "theirs.ckpt")), read_trunk(str(checkpoint))
    assert theirs.sha256 == ours.sha256
    assert list(theirs.tensors) == list(ours.tensors)
    assert "fc.weight" not in theirs.tensors
    assert (theirs.encoder, theirs.architecture) == ("theirs.ckpt", "resnet18")


def test_safetensors_are_read_too(network: torch.nn.Module, checkpoint: Path, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "hands.safetensors")
    assert read_trunk(str(tmp_path / "hands.safetensors")).sha256 == read_trunk(str(checkpoint)).sha256


def test_one_number_makes_another_trunk(network: torch.nn.Module, checkpoint: Path, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    state["layer4.1.bn2.running_var"] = state["layer4.1.bn2.running_var"] * 1.0001
    torch.save(state, tmp_path / "other.pt")
    assert read_trunk(str(tmp_path / "other.pt")).sha256 != read_trunk(str(checkpoint)).sha256


def empty_state(architecture: str) -> State:
    """A state dict of that shape which takes no room on disk: one zero, expanded."""
    with torch.device("meta"):
        network = models.get_model(architecture, weights=None)
    return {name: torch.zeros(()).expand(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_architecture_follows_from_the_shapes(architecture: str, tmp_path: Path) -> None:
    torch.save(prefixed(empty_state(architecture), "encoder."), tmp_path / "some.pt")
    assert read_trunk(str(tmp_path / "some.pt")).architecture == architecture


def test_what_is_no_resnet_is_refused_in_one_line(network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    whole = network.state_dict()

    def refused(content: Any) -> str:
        torch.save(content, path)
        with pytest.raises(HandsimError, match=r"^[^\n]*bad\.pt[^\n]*$") as error:
            read_trunk(str(path))
        return str(error.value)

    assert "save `model.state_dict()` alone" in refused(network)
    assert "holds no ResNet" in refused({})
    assert "holds no ResNet" in refused([1, 2])
    assert "holds no ResNet" in refused({"features.0.weight": torch.zeros(64, 3, 3, 3)})
    assert "holds no ResNet" in refused({"preconv1.weight": torch.zeros(64, 3, 7, 7)})
    assert "has 0-0-0-0 blocks" in refused({"features.0.weight": torch.zeros(64, 3, 7, 7)})
    numbered = in_a_sequential(network)
    assert "holds 2 ResNets ('a.', 'features.')" in refused(prefixed(whole, "a.") | numbered)
    assert "lacks bn1.bias" in refused({k: v for k, v in numbered.items() if k != "features.1.bias"})
    assert "holds 2 ResNets ('a.', 'b.')" in refused(prefixed(whole, "a.") | prefixed(whole, "b."))
    assert "lacks layer2.0.bn1.bias" in refused({k: v for k, v in whole.items() if k != "layer2.0.bn1.bias"})
    assert "2-2-2-1 blocks" in refused({k: v for k, v in whole.items() if not k.startswith("layer4.1.")})
    assert "no plain resnet50: its layer1.0.conv1.weight" in refused(empty_state("wide_resnet50_2"))
    nan = {name: value * float("nan") if name == "bn1.bias" else value for name, value in whole.items()}
    assert "NaN or infinity in bn1.bias" in refused(nan)


class Malicious:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


class Configuration:
    """What SiMHand's checkpoints hold beside the weights: harmless, but an object."""


@pytest.mark.parametrize("zipped", [True, False], ids=["", "before torch 1.6"])
def test_code_in_a_checkpoint_is_not_run(zipped: bool, network: torch.nn.Module, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "bad.ckpt"
    content = {"state_dict": network.state_dict(), "callbacks": Malicious(made)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(HandsimError, match=r"^[^\n]*bad\.ckpt holds a pickled object \(\w+\.mkdir\)[^\n]*$"):
        read_trunk(str(path))
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()  # so it would have been, had anything been run


def test_the_remedy_for_pickled_objects_works(
    network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.ckpt"
    content = {"state_dict": prefixed(in_a_sequential(network), "encoder.")}
    torch.save(content | {"hyper_parameters": {"config": Configuration()}}, path)
    with pytest.raises(HandsimError, match=r"\(\S+\.Configuration\).* or its entry 'state_dict'$"):
        read_trunk(str(path))
    torch.save(torch.load(path, weights_only=False)["state_dict"], path)
    assert read_trunk(str(path)).sha256 == read_trunk(str(checkpoint)).sha256


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["cut.pt", "cut.old.pt", "cut.safetensors"])
def test_files_cut_short_are_refused_in_one_line(
    name: str, share: float, network: torch.nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization="old" not in name)
    with path.open("rb+") as file:
        file.truncate(int(path.stat().st_size * share))
    with pytest.raises(
        HandsimError,
        match=rf"^[^\n]*{name} \([\d,]+ bytes\) is no checkpoint, or is damaged or cut short[^\n]*$",
    ):
        read_trunk(str(path))


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"a picture, say", b"\x80\x02garbage", b"PK\x03\x04cut short"])
def test_other_files_are_refused_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HandsimError, match=rf"^[^\n]*{name}[^\n]*$"):
        read_trunk(str(tmp_path / name))


def test_a_checkpoint_that_cannot_be_opened_is_not_called_damaged(
    checkpoint: Path, network: torch.nn.Module
) -> None:
    save_file(network.state_dict(), checkpoint.with_suffix(".safetensors"))
    for path in (checkpoint, checkpoint.with_suffix(".safetensors")):
        read_trunk(str(path))  # what it imports needs files too
        with (
            limited(resource.RLIMIT_NOFILE, 0),
            pytest.raises(HandsimError, match=r"cannot be read \(Too many open files\); let it be readable$"),
        ):
            read_trunk(str(path))


def test_a_missing_checkpoint_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"nothing\.pt; give one, or one of resnet18, .* resnet152"):
        read_trunk(str(tmp_path / "nothing.pt"))


def test_imagenet_out_of_reach_says_what_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        HandsimError, match=r"resnet50 could not be fetched .* bring https://.*instead of resnet50"
    ):
        read_trunk("resnet50")
