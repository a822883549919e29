"""Reading a trunk out of every layout of checkpoint, and refusing what is none.

Checkpoints hold tensors of one number each, expanded to their shape: they take no room on the disk.
"""

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

pytestmark = pytest.mark.slow

State = dict[str, torch.Tensor]


def small_state(architecture: str) -> State:
    """A state dict of that network in which every tensor is one number of its own."""
    with torch.device("meta"):
        shapes = models.get_model(architecture, weights=None).state_dict()
    return {
        name: torch.full((), 0.5 + number).expand(tensor.shape)
        for number, (name, tensor) in enumerate(shapes.items())
    }


STATE = small_state("resnet18")


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def numbered(prefix: str) -> State:
    """Named as PeCLR and SiMHand name it: the network's children but the classifier, in a Sequential."""
    with torch.device("meta"):
        network = models.resnet18(weights=None)
    names = torch.nn.Sequential(*list(network.children())[:-1]).state_dict()
    return {prefix + name: tensor for name, tensor in zip(names, STATE.values(), strict=False)}


HEAD = {
    "projection_head.0.weight": torch.zeros(512, 512),
    "projection_head.1.running_mean": torch.zeros(512),
    "projection_head.3.weight": torch.zeros(128, 512),
}
LAYOUTS: dict[str, Any] = {
    "handsim, pre-training": {
        "state_dict": prefixed(STATE, "encoder.trunk.") | HEAD,
        "optimizer_states": [
            {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
        ],
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 2}}}},
        "callbacks": {"Checkpoints": {"best": 0.25}},
    },
    "PeCLR, training": {
        "state_dict": numbered("encoder.features.")
        | {"encoder.final_layer.0.weight": torch.zeros(64, 512)}
        | HEAD
    },
    "PeCLR, published": {"state_dict": STATE},
    "PeCLR, fine-tuned and published": {
        "state_dict": prefixed(STATE, "backend_model.")
        | {"zroot_ref.zroot_ref.0.weight": torch.zeros(128, 64)}
    },
    "SiMHand, published": STATE,
    "SiMHand, fine-tuning": numbered("encoder.features.")
    | {"hmap_0.project.0.weight": torch.zeros(256, 258, 3, 3)},
    "the Sequential alone": numbered(""),
    "across processes": {"state_dict": numbered("module.encoder.features.")},
    "without the classifier": {name: value for name, value in STATE.items() if not name.startswith("fc.")},
    "model in state_dict": {"state_dict": {"model": STATE}},
    "encoder. beside a head": {
        "state_dict": prefixed(STATE, "encoder.") | {"head.0.weight": torch.zeros(4, 4)}
    },
    "old, without counters": {name: value for name, value in STATE.items() if "num_batches" not in name},
}


@pytest.fixture(scope="module")
def sha256(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the trunk of `STATE`."""
    path = tmp_path_factory.mktemp("trunk") / "ours.pt"
    torch.save(STATE, path)
    return read_trunk(str(path)).sha256


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_usual_layout_gives_the_same_numbers(layout: str, sha256: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    torch.save(LAYOUTS[layout], path, _use_new_zipfile_serialization=layout != "PeCLR, training")
    theirs = read_trunk(str(path))
    assert theirs.sha256 == sha256
    left_out = ("fc.", "num_batches_tracked")
    assert list(theirs.tensors) == [name for name in STATE if not any(part in name for part in left_out)]
    assert (theirs.encoder, theirs.architecture) == ("theirs.ckpt", "resnet18")


def test_safetensors_are_read_too_and_one_number_makes_another_trunk(
    network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    path, state = tmp_path / "hands.safetensors", dict(network.state_dict())
    save_file(state, path)
    assert read_trunk(str(path)).sha256 == read_trunk(str(checkpoint)).sha256
    state["layer4.1.bn2.running_var"] = state["layer4.1.bn2.running_var"] * 1.0001
    save_file(state, path)
    assert read_trunk(str(path)).sha256 != read_trunk(str(checkpoint)).sha256


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_architecture_follows_from_the_shapes(architecture: str, tmp_path: Path) -> None:
    torch.save(prefixed(small_state(architecture), "encoder."), tmp_path / "some.pt")
    assert read_trunk(str(tmp_path / "some.pt")).architecture == architecture


def test_what_is_no_resnet_is_refused_in_one_line(tmp_path: Path) -> None:
    features, nan = numbered("features."), float("nan")
    for content, message in (
        (models.resnet18(weights=None), "save `model.state_dict()` alone"),
        ({}, "holds no ResNet"),
        ([1, 2], "holds no ResNet"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "holds no ResNet"),
        ({"preconv1.weight": torch.zeros(64, 3, 7, 7)}, "holds no ResNet"),
        ({"features.0.weight": torch.zeros(64, 3, 7, 7)}, "has 0-0-0-0 blocks"),
        (prefixed(STATE, "a.") | features, "holds 2 networks ('a.', 'features.')"),
        (prefixed(STATE, "a.") | prefixed(STATE, "b."), "holds 2 networks ('a.', 'b.')"),
        ({name: value for name, value in features.items() if name != "features.1.bias"}, "lacks bn1.bias"),
        (
            {name: value for name, value in STATE.items() if not name.startswith("layer4.1.")},
            "2-2-2-1 blocks",
        ),
        (small_state("wide_resnet50_2"), "no plain resnet50: its layer1.0.conv1.weight"),
        (STATE | {"bn1.bias": torch.full((64,), nan)}, "NaN or infinity in bn1.bias"),
    ):
        torch.save(content, tmp_path / "bad.pt")
        with pytest.raises(HandsimError, match=r"^[^\n]*bad\.pt[^\n]*$") as error:
            read_trunk(str(tmp_path / "bad.pt"))
        assert message in str(error.value)


class Malicious:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


class Configuration:
    """What SiMHand's checkpoints hold beside the weights: harmless, but an object."""


@pytest.mark.parametrize("zipped", [True, False], ids=["", "before torch 1.6"])
def test_code_in_a_checkpoint_is_not_run(zipped: bool, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "bad.ckpt"
    content = {"state_dict": STATE, "callbacks": Malicious(made)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(HandsimError, match=r"^[^\n]*bad\.ckpt holds a pickled object \(\w+\.mkdir\)[^\n]*$"):
        read_trunk(str(path))
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists()  # so it would have been, had anything been run


def test_the_remedy_for_pickled_objects_works(sha256: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    torch.save({"state_dict": numbered("encoder."), "hyper_parameters": {"config": Configuration()}}, path)
    with pytest.raises(HandsimError, match=r"\(\S+\.Configuration\).* or its entry 'state_dict'$"):
        read_trunk(str(path))
    torch.save(torch.load(path, weights_only=False)["state_dict"], path)
    assert read_trunk(str(path)).sha256 == sha256


@pytest.mark.parametrize("name", ["cut.pt", "cut.old.pt", "cut.safetensors"])
def test_files_cut_short_are_refused_in_one_line(name: str, network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization="old" not in name)
    whole = path.stat().st_size
    message = rf"^[^\n]*{name} [^\n]*cut short[^\n]*; copy or download it again$"
    for share in (0.99, 0.5, 0.1):
        os.truncate(path, int(whole * share))
        with pytest.raises(HandsimError, match=message):
            read_trunk(str(path))


def test_an_unreadable_checkpoint_is_not_called_damaged(checkpoint: Path, network: torch.nn.Module) -> None:
    save_file(network.state_dict(), checkpoint.with_suffix(".safetensors"))
    for path in (checkpoint, checkpoint.with_suffix(".safetensors")):
        read_trunk(str(path))  # what it imports needs files too
        message = r"cannot be read \(Too many open files\); let it be readable$"
        with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(HandsimError, match=message):
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
    with pytest.raises(HandsimError, match=r"resnet50 could not be .* bring https://.*instead of resnet50"):
        read_trunk("resnet50")
