"""The network that is pre-trained: a ResNet from pictures to features.

What stands between features and loss while an encoder is pre-trained.

The weights that people take away: a torchvision ResNet's state dict, in a file of its own.
"""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image import FEATURES, Architecture
from handsim.embedding.trunk import IMAGENET_MEAN, IMAGENET_STD, TrunkWeights, read_trunk
from handsim.errors import HandsimError, NotThereError
from handsim.files import sync

_COMPILERS: Final = ("g++", "clang++", "c++", "cl", "gcc", "clang", "cc")
"""One of these builds what torch.compile writes: kernels for a CPU (C++), launchers of a GPU's (C)."""


@dataclass(frozen=True)
class EncoderSettings:
    """Which ResNet it is and where its weights come from. Raises HandsimError for what cannot be."""

    architecture: Architecture = "resnet50"
    """resnet18, resnet34, resnet50, resnet101 or resnet152; SiMHand reports 50 and 152."""
    init: str | None = None
    """The weights it begins with: the architecture's name for ImageNet's, a checkpoint's path (torchvision's,
    handsim's, PeCLR's or SiMHand's), or nothing for random ones. PeCLR's and SiMHand's code begins with
    ImageNet's."""
    channels_last: bool = True
    """Lay pictures and weights out as convolutions like them best; it changes nothing beyond rounding."""
    compile: bool = False
    """Let torch.compile fuse it: minutes at the start for faster steps on a GPU. Needs a C++ compiler."""

    def __post_init__(self) -> None:
        if self.architecture not in FEATURES:
            raise HandsimError(
                f"encoder.architecture is {self.architecture!r}; it is one of {', '.join(FEATURES)}"
            )
        if self.init == "":
            raise HandsimError(
                "encoder.init is empty; give a checkpoint's path or the architecture's name, or leave it out"
            )
        if self.init in FEATURES and self.init != self.architecture:
            raise HandsimError(
                f"encoder.init is {self.init}, ImageNet's weights for another network than "
                f"encoder.architecture, {self.architecture}; make them the same"
            )


class Encoder(nn.Module):
    """A torchvision ResNet without its classifier, and the normalisation before it.

    It sees a picture as `handsim.embedding.image` does, so that an embedding fitted with its weights finds in
    a crop what the training put there. Random weights are torchvision's, after He et al. (ICCV 2015, arXiv
    1502.01852), with the last batch norm of each block scaled by one. Scaled by zero (Goyal et al., 2017,
    arXiv 1706.02677), untrained blocks would pass on what they are given, and a random encoder, which probes
    compare with, would be little more than its strided convolutions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, *, channels_last: bool = True) -> None:
        """Random weights, from torch's global generator."""
        super().__init__()
        self.architecture: Architecture = architecture
        self.origin = "random weights"
        """Where the weights come from, for people."""
        self.trunk: nn.Module = models.get_model(architecture, weights=None)
        self.trunk.fc = nn.Identity()
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.trunk.to(memory_format=self._layout)
        for name, numbers in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            # Constants, not weights: they go where the encoder goes, and into no checkpoint.
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    @property
    def features(self) -> int:
        """F, the length of what it says of a picture."""
        return FEATURES[self.architecture]

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, F], pooled over the picture, of RGB pictures [B, 3, S, S] in 0..1."""
        features: Tensor = self.trunk(self._normalised(images))
        return features

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """What each of the four stages makes of pictures [B, 3, S, S] in 0..1, S a multiple of 32.

        They are [B, F/8, S/4, S/4], [B, F/4, S/8, S/8], [B, F/2, S/16, S/16] and [B, F, S/32, S/32]; the mean
        of the last over the picture is what `forward` gives.
        """
        maps, stages = self._normalised(images), []
        for name in ("conv1", "bn1", "relu", "maxpool"):
            maps = self.trunk.get_submodule(name)(maps)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            maps = self.trunk.get_submodule(name)(maps)
            stages.append(maps)
        return tuple(stages)

    def _normalised(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std).contiguous(memory_format=self._layout)


def build_encoder(settings: EncoderSettings) -> Encoder:
    """The encoder that ``settings`` ask for, its weights read; ``origin`` tells where they come from.

    Where a checkpoint is loaded into it next, its first weights are not needed: leave ``init`` out. Raises
    HandsimError for weights that are not there or of another architecture, and where nothing can be compiled.
    """
    if settings.compile:
        _need_compiler()
    encoder = Encoder(settings.architecture, channels_last=settings.channels_last)
    if settings.init is not None:
        initialise(encoder, settings.init)
    if settings.compile:
        encoder.compile()  # in place: a wrapper would rename every weight
    return encoder


def initialise(encoder: Encoder, init: str) -> str:
    """Put the weights of ``init`` into an encoder and say in a line what they are; ``origin`` keeps it.

    ``init`` is whatever `handsim.embedding.trunk.read_trunk` reads, which `handsim embedding fit
    --encoder` uses, too. Raises what that raises, and HandsimError for another architecture than the
    encoder's; the encoder is then as it was.
    """
    weights, wanted = read_trunk(init), encoder.architecture
    if weights.architecture != wanted:
        raise HandsimError(
            f"{init} is a {weights.architecture}, and the encoder a {wanted}; set encoder.architecture to "
            f"{weights.architecture}, or give a checkpoint of a {wanted}"
        )
    state = {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
    found = encoder.trunk.load_state_dict(state, strict=False)
    # Counters of the batches seen in another training have no say and stay at zero.
    assert not found.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in found.missing_keys)
    source = "ImageNet" if init in FEATURES else init
    encoder.origin = f"{weights.architecture} of {source}, sha256 {weights.sha256[:16]}"
    return encoder.origin


def _need_compiler() -> None:
    chosen = [shlex.split(os.environ[name])[0] for name in ("CXX", "CC") if os.environ.get(name)]
    if not any(map(shutil.which, [*chosen, *_COMPILERS])):
        raise HandsimError(
            "encoder.compile is true, but torch.compile finds no C++ compiler here; install g++, or set "
            "encoder.compile to false"
        )


class ProjectionHead(nn.Sequential):
    """Projections z [B, M] of features [B, F]: linear, batch norm, ReLU, linear without bias.

    As in PeCLR (arXiv 2106.05953) and SiMHand, 2048-512-128; a perceptron with one hidden layer is SimCLR's
    g(h) (arXiv 2002.05709, section 2.1). It is not normalised: the loss does that. Raises HandsimError for
    widths below 1.
    """

    def __init__(self, in_features: int, hidden: int = 512, out: int = 128) -> None:
        """``in_features`` is F, the encoder's; ``out`` is M, even where projections are read as points."""
        for name, width in (("in_features", in_features), ("hidden", hidden), ("out", out)):
            if width < 1:
                raise HandsimError(f"the projection head's {name} is {width}; it is at least 1")
        super().__init__(
            nn.Linear(in_features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out, bias=False),
        )


SUFFIXES: Final = (".pth", ".pt", ".safetensors")


def check_weights_path(path: Path) -> None:
    """Raises HandsimError or NotThereError where `write_torchvision` could not write."""
    if path.suffix not in SUFFIXES:
        raise HandsimError(
            f"{path} ends in {path.suffix or 'nothing'}; it is to end in {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise HandsimError(f"{path} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise NotThereError(f"{path.parent} is not a directory; make it, or name another file")


def write_torchvision(path: Path, weights: TrunkWeights, source: str) -> None:
    """Write a ResNet's trunk to ``path``, which appears whole or not at all.

    Names, shapes and order are those of torchvision's ``resnet18`` to ``resnet152``, float32, without ``fc``:
    there is no classifier, pooled features come out where ``fc`` is ``torch.nn.Identity()``. The counters of
    batch norm, which have no say, are left out too; ``load_state_dict`` wants neither, strict as it is.
    The metadata of a ``.safetensors`` say which ``architecture`` it is and the ``source`` it was taken from.
    The same weights make the same ``.pth`` to the byte; safetensors' metadata come in any order. Raises
    HandsimError where they cannot be written.
    """
    check_weights_path(path)
    state = {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".safetensors":
            facts = {"format": "pt", "architecture": weights.architecture, "source": source}
            save_file(state, temporary, facts)
        else:
            # Through an open file: torch would write the name of one that it opens itself into it.
            with temporary.open("wb") as file:
                torch.save(state, file)
        temporary.chmod(0o644)  # safetensors gives it to its owner alone
        sync(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise HandsimError(f"{path} cannot be written ({error}); make room and run it again") from error
    finally:
        temporary.unlink(missing_ok=True)
