"""The network that is pre-trained: from images to features, and a projection head for the loss.

Weights come from and go to files with the names, shapes and order of torchvision's networks, and for vision
transformers of DINO's, so that people can use them without handsim (`write_torchvision`).
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

from handsim.checkpoints import read_checkpoint
from handsim.embedding.image import FEATURES, Architecture
from handsim.embedding.networks import build_network, feature_maps, stride_px
from handsim.embedding.trunk import IMAGENET_MEAN, IMAGENET_STD, TrunkWeights, read_trunk
from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing

WEIGHTS_SUFFIXES: Final = (".pth", ".pt", ".safetensors")
_COMPILERS: Final = ("g++", "clang++", "c++", "cl", "gcc", "clang", "cc")
"""torch.compile needs one of these: it writes kernels for a CPU in C++, and launchers for a GPU in C."""


@dataclass(frozen=True)
class EncoderSettings:
    """Which network, and where its weights come from. Raises HandsimError for values that do not fit."""

    architecture: Architecture = "resnet50"
    """resnet18, resnet34, resnet50, resnet101 or resnet152 (SiMHand reports 50 and 152), convnext_tiny, or
    vit_small and vit_base of DINO (_16), DINOv2 (_dinov2, with registers _dinov2_reg), DINOv3 (_dinov3)."""
    init: str | None = None
    """The initial weights: the architecture's name for ImageNet's (not of a vit), a checkpoint's path
    (torchvision's, handsim's, PeCLR's or SiMHand's; for a vit Meta's, timm's or transformers'), or nothing
    for random ones. PeCLR and SiMHand begin with ImageNet's."""
    channels_last: bool = True
    """Use torch's channels_last memory format, in which convolutions are faster; only rounding differs."""
    compile: bool = False
    """Use torch.compile: minutes at the start for faster steps on a GPU. Needs a C++ compiler."""

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
    """A network without its classifier, and the normalisation before it.

    The normalisation is that of `handsim.embedding.image`, so that an embedding with its weights computes the
    same features. A ResNet's random weights are torchvision's, after He et al. (ICCV 2015, arXiv 1502.01852),
    with the last batch norm of each block scaled by one. Scaled by zero (Goyal et al., 2017, arXiv
    1706.02677), untrained blocks would be the identity, and a random encoder, with which probes compare,
    little more than its strided convolutions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, *, channels_last: bool = True) -> None:
        """Random weights, from torch's global generator."""
        super().__init__()
        self.architecture: Architecture = architecture
        self.origin = "random weights"
        """Where the weights come from, a line for people."""
        self.trunk = build_network(architecture)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.trunk.to(memory_format=self._layout)
        for name, numbers in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            # Constants, not weights: moved with the encoder, but not part of its checkpoints.
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    @property
    def features(self) -> int:
        """F, the number of features of an image."""
        return FEATURES[self.architecture]

    @property
    def stride_px(self) -> int:
        """Pixels of an image, along each side, for one cell of the last feature map."""
        return stride_px(self.architecture)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, F], pooled over the image, of RGB images [B, 3, S, S] in 0..1."""
        features: Tensor = self.trunk(self._normalise(images))
        return features

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The output of each stage for RGB images [B, 3, S, S] in 0..1, S a multiple of `stride_px`.

        [B, F/8, S/4, S/4], [B, F/4, S/8, S/8], [B, F/2, S/16, S/16] and [B, F, S/32, S/32]; the mean of a
        ResNet's last over the image is the output of `forward`. A vision transformer has one stage, the
        tokens of its patches [B, F, S/patch, S/patch].
        """
        return feature_maps(self.trunk, self._normalise(images))

    def _normalise(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std).contiguous(memory_format=self._layout)


def build_encoder(settings: EncoderSettings) -> Encoder:
    """The encoder of these settings, with its initial weights; ``origin`` says where they come from.

    If a checkpoint is loaded into it next, leave ``init`` out. Raises HandsimError for weights that are
    missing or of another architecture, and without a compiler where one is needed.
    """
    if settings.compile:
        _check_compiler()
    encoder = Encoder(settings.architecture, channels_last=settings.channels_last)
    if settings.init is not None:
        _load_initial_weights(encoder, settings.init)
    if settings.compile:
        encoder.compile()  # in place: a wrapper would rename every weight
    return encoder


def _load_initial_weights(encoder: Encoder, init: str) -> None:
    weights, architecture = read_trunk(init), encoder.architecture
    if weights.architecture != architecture:
        raise HandsimError(
            f"{init} is a {weights.architecture}, and the encoder a {architecture}; set encoder.architecture "
            f"to {weights.architecture}, or give a checkpoint of a {architecture}"
        )
    load_weights(encoder, weights)
    source = "ImageNet" if init in FEATURES else init
    encoder.origin = f"{weights.architecture} of {source}, sha256 {weights.sha256[:16]}"


def read_view_size(checkpoint: Path) -> int | None:
    """The side in px of the views that a checkpoint of `handsim pretrain` was trained on; None of others."""
    metadata = read_checkpoint(checkpoint).get("handsim")
    config = metadata.get("config", {}) if isinstance(metadata, dict) else {}
    size_px = config.get("augmentation", {}).get("size_px")
    return None if size_px is None else int(size_px)


def load_weights(encoder: Encoder, weights: TrunkWeights) -> None:
    """Copy weights of the encoder's architecture into it."""
    keys = encoder.trunk.load_state_dict(_state_dict(weights), strict=False)
    # Batch norm's counters of batches are not read: they have no effect, and stay at zero.
    assert not keys.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in keys.missing_keys)


def _check_compiler() -> None:
    from_environment = [shlex.split(os.environ[name])[0] for name in ("CXX", "CC") if os.environ.get(name)]
    if not any(map(shutil.which, [*from_environment, *_COMPILERS])):
        raise HandsimError(
            "encoder.compile is true, but torch.compile finds no C++ compiler here; install g++, or set "
            "encoder.compile to false"
        )


class ProjectionHead(nn.Sequential):
    """Projections z [B, M] of features [B, F]: linear, batch norm, ReLU, linear without bias.

    2048-512-128 as in PeCLR (arXiv 2106.05953) and SiMHand; SimCLR's g(h) (arXiv 2002.05709, section 2.1) has
    one hidden layer too. The loss normalises its output.
    """

    def __init__(self, in_features: int, hidden: int = 512, out: int = 128) -> None:
        """``in_features`` is F, the encoder's; ``out`` is M, which must be even for equivariance."""
        super().__init__(
            nn.Linear(in_features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out, bias=False),
        )


def check_weights_path(path: Path) -> None:
    """Raise HandsimError or NotThereError if `write_torchvision` could not write there."""
    if path.suffix not in WEIGHTS_SUFFIXES:
        raise HandsimError(
            f"{path} ends in {path.suffix or 'nothing'}; it must end in {', '.join(WEIGHTS_SUFFIXES)}"
        )
    if path.is_dir():
        raise HandsimError(f"{path} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise NotThereError(f"{path.parent} is not a directory; make it, or name another file")


def write_torchvision(path: Path, weights: TrunkWeights, source: str) -> None:
    """Write a trunk to ``path``, which appears whole or not at all.

    Names, shapes and order are those of DINOv2 for a vision transformer, else of torchvision's networks,
    float32, without the last linear layer (with ``torch.nn.Identity()`` as ``fc``, a ResNet returns pooled
    features; a ConvNeXt has it in ``classifier[2]``) and without batch norm's counters of batches, which have
    no effect; ``load_state_dict`` accepts that, strict as it is. The metadata
    of a ``.safetensors`` file are the ``architecture`` and the ``source`` of the weights. The same weights
    make the same ``.pth`` file, byte by byte; safetensors' metadata come in any order. Raises HandsimError if
    the file cannot be written.
    """
    check_weights_path(path)
    state = _state_dict(weights)
    try:
        with replacing(path) as temporary:
            if path.suffix == ".safetensors":
                metadata = {"format": "pt", "architecture": weights.architecture, "source": source}
                save_file(state, temporary, metadata)
            else:
                # Through an open file: torch writes the name of a file that it opens itself into it.
                with temporary.open("wb") as file:
                    torch.save(state, file)
            temporary.chmod(0o644)  # safetensors makes it readable for its owner alone
    except (OSError, RuntimeError, SafetensorError) as error:
        raise HandsimError(
            f"{path} cannot be written ({error}); check space and permissions there, and run it again"
        ) from error


def _state_dict(weights: TrunkWeights) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
