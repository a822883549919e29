"""The weights of a ResNet's trunk: from torchvision, or out of a checkpoint of any of the usual shapes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image.architectures import Architecture
from handsim.embedding.image.checkpoint_file import read_tensors
from handsim.embedding.image.encoder_file import TrunkWeights
from handsim.errors import HandsimError, NotThereError

IMAGENET_WEIGHTS: Final[dict[str, Any]] = {
    "resnet18": models.ResNet18_Weights.DEFAULT,
    "resnet34": models.ResNet34_Weights.DEFAULT,
    "resnet50": models.ResNet50_Weights.DEFAULT,
    "resnet101": models.ResNet101_Weights.DEFAULT,
    "resnet152": models.ResNet152_Weights.DEFAULT,
}
_STEM_SHAPE: Final = (64, 3, 7, 7)
_LAYERS: Final[dict[str, dict[str, str]]] = {
    "conv1.weight": {},
    "0.weight": {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
}
"""By what the first convolution is called: the names of layers that differ from torchvision's.

PeCLR (github.com/dahiyaaneesh/peclr, src/models/resnet_model.py), and SiMHand after it, put a ResNet's
children into a Sequential, which numbers them: 2 is the ReLU, 3 the max pooling, 8 the average pooling.
"""
_BLOCKS: Final[dict[tuple[bool, tuple[int, ...]], Architecture]] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
"""Whether a block has three convolutions, and how many blocks each of the four stages has."""


def read_trunk(encoder: str) -> TrunkWeights:
    """The trunk of ``encoder``: resnet18 to resnet152 with ImageNet's weights, or a checkpoint's path.

    A checkpoint is ``.safetensors`` or what ``torch.save`` wrote, and holds one ResNet, with or without the
    classifier, on its own or under ``state_dict`` or ``model``, next to whatever else, in one of two layouts:

    - torchvision's, behind any one prefix: what `handsim export` writes, handsim's own checkpoints
      (``encoder.trunk.conv1.weight``), and the weights that PeCLR (no prefix; fine-tuned ``backend_model.``)
      and SiMHand (no prefix) publish;
    - a Sequential of its children, behind any one prefix: the checkpoints of PeCLR's and SiMHand's training
      code (``encoder.features.4.0.conv1.weight`` is ``layer1.0.conv1.weight``). As that code leaves them,
      they hold pickled objects too (callbacks, the configuration) and have to be saved again without.

    Raises NotThereError or HandsimError for what is none, and for pickled objects, see `read_tensors`.
    """
    if encoder in IMAGENET_WEIGHTS:
        return _trunk_of(_imagenet(encoder), encoder)
    path = Path(encoder)
    if not path.is_file():
        raise NotThereError(
            f"there is no checkpoint at {encoder}; give one, or one of {', '.join(IMAGENET_WEIGHTS)}"
        )
    return _trunk_of(_plain_names(read_tensors(path), path), path.name)


def _imagenet(architecture: str) -> Mapping[str, torch.Tensor]:
    weights = IMAGENET_WEIGHTS[architecture]
    try:
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise HandsimError(
            f"the ImageNet weights of {architecture} could not be fetched ({error}); "
            f"bring {weights.url} here by other means and give that file instead of {architecture}"
        ) from error
    return state


def _plain_names(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Those that belong to the one ResNet among ``tensors``, named as torchvision names them."""
    stems = [
        (prefix, stem)
        for name, tensor in tensors.items()
        for prefix, stem in [_split(name)]
        if stem in _LAYERS and tensor.shape == _STEM_SHAPE
    ]
    if not stems:
        raise HandsimError(
            f"{path} holds no ResNet as torchvision names it (conv1.weight, layer1.0.conv1.weight, ...) or "
            f"as PeCLR does (features.0.weight, features.4.0.conv1.weight, ...); save the state dict of one"
        )
    if len(stems) > 1:
        raise HandsimError(
            f"{path} holds {len(stems)} ResNets ({', '.join(repr(prefix) for prefix, _ in stems)}); "
            f"save the one you mean alone"
        )
    [(prefix, stem)] = stems
    layers = _LAYERS[stem]
    plain = {}
    for name, tensor in tensors.items():
        layer, _, rest = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix):
            plain[f"{layers.get(layer, layer)}.{rest}"] = tensor
    return plain


def _split(name: str) -> tuple[str, str]:
    """``encoder.features.0.weight`` as ``encoder.features.`` and ``0.weight``."""
    path, _, last = name.rpartition(".")
    before, dot, layer = path.rpartition(".")
    return before + dot, f"{layer}.{last}"


def _trunk_of(state: Mapping[str, torch.Tensor], encoder: str) -> TrunkWeights:
    """The weights that ``state`` has for the trunk of the ResNet it is; raises HandsimError if it is none."""
    stages = tuple(len(set(_blocks(state, stage))) for stage in range(1, 5))
    architecture = _BLOCKS.get(("layer1.0.conv3.weight" in state, stages))
    if architecture is None:
        blocks = "-".join(map(str, stages))
        raise HandsimError(f"{encoder} has {blocks} blocks, which no ResNet-18/34/50/101/152 has")
    with torch.device("meta"):
        expected = models.get_model(architecture, weights=None).state_dict()
    tensors = {}
    for name, like in expected.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue  # neither has a say in the pooled features
        if name not in state:
            raise HandsimError(f"{encoder} looks like a {architecture} but lacks {name}; save all of it")
        if state[name].shape != like.shape:
            raise HandsimError(
                f"{encoder} is no plain {architecture}: its {name} has shape {list(state[name].shape)}, "
                f"not {list(like.shape)}"
            )
        tensors[name] = state[name].detach().to(torch.float32).numpy().copy()
        if not np.isfinite(tensors[name]).all():
            raise HandsimError(f"{encoder} holds NaN or infinity in {name}; take an earlier checkpoint")
    return TrunkWeights(encoder, architecture, tensors)


def _blocks(state: Mapping[str, torch.Tensor], stage: int) -> Iterator[str]:
    for name in state:
        parts = name.split(".")
        if parts[0] == f"layer{stage}" and len(parts) > 1:
            yield parts[1]
