"""The networks that encoders are made of, by name and without their classifiers."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from handsim.embedding.image import Architecture
from handsim.embedding.vision_transformer import VisionTransformer, VitShape
from handsim.errors import HandsimError

VIT_SHAPES: Final[dict[Architecture, VitShape]] = {
    "vit_small_16": VitShape(384, 16, grid=14),
    "vit_base_16": VitShape(768, 16, grid=14),
    "vit_small_dinov2": VitShape(384, 14),
    "vit_base_dinov2": VitShape(768, 14),
    "vit_small_dinov2_reg": VitShape(384, 14, registers=4),
    "vit_base_dinov2_reg": VitShape(768, 14, registers=4),
    "vit_small_dinov3": VitShape(384, 16, registers=4, is_rotary=True),
    "vit_base_dinov3": VitShape(768, 16, registers=4, is_rotary=True),
}
CONVNEXT: Final = "convnext_tiny"
_CONVOLUTIONAL_STRIDE_PX: Final = 32


def build_network(architecture: Architecture) -> nn.Module:
    """The network with random weights; it gives pooled features [B, F] of normalised images [B, 3, S, S]."""
    if architecture in VIT_SHAPES:
        return VisionTransformer(VIT_SHAPES[architecture])
    network: nn.Module = torchvision_models().get_model(architecture, weights=None)
    if architecture == CONVNEXT:
        assert isinstance(network.classifier, nn.Sequential)
        network.classifier[2] = nn.Identity()  # behind the norm of the pooled features
    else:
        network.fc = nn.Identity()
    return network


def stride_px(architecture: Architecture) -> int:
    """Side of what one cell of the last feature map stands for; those of images are multiples of it."""
    shape = VIT_SHAPES.get(architecture)
    return _CONVOLUTIONAL_STRIDE_PX if shape is None else shape.patch_px


def check_size(architecture: Architecture, size_px: int, setting: str) -> None:
    """Raise HandsimError for images that the network's patches do not divide; a convolutional one pads."""
    shape = VIT_SHAPES.get(architecture)
    if shape is not None and size_px % shape.patch_px:
        lower = size_px // shape.patch_px * shape.patch_px
        sizes = [size for size in (lower, lower + shape.patch_px) if size]
        raise HandsimError(
            f"{setting} is {size_px}; for a {architecture}, whose patches are {shape.patch_px} pixels wide, "
            f"it is a multiple of that, such as {' or '.join(map(str, sizes))}"
        )


def feature_maps(network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """The output of each stage; of a vision transformer, which has none, its tokens as one map."""
    if isinstance(network, VisionTransformer):
        return (network.feature_map(images),)
    stages = []
    if hasattr(network, "layer4"):
        for name in ("conv1", "bn1", "relu", "maxpool"):
            images = network.get_submodule(name)(images)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            images = network.get_submodule(name)(images)
            stages.append(images)
    else:
        layers = network.get_submodule("features")
        assert isinstance(layers, nn.Sequential)
        for number, layer in enumerate(layers):
            images = layer(images)
            if number % 2:  # the others are strided convolutions before the stages
                stages.append(images)
    return tuple(stages)


def torchvision_models() -> Any:
    # It takes as long to import as torch itself, and most of what imports this file builds no network.
    from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

    return models


def expected_shapes(architecture: Architecture) -> dict[str, torch.Size]:
    """Names and shapes of the weights that influence the features."""
    with torch.device("meta"):
        state = build_network(architecture).state_dict()
    return {name: like.shape for name, like in state.items() if not name.endswith("num_batches_tracked")}
